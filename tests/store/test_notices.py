"""Incidents and their notices are written together, and notices wait until they are taken."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

from psapwatch.incident import Notice, from_json, to_json
from psapwatch.store.notices import PENDING_MAX, Pending
from store.material import NOON, incident, notice, opened

DAY_S = 86_400.0
SINKS = ("alertmanager/a", "webhook/b")


def test_an_incident_reads_back_as_it_was() -> None:
    """JSON and back gives the same incident, and ignores what a later version added."""
    whole = incident(closed_at=NOON + 60, acknowledged="ann", merged_into="incident-9", changes=3)
    assert from_json(to_json(whole)) == whole
    assert from_json(to_json(whole) | {"of_a_later_version": 1}) == whole


def test_incidents_and_notices_survive_a_restart(database: Path) -> None:
    """Open incidents, the list of all, and each sink's pending notices are there afterwards."""
    first, second = incident(1), incident(2, opened_at=NOON + 20)
    over = incident(3, opened_at=NOON - 60, closed_at=NOON)

    async def scene() -> None:
        async with opened(database) as store:
            store.save_incident(first, [(sink, notice("open", 1)) for sink in SINKS])
            store.save_incident(second, [(SINKS[0], notice("open", 2))])
            store.save_incident(over)
            store.delivered(store.pending(SINKS[1])[0], NOON + 11)
        async with opened(database) as store:
            assert [each.id for each in store.open_now()] == ["incident-2", "incident-1"]
            assert await store.open_incidents() == [second, first]
            assert await store.incidents() == [second, first, over]
            assert await store.incidents(limit=1) == [second]
            assert await store.incident("incident-3") == over
            assert await store.incident("incident-4") is None
            assert [row.notice for row in store.pending(SINKS[0])] == [
                notice("open", 1),
                notice("open", 2),
            ]
            assert store.pending(SINKS[1]) == []
            assert await store.told("incident-1") == [(SINKS[1], "open", NOON + 10, NOON + 11)]

    asyncio.run(scene())


def test_incident_and_notices_are_one_transaction(database: Path) -> None:
    """When the outbox cannot be written, the incident is not there without its notices."""

    async def scene() -> None:
        async with opened(database) as store:
            beside = sqlite3.connect(database)
            beside.execute(
                "CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT raise(ABORT, 'no'); END"
            )
            beside.commit()
            store.save_incident(incident(), [(SINKS[0], notice())])
            store.save_incident(incident(2))
            assert [each.id for each in await store.incidents()] == ["incident-2"]
            beside.close()

    asyncio.run(scene())


def test_closing_an_incident_takes_it_from_the_open_ones(database: Path) -> None:
    """A closed incident stays in the list, and an acknowledgement stays with it."""

    async def scene() -> None:
        async with opened(database) as store:
            store.save_incident(incident())
            await store.acknowledge("incident-1", "ann", NOON)
            assert [each.acknowledged for each in store.open_now()] == ["ann"]
            store.save_incident(incident(closed_at=NOON + 60))
            assert store.open_now() == ()
            assert await store.open_incidents() == []
            found = await store.incident("incident-1")
            assert found == incident(closed_at=NOON + 60, acknowledged="ann")

    asyncio.run(scene())


def test_a_failed_notice_keeps_its_place(database: Path) -> None:
    """Attempts are counted, the order stays, and a refused notice is gone but recorded."""

    async def scene() -> None:
        async with opened(database) as store:
            for number in (1, 2, 3):
                store.save_incident(incident(number), [(SINKS[0], notice("open", number))])
            head, second, _ = store.pending(SINKS[0])
            store.failed(head, "no answer")
            store.failed(store.pending(SINKS[0])[0], "HTTP 503")
            store.refused(second, "HTTP 400 bad label", NOON + 12)
        async with opened(database) as store:
            waiting = store.pending(SINKS[0])
            assert waiting[0] == Pending(1, SINKS[0], notice("open", 1), 2, "HTTP 503")
            assert [row.notice.incident.id for row in waiting] == ["incident-1", "incident-3"]
        beside = sqlite3.connect(database)
        refused = beside.execute("SELECT detail, gone_at FROM outbox WHERE no = 2").fetchone()
        beside.close()
        assert refused == ("HTTP 400 bad label", NOON + 12)

    asyncio.run(scene())


def test_a_full_outbox_loses_changes_before_openings(database: Path) -> None:
    """For a sink that is gone for long, the oldest notice of a mere change goes first, counted."""

    async def scene() -> None:
        async with opened(database) as store:
            store.save_incident(incident(), [(SINKS[0], notice("open"))])
            for number in range(PENDING_MAX):
                changed = notice("changed", at=NOON + 20 + number)
                store.save_incident(incident(), [(SINKS[0], changed)])
            store.save_incident(incident(2), [(SINKS[1], notice("open", 2))])
            assert store.losses == {"notices": 1}
            assert store.pending_count(SINKS[0]) == PENDING_MAX
            waiting = store.pending(SINKS[0])
            assert [row.notice.status for row in waiting[:2]] == ["open", "changed"]
            assert waiting[1].notice.at == NOON + 21
            assert store.pending_count(SINKS[1]) == 1
        async with opened(database) as store:
            assert store.pending_count(SINKS[0]) == PENDING_MAX

    asyncio.run(scene())


def test_open_incidents_and_waiting_notices_are_never_forgotten(database: Path) -> None:
    """Retention takes what is closed and told, however old the rest is."""

    async def scene() -> None:
        async with opened(database) as store:
            store.save_incident(incident(1), [(SINKS[0], notice("open", 1))])
            over = incident(2, closed_at=NOON + 60)
            store.save_incident(over, [(SINKS[0], Notice("closed", over, NOON + 60))])
            store.delivered(store.pending(SINKS[0])[1], NOON + 61)
            assert await store.retain(NOON + 40 * DAY_S, keep_days=30) == 2
            assert await store.incidents() == [incident(1)]
        async with opened(database) as store:
            assert [row.notice.status for row in store.pending(SINKS[0])] == ["open"]

    asyncio.run(scene())


def test_who_wants_to_know_hears_of_queued_notices(database: Path) -> None:
    """The delivery loop is woken by a notice, and not by an incident that nobody is told of."""
    woken: list[int] = []

    async def scene() -> None:
        async with opened(database) as store:
            store.when_queued(lambda: woken.append(1))
            store.save_incident(incident())
            store.save_incident(replace(incident(), changes=1), [(SINKS[0], notice("changed"))])

    asyncio.run(scene())
    assert woken == [1]
