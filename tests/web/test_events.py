"""Server-sent events: prompt, bounded, and nobody waits for a slow reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest

from psapwatch.web.events import (
    CLIENT_QUEUE_MAX,
    CLIENTS_MAX,
    HEARTBEAT_S,
    TILES_PER_EVENT,
    Events,
    TooManyReaders,
)
from samples import Desk, incident, row
from web.web_door import door


def told(text: str) -> tuple[str, Any]:
    """Return an event's name and data."""
    name, data = text.strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def waiting(texts: AsyncIterator[str], count: int) -> list[tuple[str, Any]]:
    """Return the next events, which must be there already."""
    return [told(await anext(texts)) for _ in range(count)]


def test_a_change_is_told_at_once_and_the_page_at_the_next_pulse() -> None:
    """Machines get `path` and `incident`; pages get tiles and a headline."""

    async def run() -> list[tuple[str, Any]]:
        desk = Desk()
        events = Events(desk)
        with events.reader() as texts:
            desk.rows = [row(state="down")]
            desk.open = [incident()]
            events.path_changed(desk.rows[0])
            events.incident_changed(incident())
            list(events.pulse(0.0))
            return await waiting(texts, 4)

    (path, down), (opened, page), (tiles, shown), (overview, top) = asyncio.run(run())
    assert (path, down["psap"], down["state"]) == ("path", "ma-boston", "down")
    assert (opened, page["id"]) == ("incident", "i-1")
    assert (tiles, shown["tiles"][0]["word"]) == ("tiles", "Down")
    assert (overview, top["headline"]) == ("overview", "CALLS BLOCKED through fw-east")


def test_quiet_pulses_send_a_heartbeat_only() -> None:
    """A page can tell a quiet daemon from a dead one, and is not flooded."""

    async def run() -> list[tuple[str, Any]]:
        events = Events(Desk())
        with events.reader() as texts:
            for tick in range(int(2 * HEARTBEAT_S)):
                list(events.pulse(float(tick)))
            events.close()
            return [told(text) async for text in texts] or []

    assert asyncio.run(run()) == []  # closing drops what was not read yet


def test_heartbeats_come_in_their_time() -> None:
    """Two in ten seconds."""

    async def run() -> int:
        events = Events(Desk())
        with events.reader() as texts:
            for tick in range(int(2 * HEARTBEAT_S)):
                list(events.pulse(float(tick)))
            return len(await waiting(texts, 2))

    assert asyncio.run(run()) == 2


def test_a_reader_who_falls_behind_gets_a_reset_and_the_newest() -> None:
    """The queue is bounded; what was lost is told as `reset`."""

    async def run() -> list[tuple[str, Any]]:
        events = Events(Desk())
        with events.reader() as texts:
            for _ in range(CLIENT_QUEUE_MAX + 1):
                events.path_changed(row())
            return await waiting(texts, 2)

    assert [name for name, _data in asyncio.run(run())] == ["reset", "path"]


def test_readers_are_bounded_and_a_place_is_freed() -> None:
    """The reader after the last one is refused until somebody leaves."""
    events = Events(Desk())
    with ExitStack() as readers:
        for _ in range(CLIENTS_MAX - 1):
            readers.enter_context(events.reader())
        with events.reader(), pytest.raises(TooManyReaders):
            readers.enter_context(events.reader())
        readers.enter_context(events.reader())


def test_an_outage_of_every_path_comes_in_bounded_events() -> None:
    """Two thousand tiles are many small events, not one that holds the loop."""

    async def run() -> list[int]:
        desk = Desk(rows=[row(f"p{number}", "down") for number in range(250)])
        events = Events(desk)
        with events.reader() as texts:
            for each in desk.rows:
                events.path_changed(each)
            list(events.pulse(0.0))
            seen = await waiting(texts, 250 + 5)
            return [len(data["tiles"]) for name, data in seen if name == "tiles"]

    assert asyncio.run(run()) == [TILES_PER_EVENT] * 5


def test_over_http_the_first_event_is_the_headline_and_closing_ends_the_stream() -> None:
    """A reader knows where things stand at once, and a browser does not hold up shutdown."""

    async def run() -> tuple[str, list[str], float]:
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as browser:
            async with door() as at:
                answer = await browser.get(f"{at.url}/api/v1/events")
                lines = [(await answer.content.readline()).decode() for _ in range(4)]
                began = loop.time()
            took_s = loop.time() - began
            answer.close()
        return answer.headers["Content-Type"], lines, took_s

    content_type, lines, took_s = asyncio.run(run())
    assert content_type == "text/event-stream"
    assert lines[0].startswith("retry: ")
    assert lines[2] == "event: overview\n"
    assert json.loads(lines[3].removeprefix("data: "))["headline"] == "Calls get through"
    assert took_s < 3
