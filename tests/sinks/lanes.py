"""A sink that does as it is told, and an outbox on a store in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from psapwatch.incident import Notice
from psapwatch.simulator.world import SimulatedClock
from psapwatch.sinks.base import Delivery, Sink
from psapwatch.sinks.outbox import Outbox
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store

TAKEN = Delivery(ok=True)
DOWN = Delivery(ok=False, retry=True, detail="no answer", answered=False)
BUSY = Delivery(ok=False, retry=True, detail="HTTP 503")
WRONG = Delivery(ok=False, retry=False, detail="HTTP 400")


class ScriptedSink:
    """Answers as ``answer`` says; remembers what it was told, and when."""

    def __init__(self, name: str, answer: Callable[[Notice], Delivery] = lambda _: TAKEN) -> None:
        self.name = name
        self.answer = answer
        self.repeat_s: float | None = None
        self.late_s = 0.0
        self.slow_s = 0.0
        self.asked: list[tuple[float, str]] = []
        self.repeats: list[float] = []
        self.told: list[str] = []

    def due_at(self, notice: Notice) -> float:
        """Closing is told ``late_s`` later."""
        return notice.at + (self.late_s if notice.status == "closed" else 0.0)

    async def send(self, notice: Notice) -> Delivery:
        """Answer as scripted."""
        what = f"{notice.status} {notice.incident.id}"
        self.asked.append((round(asyncio.get_running_loop().time(), 3), what))
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        delivery = self.answer(notice)
        if delivery.ok:
            self.told.append(what)
        return delivery

    async def repeat(self) -> Delivery:
        """Remember when."""
        self.repeats.append(round(asyncio.get_running_loop().time(), 3))
        return TAKEN


@asynccontextmanager
async def serving(
    store: Store, *sinks: Sink, told: Callable[[str, str], None] | None = None
) -> AsyncIterator[Outbox]:
    """Run an outbox; it is cancelled in the end."""
    outbox = Outbox(store, sinks, SimulatedClock(), told=told)
    running = asyncio.create_task(outbox.run())
    try:
        yield outbox
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def memory() -> Store:
    """Return a store in memory."""
    return Store(":memory:", Inline())
