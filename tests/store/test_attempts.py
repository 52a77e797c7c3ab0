"""Attempts go in and come out as they were, and what is kept how long."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from psapwatch.evidence import Evidence, Kind, Observation, Packet
from psapwatch.store.attempts import BUFFERED_MAX, HURRY_ROWS
from psapwatch.store.redact import redact_transcript
from psapwatch.store.runner import Inline, WriterThread
from psapwatch.store.store import Store
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from store.material import DEGRADED, FAILED, NOON, PASSED, attempt, opened

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
SECRET = Packet(
    0.0,
    "out",
    "192.0.2.1:5060",
    b'OPTIONS sip:a SIP/2.0\r\nAuthorization: Digest r="5ecre7"\r\n\r\n',
)


def test_a_failure_comes_back_whole_with_its_transcript(database: Path) -> None:
    """A failed attempt reads back equal to what was recorded, octets included."""
    seen = attempt()

    async def scene() -> None:
        async with opened(database) as store:
            store.record_attempt(seen, FAILED)
        async with opened(database) as store:
            assert await store.attempt(seen.attempt_id) == (seen, FAILED)
            assert await store.attempt(seen.call_id) == (seen, FAILED)
            assert await store.attempt("another") is None

    asyncio.run(scene())


@given(
    facts=st.dictionaries(
        st.text(max_size=8),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    ),
    octets=st.binary(max_size=200),
    verdict=st.builds(
        Verdict,
        st.sampled_from(Outcome),
        st.sampled_from(Cause),
        st.sampled_from(Plane),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
)
def test_any_evidence_survives(facts: dict[str, str], octets: bytes, verdict: Verdict) -> None:
    """Whatever facts, octets and verdict an attempt has, it reads back the same."""
    packets = (Packet(0.5, "in", "[::1]:5060", b"\x00" + octets),)
    assume(redact_transcript(packets) == packets)  # what looks like a key is withheld
    seen = attempt(observations=(Observation(Kind.RESPONSE, 0.5, facts),), transcript=packets)

    async def scene() -> None:
        store = Store(":memory:", Inline())
        store.record_attempt(seen, verdict)
        assert await store.attempt(seen.attempt_id) == (seen, verdict)
        await store.close()

    asyncio.run(scene())


def test_of_passes_only_the_newest_keeps_its_transcript(database: Path) -> None:
    """A path's last pass shows its transcript, an older one only its observations."""
    first, second = attempt(1, at=NOON), attempt(2, at=NOON + 15)

    async def scene() -> None:
        async with opened(database) as store:
            store.record_attempt(first, PASSED)
            store.record_attempt(second, PASSED)
            assert await store.attempt("attempt-2") == (second, PASSED)
        async with opened(database) as store:
            assert await store.attempt("attempt-2") == (second, PASSED)
            assert await store.attempt("attempt-1") == (replace(first, transcript=()), PASSED)
            assert await store.last_pass("ma-boston", "east", "keepalive") == (second, PASSED)
            assert await store.last_pass("ma-boston", "west", "keepalive") is None

    asyncio.run(scene())


def test_the_pass_before_a_failure_is_on_disk_with_the_failure(database: Path) -> None:
    """When a path fails, its last good transcript is written at once, for comparison."""

    async def scene() -> None:
        async with opened(database) as store:
            for number in range(1, 4):
                store.record_attempt(attempt(number, at=NOON + 15 * number), PASSED)
            store.record_attempt(attempt(4, at=NOON + 60), FAILED)
            await store.flushed()
            with sqlite3.connect(database) as beside:  # what a kill -9 now would leave
                kept = beside.execute("SELECT id FROM last_passes").fetchall()
            beside.close()
        assert kept == [("attempt-3",)]

    asyncio.run(scene())


