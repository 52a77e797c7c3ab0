"""Every sink hears everything, in order, once, and however long it was away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path

import pytest

from psapwatch.incident import Notice, Status
from psapwatch.simulator.loop import run
from psapwatch.simulator.world import SimulatedClock
from psapwatch.sinks.outbox import ATTEMPTS_A_ROUND, POISON_ROUNDS, ROUND_S
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store
from sinks.lanes import BUSY, DOWN, TAKEN, WRONG, ScriptedSink, memory, serving
from store.material import incident


def save(store: Store, status: Status, number: int, *sinks: ScriptedSink) -> None:
    """Save an incident and tell the sinks of it, now."""
    wall = SimulatedClock().wall()
    told = incident(number, closed_at=wall if status == "closed" else None)
    store.save_incident(told, [(sink.name, Notice(status, told, wall)) for sink in sinks])


def play(scene: Coroutine[None, None, None]) -> None:
    """Run a scene in simulated time."""
    run(scene)


def test_a_notice_is_told_at_once_and_once() -> None:
    """Without trouble every sink is told within the same moment, and never again."""

    async def scene() -> None:
        store, left, right = memory(), ScriptedSink("left"), ScriptedSink("right")
        async with serving(store, left, right) as outbox:
            assert outbox.names == ("left", "right")
            await asyncio.sleep(1.5)
            save(store, "open", 1, left, right)
            await asyncio.sleep(600)
        assert left.asked == right.asked == [(1.5, "open incident-1")]
        assert store.pending("left") == []

    play(scene())


def test_a_dead_sink_holds_up_no_other() -> None:
    """While one sink neither takes nor answers, the other hears everything at once."""

    async def scene() -> None:
        store, live, dead = memory(), ScriptedSink("live"), ScriptedSink("dead", lambda _: DOWN)
        dead.slow_s = 10.0
        async with serving(store, live, dead):
            for number in range(5):
                save(store, "open", number, live, dead)
                await asyncio.sleep(1)
        assert [at for at, _ in live.asked] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert store.pending_count("dead") == 5

    play(scene())


def test_what_waited_is_told_in_order() -> None:
    """A sink that comes back after an hour gets everything it missed, in the order it happened."""

    async def scene() -> None:
        store, sink = memory(), ScriptedSink("sink", lambda _: DOWN)
        expected = []
        async with serving(store, sink):
            for number in range(6):
                for status in ("open", "changed", "closed"):
                    save(store, status, number, sink)
                    expected.append(f"{status} incident-{number}")
                    await asyncio.sleep(200)
            assert sink.told == []
            sink.answer = lambda _: TAKEN
            await asyncio.sleep(ROUND_S + 5)
        assert sink.told == expected

    play(scene())


def test_a_round_is_a_few_attempts_and_then_a_pause() -> None:
    """A silent sink is tried three times with growing pauses, then left alone for a round."""

    async def scene() -> None:
        store, sink = memory(), ScriptedSink("sink", lambda _: DOWN)
        async with serving(store, sink):
            save(store, "open", 1, sink)
            await asyncio.sleep(35)
        times = [at for at, _ in sink.asked]
        assert len(times) == 3 * ATTEMPTS_A_ROUND
        assert times[:4] == [0.0, 0.5, 1.5, 1.5 + ROUND_S]
        assert store.pending("sink")[0].attempts == 3
        assert store.pending("sink")[0].detail == "no answer"

    play(scene())


def test_a_refused_notice_is_not_tried_again() -> None:
    """What a sink calls wrong is tried once, counted as dropped, and what follows is told."""
    counted: Counter[tuple[str, str]] = Counter()

    async def scene() -> None:
        store = memory()
        sink = ScriptedSink(
            "sink", lambda notice: WRONG if notice.incident.id == "incident-1" else TAKEN
        )
        async with serving(store, sink, told=lambda *what: counted.update([what])):
            save(store, "open", 1, sink)
            save(store, "open", 2, sink)
            await asyncio.sleep(600)
        assert [what for _, what in sink.asked] == ["open incident-1", "open incident-2"]
        assert store.pending("sink") == []

    play(scene())
    assert counted == {("sink", "dropped"): 1, ("sink", "delivered"): 1}


def test_a_late_resolution_holds_up_nothing_else() -> None:
    """A closing that must wait is told when due, and openings of others pass it meanwhile."""

    async def scene() -> None:
        store, sink = memory(), ScriptedSink("sink")
        sink.late_s = 90.0
        async with serving(store, sink):
            save(store, "open", 1, sink)
            save(store, "closed", 1, sink)
            await asyncio.sleep(10)
            save(store, "open", 2, sink)
            await asyncio.sleep(200)
        assert sink.asked == [
            (0.0, "open incident-1"),
            (10.0, "open incident-2"),
            (90.0, "closed incident-1"),
        ]

    play(scene())


def test_the_outbox_survives_a_restart(tmp_path: Path) -> None:
    """What one daemon could not tell, the next one tells; what it told is not told again."""

    async def before() -> None:
        store = Store(tmp_path / "psapwatch.db", Inline())
        sink, dead = ScriptedSink("sink"), ScriptedSink("dead", lambda _: DOWN)
        async with serving(store, sink, dead):
            save(store, "open", 1, sink, dead)
            save(store, "changed", 1, sink, dead)
            await asyncio.sleep(60)
        await store.close()

    async def after() -> None:
        store = Store(tmp_path / "psapwatch.db", Inline())
        sink, back = ScriptedSink("sink"), ScriptedSink("dead")
        async with serving(store, sink, back):
            await asyncio.sleep(60)
        await store.close()
        assert sink.told == []
        assert back.told == ["open incident-1", "changed incident-1"]

    play(before())
    play(after())


def test_a_notice_is_on_disk_before_it_is_told(tmp_path: Path) -> None:
    """When the sink is asked, another reader of the file finds incident and notice."""
    database = tmp_path / "psapwatch.db"
    found: list[int] = []

    async def scene() -> None:
        store = Store(database, Inline())

        def look(_: Notice) -> object:
            beside = Store(database, Inline(), read_only=True)
            found.append(beside.pending_count("sink") + len(beside.open_now()))
            return TAKEN

        sink = ScriptedSink("sink", look)  # type: ignore[arg-type]
        async with serving(store, sink):
            save(store, "open", 1, sink)
            await asyncio.sleep(1)
        await store.close()

    play(scene())
    assert found == [2]


def test_a_page_does_not_wait_for_a_dead_disk() -> None:
    """When the disk refuses, the notice is told from memory all the same."""

    async def scene() -> None:
        store, sink = memory(), ScriptedSink("sink")

        async def full() -> None:
            await store._run.submit(lambda on: on.execute("PRAGMA query_only = ON").fetchall())

        await full()
        async with serving(store, sink):
            save(store, "open", 1, sink)
            await asyncio.sleep(5)
        assert "readonly" in store.trouble
        assert sink.told == ["open incident-1"]

    play(scene())


def test_one_poisonous_notice_does_not_silence_a_sink() -> None:
    """A notice that a sink answers with 503 for ever gives way once another one passes."""

    async def scene() -> None:
        store = memory()
        sink = ScriptedSink(
            "sink", lambda notice: BUSY if notice.incident.id == "incident-1" else TAKEN
        )
        async with serving(store, sink):
            for number in (1, 2, 3):
                save(store, "open", number, sink)
            await asyncio.sleep(POISON_ROUNDS * ROUND_S)
            assert sink.told == []
            await asyncio.sleep(5 * ROUND_S)
        assert sink.told == ["open incident-2", "open incident-3"]
        assert store.pending("sink") == []

    play(scene())


@pytest.mark.parametrize("answer", [DOWN, BUSY])
def test_a_sink_that_takes_nothing_loses_nothing(answer: object) -> None:
    """However long a sink is down, nothing is given up, and nothing overtakes."""

    async def scene() -> None:
        store, sink = memory(), ScriptedSink("sink", lambda _: answer)  # type: ignore[arg-type, return-value]
        async with serving(store, sink):
            for number in (1, 2, 3):
                save(store, "open", number, sink)
            await asyncio.sleep(3_600)
            assert store.pending_count("sink") == 3
            sink.answer = lambda _: TAKEN
            await asyncio.sleep(ROUND_S + 5)
        assert sink.told == [f"open incident-{number}" for number in (1, 2, 3)]

    play(scene())


def test_what_holds_is_repeated() -> None:
    """A sink that wants to is called for repeats at once and then at its interval."""

    async def scene() -> None:
        store, sink = memory(), ScriptedSink("sink")
        sink.repeat_s = 30.0
        async with serving(store, sink):
            await asyncio.sleep(45)
            save(store, "open", 1, sink)
            await asyncio.sleep(50)
        assert sink.repeats == [0.0, 30.0, 60.0, 90.0]

    play(scene())
