"""What people decide holds at once, over restarts, and is audited."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from psapwatch.announced import Change, Window
from psapwatch.store.decisions import Audited, Commission, Stop
from psapwatch.store.ledger import EVERYWHERE
from store.material import NOON, call, incident, opened

STOP = Stop("ma-boston", "unsafe", "somebody answered", "psapwatch", NOON)
TARGET = "sip:psap1.example.gov"
DONE = Commission("ma-boston/east", TARGET, "Sgt. Lee", "ann", NOON)


def test_stops_hold_until_each_is_lifted(database: Path) -> None:
    """A stop of one PSAP and one of all are lifted apart, over restarts."""

    async def scene() -> None:
        async with opened(database) as store:
            store.decisions.stop(STOP)
            store.decisions.stop(Stop(EVERYWHERE, "operator", "exercise", "ann", NOON))
        async with opened(database) as store:
            assert store.decisions.stops["ma-boston"] == STOP
            assert store.decisions.is_stopped("ma-lynn")
            store.decisions.resume(EVERYWHERE, "ann", "over", NOON + 60)
            assert not store.decisions.is_stopped("ma-lynn")
            assert store.decisions.is_stopped("ma-boston")
        async with opened(database) as store:
            assert set(store.decisions.stops) == {"ma-boston"}

    asyncio.run(scene())


def test_a_changed_target_is_not_commissioned(database: Path) -> None:
    """A commission holds for the target that was called under supervision, and no other."""

    async def scene() -> None:
        async with opened(database) as store:
            store.decisions.commission(DONE)
        async with opened(database) as store:
            assert store.decisions.commissions == {"ma-boston/east": DONE}
            assert store.decisions.is_commissioned("ma-boston/east", TARGET)
            assert not store.decisions.is_commissioned("ma-boston/east", "sip:other.example.gov")
            assert not store.decisions.is_commissioned("ma-boston/west", TARGET)
            store.decisions.revoke("ma-boston/east", "ann", "URI changed", NOON + 60)
        async with opened(database) as store:
            assert store.decisions.commissions == {}

    asyncio.run(scene())


def test_a_baseline_is_replaced_by_the_next(database: Path) -> None:
    """The baseline of a path and check is what was put last, over restarts."""

    async def scene() -> None:
        async with opened(database) as store:
            assert store.decisions.baselines == {}
            store.decisions.put_baseline("ma-boston/east", "keepalive", {"server": "a"}, NOON)
            store.decisions.put_baseline("ma-boston/east", "keepalive", {"server": "b"}, NOON)
        async with opened(database) as store:
            key = ("ma-boston/east", "keepalive")
            assert store.decisions.baselines == {key: {"server": "b"}}

    asyncio.run(scene())


def test_what_a_person_has_accepted_is_not_overwritten(database: Path) -> None:
    """A baseline that the daemon learnt without knowing of an acceptance gives way to it."""

    async def scene() -> None:
        path, check = key = ("ma-boston/east", "keepalive")
        async with opened(database) as daemon, opened(database) as command:
            command.decisions.put_baseline(path, check, {"server": "b", "accepted_at": 2.0}, NOON)
            daemon.decisions.put_baseline(path, check, {"server": "a", "accepted_at": 1.0}, NOON)
        async with opened(database) as store:
            assert store.decisions.baselines[key]["server"] == "b"
            store.decisions.put_baseline(path, check, {"server": "c", "accepted_at": 2.0}, NOON)
        async with opened(database) as store:
            assert store.decisions.baselines[key]["server"] == "c"

    asyncio.run(scene())


def test_windows_and_changes_are_kept(database: Path) -> None:
    """A window that is ended keeps its row; changes come newest first, over restarts."""
    window = Window("firewall", "fw-west", NOON, NOON + 7200, "CHG-1", "5f2c09ab", "ann")

    async def scene() -> None:
        async with opened(database) as store:
            store.decisions.add_window(window, NOON)
            store.decisions.note(Change(NOON + 5, "CHG-2", "NOC"), NOON + 6)
            store.decisions.note(Change(NOON - 40, "CHG-1", "NOC"), NOON + 7)
        async with opened(database) as store, opened(database) as daemon:
            assert store.decisions.windows == (window,)
            store.decisions.end_window(window, "bob", NOON + 60)
            assert await daemon.refresh()
            assert [each.until_at for each in daemon.decisions.windows] == [NOON + 60]
            assert [each.what for each in daemon.decisions.changes] == ["CHG-2", "CHG-1"]
            said = [(each.who, each.what, each.why) for each in await store.decisions.audited()]
            assert said == [
                ("bob", "maintenance end 5f2c09ab", "CHG-1"),
                ("NOC", "change CHG-1", ""),
                ("NOC", "change CHG-2", ""),
                ("ann", "maintenance add 5f2c09ab firewall fw-west", "CHG-1"),
            ]
            assert await store.retain(NOON + 86_400 * 3, 1.0) == 3
            assert held_rows(database) == (0, 0)

    asyncio.run(scene())


def held_rows(database: Path) -> tuple[int, int]:
    """How many windows and changes are on disk."""
    connection = sqlite3.connect(database)
    windows, changes = (
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
        for table in ("maintenance", "changes")
    )
    connection.close()
    return windows, changes


def test_every_change_is_audited_with_who_when_and_why(database: Path) -> None:
    """Stops, resumes, commissions, revocations and acknowledgements leave a line each."""

    async def scene() -> list[Audited]:
        async with opened(database) as store:
            store.decisions.stop(STOP)
            store.decisions.resume(EVERYWHERE, "ann", "drill over", NOON + 1)
            store.decisions.commission(DONE)
            store.decisions.revoke("ma-boston/east", "bob", "moved", NOON + 3)
            store.save_incident(incident())
            assert await store.acknowledge("incident-1", "bob", NOON + 4)
            assert not await store.acknowledge("incident-2", "bob", NOON + 5)
            store.decisions.audit("bob", "reload", "new PSAP", NOON + 6)
            return await store.decisions.audited()

    assert asyncio.run(scene()) == [
        Audited(NOON + 6, "bob", "reload", "new PSAP"),
        Audited(NOON + 4, "bob", "ack incident-1", ""),
        Audited(NOON + 3, "bob", "revoke ma-boston/east", "moved"),
        Audited(NOON, "ann", "commission ma-boston/east with Sgt. Lee", ""),
        Audited(NOON + 1, "ann", "resume all test calls", "drill over"),
        Audited(NOON, "psapwatch", "stop ma-boston", "somebody answered"),
    ]


def test_the_daemon_takes_over_what_a_command_changed(database: Path) -> None:
    """Refreshing shows stops, commissions, the floor and acknowledgements of another process."""

    async def scene() -> None:
        async with opened(database) as daemon, opened(database) as command:
            daemon.save_incident(incident())
            await daemon.flushed()
            assert not await daemon.refresh()
            command.decisions.stop(STOP)
            command.decisions.commission(DONE)
            await command.acknowledge("incident-1", "bob", NOON)
            command.charge("ma-lynn", NOON)
            await command.flushed()
            assert not daemon.decisions.is_stopped("ma-boston")
            assert await daemon.refresh()
            assert daemon.decisions.stops == {"ma-boston": STOP}
            assert daemon.decisions.is_commissioned("ma-boston/east", TARGET)
            assert daemon.last_call_at("ma-lynn") == NOON
            assert [each.acknowledged for each in daemon.open_now()] == ["bob"]
            assert not await daemon.refresh()

    asyncio.run(scene())


def test_a_refresh_keeps_what_this_process_has_just_changed(database: Path) -> None:
    """A stop that is set while the disk is being read is not lost to what was read before it."""

    async def scene() -> None:
        async with opened(database) as daemon, opened(database) as command:
            command.charge("ma-lynn", NOON)
            await command.flushed()
            refreshing = asyncio.create_task(daemon.refresh())
            while not refreshing.done():
                await asyncio.sleep(0)
                daemon.decisions.stop(STOP)
            assert daemon.decisions.is_stopped("ma-boston")
            await daemon.open_call(call(psap="ma-lynn", at=NOON + 1))

    asyncio.run(scene())