def test_credentials_never_reach_the_disk(database: Path) -> None:
    """A transcript is redacted on writing, and in what is shown before it is written."""

    async def scene() -> None:
        async with opened(database) as store:
            store.record_attempt(attempt(1, transcript=(SECRET,)), FAILED)
            store.record_attempt(attempt(2, transcript=(SECRET,), check="other"), PASSED)
            store.record_attempt(
                attempt(3, transcript=(SECRET,), at=NOON + 1, check="other"), PASSED
            )
            for number in (1, 2, 3):
                found = await store.attempt(f"attempt-{number}")
                assert found is not None
                assert b"5ecre7" not in b"".join(packet.octets for packet in found[0].transcript)

    asyncio.run(scene())
    for file in database.parent.iterdir():
        assert b"5ecre7" not in file.read_bytes()


def test_newest_attempts_come_first_over_all_checks(database: Path) -> None:
    """A path's attempts of several checks are merged by time, bounded, and can be only failures."""

    async def scene() -> None:
        async with opened(database) as store:
            for number in range(10):
                check = ("keepalive", "test-call")[number % 2]
                verdict = (PASSED, FAILED, DEGRADED)[number % 3]
                store.record_attempt(attempt(number, at=NOON + number, check=check), verdict)
            store.record_attempt(attempt(99, at=NOON + 99, path="west"), FAILED)
            everything = await store.attempts("ma-boston", "east", limit=4)
            failures = await store.attempts("ma-boston", "east", failed=True)
        assert [seen.attempt_id for seen, _ in everything] == [f"attempt-{n}" for n in (9, 8, 7, 6)]
        assert [seen.attempt_id for seen, _ in failures] == [f"attempt-{n}" for n in (7, 4, 1)]

    asyncio.run(scene())


def test_the_last_calls_are_known_after_a_restart(database: Path) -> None:
    """A few of each path, passed or failed, and of no other time; the damaged are passed over."""

    def call(at: float, path: str = "east", kind: str = "call") -> Evidence:
        name = f"{path}{at:+g}"
        seen = attempt(at=NOON + at, attempt_id=name, call_id=name, path=path)
        return replace(seen, probe=kind, check=kind)

    async def scene() -> list[str]:
        async with opened(database) as store:
            for seen, verdict in (
                *((call(10.0 * nth), PASSED) for nth in range(1, 6)),
                (call(35.0), FAILED),
                (call(25.0, "west"), DEGRADED),
                (call(45.0, "damaged"), PASSED),
                (call(46.0, "east", "options"), PASSED),
                (call(-1.0, "old"), PASSED),
                (call(101.0, "ahead"), PASSED),
            ):
                store.record_attempt(seen, verdict)
        with sqlite3.connect(database) as on:
            on.execute("UPDATE attempts SET observations = '[' WHERE id = 'damaged+45'")
        async with opened(database) as store:
            found = await store.last_calls(NOON, NOON + 100.0)
        return [seen.attempt_id for seen, _verdict in found]

    assert asyncio.run(scene()) == ["west+25", "east+30", "east+35", "east+40", "east+50"]


def test_a_full_buffer_loses_passes_before_failures(database: Path) -> None:
    """With a stuck disk the oldest passes go first, each one counted, and no failure."""

    class Stuck(Inline):  # type: ignore[misc] # final for everybody but this test
        def hurry(self) -> None:
            """The disk does nothing."""

    async def scene() -> None:
        async with opened(database, Stuck()) as store:
            for number in range(BUFFERED_MAX):
                store.record_attempt(attempt(number), PASSED if number % 2 else FAILED)
            for number in range(BUFFERED_MAX, BUFFERED_MAX + 10):
                store.record_attempt(attempt(number), FAILED)
            assert store.losses == {"passes": 10}
            await store.flushed()
            assert await store.attempt("attempt-1") is None
            assert await store.attempt("attempt-0") is not None

    asyncio.run(scene())


def test_one_unwritable_attempt_spoils_no_other(database: Path) -> None:
    """An attempt that SQLite cannot take is counted as our fault; its neighbours are kept."""

    async def scene() -> None:
        async with opened(database) as store:
            store.record_attempt(attempt(1), FAILED)
            store.record_attempt(attempt(2, leg="\ud800"), FAILED)
            store.record_attempt(attempt(3), FAILED)
            assert await store.attempt("attempt-1") is not None
            assert await store.attempt("attempt-2") is None
            assert await store.attempt("attempt-3") is not None
            assert store.losses == {"faults": 1}

    asyncio.run(scene())


