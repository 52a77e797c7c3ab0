"""The web door on a free port of 127.0.0.1, for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from psapwatch.endpoint import Address
from psapwatch.metrics import Metrics
from psapwatch.web.app import Door, make_app
from psapwatch.web.events import Events
from psapwatch.web.users import Users
from samples import CHECKS, Desk, FixedClock, path


@dataclass(frozen=True, slots=True)
class Reached:
    """An open door: the desk behind it, its events and a client in front."""

    desk: Desk
    events: Events
    metrics: Metrics
    http: aiohttp.ClientSession
    url: str


@asynccontextmanager
async def door(
    desk: Desk | None = None, *, users: Users | None = None, lifecycle: bool = False
) -> AsyncIterator[Reached]:
    """Open a door, and close it with everything behind it."""
    behind = desk or Desk()
    metrics = Metrics([path()], CHECKS, FixedClock(), vantage="boston-a")
    events = Events(behind)
    app = make_app(behind, behind, metrics, events, users=users, lifecycle=lifecycle)
    opened = Door(app, Address("127.0.0.1", 0))
    where = await opened.open()
    try:
        async with aiohttp.ClientSession(f"http://{where}") as http:
            yield Reached(behind, events, metrics, http, f"http://{where}")
    finally:
        await opened.close()
