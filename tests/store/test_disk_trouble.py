"""A disk that refuses: nothing hangs, nothing recorded is lost, and what is lost is counted."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from psapwatch.store import runner
from psapwatch.store.ledger import LedgerUnavailable
from psapwatch.store.opening import Unusable
from psapwatch.store.runner import Inline, WriterThread
from psapwatch.store.store import Store
from store.material import FAILED, NOON, PASSED, attempt, call, incident, notice, opened

SINK = "webhook/a"
RUNNERS = pytest.mark.parametrize("run", [Inline, WriterThread])


async def fill(store: Store) -> None:
    """Allow the database no further page, as a full disk would."""

    def full(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await store._run.submit(full)


async def free(store: Store) -> None:
    """Give the disk its space back."""

    def room(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    await store._run.submit(room)


def record(store: Store, numbers: range) -> None:
    """Record failures big enough to need pages."""
    for number in numbers:
        store.record_attempt(attempt(number, leg="x" * 2_000), FAILED)


@RUNNERS
def test_a_full_disk_keeps_everything_waiting(
    database: Path, run: type[Inline | WriterThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts and incidents wait in order while the disk is full, and are written afterwards."""
    monkeypatch.setattr(runner, "RETRY_S", 0.01)

    async def scene() -> None:
        async with opened(database, run()) as store:
            record(store, range(10))
            await store.flushed()
            await fill(store)
            record(store, range(10, 40))
            store.save_incident(incident(), [(SINK, notice())])
            with pytest.raises(sqlite3.OperationalError, match="full"):
                await store.flushed()
            assert "full" in store.trouble
            assert [each.id for each in store.open_now()] == ["incident-1"]
            assert [row.notice for row in store.pending(SINK)] == [notice()]
            assert await store.attempt("attempt-3") is not None  # reading goes on
            assert await store.attempt("attempt-13") is None
            await free(store)
            await store.flushed()
            assert store.trouble == ""
            for number in (3, 13, 39):
                assert await store.attempt(f"attempt-{number}") is not None
            assert await store.incident("incident-1") == incident()
            assert store.losses == {}

    asyncio.run(scene())


@RUNNERS
def test_a_full_disk_lets_no_invite_leave(database: Path, run: type[Inline | WriterThread]) -> None:
    """A ledger row that cannot be written is an error at once, with the disk's own words."""

    async def place_many(store: Store) -> None:
        for number in range(200):
            await store.open_call(call(f"c{number}" + "x" * 500))

    async def scene() -> None:
        async with opened(database, run()) as store:
            await fill(store)
            with pytest.raises(LedgerUnavailable, match="full"):
                await place_many(store)
            await free(store)

    asyncio.run(scene())


@RUNNERS
def test_closing_on_a_full_disk_says_what_is_lost(
    database: Path, run: type[Inline | WriterThread]
) -> None:
    """A store that cannot write its last changes does not end as if it had."""

    async def scene() -> None:
        store = Store(database, run())
        await fill(store)
        record(store, range(40))
        store.save_incident(incident())
        with pytest.raises(Unusable, match=r"psapwatch.db: 2 changes could not .*: .* full"):
            await store.close()
        assert store.losses == {"changes": 2}

    asyncio.run(scene())


def test_a_locked_store_never_holds_up_the_loop(database: Path) -> None:
    """While another program holds the lock, recording returns at once and is written later."""

    async def scene() -> float:
        async with opened(database, WriterThread()) as store:
            beside = sqlite3.connect(database, isolation_level=None)
            beside.execute("BEGIN EXCLUSIVE")
            loop = asyncio.get_running_loop()
            longest = 0.0
            for number in range(300):
                before = loop.time()
                store.record_attempt(attempt(number), PASSED)
                store.save_incident(incident(number))
                longest = max(longest, loop.time() - before)
                await asyncio.sleep(0.001)
            beside.execute("ROLLBACK")
            beside.close()
            await store.flushed()
            assert await store.attempt("attempt-299") is not None
            assert len(await store.incidents(1_000)) == 300
            assert store.losses == {}
            return longest

    assert asyncio.run(scene()) < 0.5


def test_too_many_waiting_changes_are_lost_oldest_first(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue in front of a dead disk is bounded, and each change that falls out is counted."""
    monkeypatch.setattr(runner, "POSTED_MAX", 10)

    async def scene() -> None:
        async with opened(database) as store:
            await fill(store)
            for number in range(15):
                store.save_incident(incident(number, summary="x" * 9_000))
            assert store.losses == {"changes": 5}
            await free(store)
            found = [each.id for each in await store.incidents()]
            assert sorted(found) == sorted(f"incident-{number}" for number in range(5, 15))

    asyncio.run(scene())


def test_a_faulty_job_spoils_no_other(database: Path) -> None:
    """A change that is our own fault is dropped and counted; those around it are committed."""

    def nowhere(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO nowhere VALUES (1)")

    def wrong(_connection: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        async with opened(database, WriterThread()) as store:
            store.decisions.audit("ann", "first", "", NOON)
            store._run.post(nowhere)
            store._run.post(wrong)
            store.decisions.audit("ann", "second", "", NOON)
            assert [line.what for line in await store.decisions.audited()] == ["second", "first"]
            assert store.losses == {"faults": 2}
            assert store.trouble == ""

    asyncio.run(scene())


def test_jobs_are_committed_together(database: Path) -> None:
    """What gathers while the writer is busy becomes one transaction, and who waits hears of it."""

    async def scene() -> None:
        async with opened(database, WriterThread(gather_s=0.2)) as store:
            for number in range(50):
                store._run.post(partial(_audit, number))
            await asyncio.sleep(0)
            frames_before = database.with_name(database.name + "-wal").stat().st_size
            await store.flushed()
            frames = (
                database.with_name(database.name + "-wal").stat().st_size - frames_before
            ) // 4_096
            assert len(await store.decisions.audited(100)) == 50
            assert frames < 10

    def _audit(number: int, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO audit (at, who, what, why) VALUES (?, '', '', '')", (number,)
        )

    asyncio.run(scene())


def test_a_damaged_file_is_reported_and_not_hung_on(database: Path) -> None:
    """A database that is damaged while it is open refuses calls with SQLite's own words."""

    async def scene() -> None:
        store = Store(database, WriterThread())
        record(store, range(200))
        await store.flushed()

        def damage(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            octets = bytearray(database.read_bytes())
            octets[4_096 * 2 :] = b"\xa5" * (len(octets) - 4_096 * 2)
            database.write_bytes(octets)
            connection.execute("PRAGMA shrink_memory")

        await store._run.submit(damage)
        with pytest.raises(LedgerUnavailable, match="malformed"):
            await store.open_call(call())
        store.save_incident(incident(), [(SINK, notice())])
        assert [row.notice for row in store.pending(SINK)] == [notice()]
        with pytest.raises(Unusable, match="malformed"):
            await store.close()

    asyncio.run(scene())
