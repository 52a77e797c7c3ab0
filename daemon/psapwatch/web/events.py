"""Server-sent events: what changed, to every open page (layer L4).

Publishing never waits. A reader who falls behind loses its queue and gets one ``reset``, after
which it should read ``/api/v1/status`` again; nobody's slowness holds anybody else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from psapwatch.incident import Incident
from psapwatch.incident import to_json as incident_json
from psapwatch.web.overview import overview, path_json, tiles
from psapwatch.web.view import PathRow, View

CLIENTS_MAX: Final = 50
CLIENT_QUEUE_MAX: Final = 4_096
"""Events a reader may be behind: every path of the largest plan changing at once, and more."""
PULSE_S: Final = 1.0
"""How often tiles and headline are brought up to date when something changed."""
HEARTBEAT_S: Final = 5.0
"""And at least so often, so that a page can tell a quiet daemon from a dead one."""
TILES_PER_EVENT: Final = 50

_RESET: Final = "event: reset\ndata: {}\n\n"


class TooManyReaders(Exception):
    """``CLIENTS_MAX`` readers are connected."""


class Events:
    """Everyone who listens, and what is to be told at the next pulse."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._readers: set[asyncio.Queue[str | None]] = set()
        self._changed: set[tuple[str, str]] = set()
        self._due = False
        self._beaten_at = float("-inf")

    def path_changed(self, row: PathRow) -> None:
        """Tell that a path came into another state."""
        self._due = True
        self._changed.add((row.psap, row.firewall))
        if self._readers:
            self._publish("path", path_json(row, checks=False))

    def incident_changed(self, incident: Incident) -> None:
        """Tell that an incident opened, changed or closed."""
        self._due = True
        if self._readers:
            self._publish("incident", incident_json(incident))

    @contextmanager
    def reader(self) -> Iterator[AsyncIterator[str]]:
        """Listen for as long as the context lasts; the texts are ready to be sent.

        Raises:
            TooManyReaders: come back later.
        """
        if len(self._readers) >= CLIENTS_MAX:
            raise TooManyReaders
        queue: asyncio.Queue[str | None] = asyncio.Queue(CLIENT_QUEUE_MAX)
        self._readers.add(queue)
        try:
            yield _texts(queue)
        finally:
            self._readers.discard(queue)

    def now(self) -> str:
        """Return the headline as an event: what a reader gets first."""
        return _text("overview", overview(self._view).to_json())

    def pulse(self, now: float) -> Iterator[None]:
        """Publish tiles and headline when they changed or a heartbeat is due; loop seconds.

        Goes on step by step, so that the loop can run between two.
        """
        changed, self._changed = self._changed, set()
        is_due = self._due or now - self._beaten_at >= HEARTBEAT_S
        if not self._readers or not is_due:
            return
        self._due, self._beaten_at = False, now
        shown = tiles(self._view.paths(), changed) if changed else iter(())
        while some := [tile.to_json() for tile in islice(shown, TILES_PER_EVENT)]:
            self._publish("tiles", {"tiles": some})
            yield
        self._send(self.now())

    async def run(self) -> None:
        """Pulse for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PULSE_S)
            for _step in self.pulse(loop.time()):
                await asyncio.sleep(0)

    def close(self) -> None:
        """End every reader's stream, so that shutdown need not wait for a browser."""
        for queue in self._readers:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)

    def _publish(self, name: str, data: Mapping[str, Any]) -> None:
        self._send(_text(name, data))

    def _send(self, text: str) -> None:
        for queue in self._readers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_RESET)
            queue.put_nowait(text)


def _text(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def _texts(queue: asyncio.Queue[str | None]) -> AsyncIterator[str]:
    while (text := await queue.get()) is not None:
        yield text