@pytest.mark.parametrize("run", [Inline, WriterThread])
def test_much_is_written_without_being_asked(
    database: Path, run: type[Inline | WriterThread]
) -> None:
    """Attempts reach the disk by themselves, whoever runs the jobs."""

    async def scene() -> int:
        async with opened(database, run()) as store:
            for number in range(2 * HURRY_ROWS):
                store.record_attempt(attempt(number), PASSED)
            await store.flushed()
            beside = sqlite3.connect(database)
            count = int(beside.execute("SELECT count(*) FROM attempts").fetchone()[0])
            beside.close()
            return count

    assert asyncio.run(scene()) == 2 * HURRY_ROWS


def _record(store: Store, ages: list[float], verdict: Verdict, **more: str) -> None:
    for number, age_s in enumerate(sorted(ages, reverse=True)):
        store.record_attempt(
            attempt(number, at=NOON - age_s, attempt_id=f"{verdict.outcome}-{age_s:g}", **more),
            verdict,
        )


def _kept(database: Path) -> set[str]:
    beside = sqlite3.connect(database)
    kept = {row[0] for row in beside.execute("SELECT id FROM attempts")}
    beside.close()
    return kept


def test_passes_go_after_two_days_but_for_the_newest_five(database: Path) -> None:
    """Old passes and old degraded attempts go; five stay however old; failures stay."""
    old = [(49 + n) * HOUR_S for n in range(8)]

    async def scene() -> None:
        async with opened(database) as store:
            _record(store, old, PASSED)
            _record(store, [HOUR_S, *old], DEGRADED, check="test-call")
            _record(store, [*old, 700 * DAY_S, 731 * DAY_S], FAILED)
            gone = await store.retain(NOON, keep_days=730)
            assert gone == 3 + 4 + 1
            assert await store.retain(NOON, keep_days=730) == 0

    asyncio.run(scene())
    assert _kept(database) == {
        *(f"pass-{age:g}" for age in old[:5]),
        *(f"degraded-{age:g}" for age in [HOUR_S, *old[:4]]),
        *(f"fail-{age:g}" for age in [*old, 700 * DAY_S]),
    }


def test_what_is_forgotten_is_counted_by_the_hour(database: Path) -> None:
    """Forgotten attempts remain as counts of their hour, outcome and cause."""

    async def scene() -> None:
        async with opened(database) as store:
            for number in range(100):
                seen = attempt(number, at=NOON - 50 * HOUR_S + 60 * number)
                store.record_attempt(seen, DEGRADED if number % 10 == 0 else PASSED)
            await store.retain(NOON, keep_days=730)

    asyncio.run(scene())
    beside = sqlite3.connect(database)
    counts = beside.execute("SELECT hour, outcome, cause, attempts FROM hours").fetchall()
    beside.close()
    hour = int(NOON // 3600) - 50
    assert sorted(counts) == [
        (hour, "degraded", "test_call_refused", 6),
        (hour, "pass", "none", 54),
        (hour + 1, "degraded", "test_call_refused", 4),
        (hour + 1, "pass", "none", 31),
    ]


def test_forgetting_is_done_in_many_short_jobs(database: Path) -> None:
    """Thousands of old rows go over several jobs, and every one of them goes."""

    async def scene() -> tuple[int, int]:
        async with opened(database) as store:
            for number in range(5_000):
                seen = attempt(number, at=NOON - 80 * HOUR_S + 15 * number)
                store.record_attempt(seen, PASSED)
            return await store.retain(NOON, keep_days=730), len(await _all(store))

    async def _all(store: Store) -> list[tuple[Evidence, Verdict]]:
        return await store.attempts("ma-boston", "east", limit=10_000)

    assert asyncio.run(scene()) == (4_995, 5)
