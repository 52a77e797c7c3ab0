"""The far end of an alert: a small HTTP server on loopback that stands in for Alertmanager (L5)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from psapwatch.endpoint import Address
from psapwatch.simulator.alertmanager import ALERTS_PATH, FakeAlertmanager, Page
from psapwatch.web.app import Door
from psapwatch.world import Clock

BODY_OCTETS_MAX: Final = 1_048_576


class Receiver:
    """Takes alerts as Alertmanager's API v2 does, and remembers what began and ended."""

    def __init__(self, clock: Clock) -> None:
        self._kept = FakeAlertmanager(clock)
        app = web.Application(client_max_size=BODY_OCTETS_MAX)
        app.add_routes([web.post(ALERTS_PATH, self._take)])
        self._door = Door(app, Address("127.0.0.1", 0))

    async def open(self) -> str:
        """Listen, and return the URL for an Alertmanager sink."""
        return f"http://{await self._door.open()}"

    async def close(self) -> None:
        """Stop listening."""
        await self._door.close()

    @property
    def told(self) -> list[Page]:
        """Every alert that began to fire, the dead-man's switch apart, oldest first."""
        return [page for page in self._kept.told if page.name != "Watchdog"]

    @property
    def pages(self) -> list[Page]:
        """What somebody was woken for, oldest first."""
        return self._kept.pages

    @property
    def resolved(self) -> list[Page]:
        """Every end of an alert that was told, oldest first."""
        return self._kept.resolved

    def over_at(self, page: Page) -> float | None:
        """When the end of an alert that was told came; None while it fires."""
        ends = (end.at for end in self.resolved if end.labels == page.labels and end.at > page.at)
        return next(ends, None)

    async def _take(self, request: web.Request) -> web.Response:
        reply = await self._kept.post(request.path, await request.read(), request.headers)
        return web.Response(status=reply.status, text=reply.detail)
