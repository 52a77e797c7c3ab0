"""Delivers what the outbox holds: in order for each sink, and no sink waits for another (L4).

A notice stays in the store until its sink has taken it. Within a round it is tried a few times,
then the sink is left alone until the next round. Everything here runs in the daemon's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, final

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt
from tenacity.wait import wait_exponential

from psapwatch.sinks.base import Delivery, Sink
from psapwatch.store.notices import Pending
from psapwatch.store.runner import Closed
from psapwatch.store.store import Store
from psapwatch.world import Clock

ATTEMPTS_A_ROUND: Final = 3
BACK_OFF_S: Final = 0.5
"""Before the second attempt; doubled before each further one."""
BACK_OFF_S_MAX: Final = 4.0
ROUND_S: Final = 15.0
"""How long after a round that failed a sink is tried again."""
BREATH_S: Final = 0.001
"""The shortest wait: what floating point leaves of a due time must not become a busy loop."""
DISK_S: Final = 2.0
"""How long a notice waits for being on disk: a page must not wait for ever for a dead disk."""
POISON_ROUNDS: Final = 20
"""After so many rounds in which a sink answered but would not take one notice, the next one is
tried past it; taken, it shows that the notice is at fault and not the sink."""

Sleep = Callable[[float], Awaitable[None]]
Told = Callable[[str, str], None]
"""Called with a sink's name and ``delivered``, ``failed`` or ``dropped``."""

log = structlog.get_logger("psapwatch.sinks")


@final
class Outbox:
    """Tells every sink what the store holds for it."""

    def __init__(
        self,
        store: Store,
        sinks: Sequence[Sink],
        clock: Clock,
        *,
        told: Told | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._told = told or _nobody
        self._sleep = sleep
        self._lanes = {sink.name: _Lane(sink) for sink in sinks}
        store.when_queued(self.nudge)

    @property
    def names(self) -> tuple[str, ...]:
        """The sinks' names: whom ``Store.save_incident`` is to tell."""
        return tuple(self._lanes)

    def nudge(self) -> None:
        """Wake every sink: there is something to tell."""
        for lane in self._lanes.values():
            lane.wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        tasks = [
            asyncio.create_task(self._serve(lane), name=f"outbox {name}")
            for name, lane in self._lanes.items()
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        repeat_at = loop.time()
        while True:
            lane.wake.clear()
            await self._on_disk()  # also what was tried since: commands read it from the disk
            again_s = await self._round(lane)
            if lane.sink.repeat_s is not None:
                if loop.time() >= repeat_at:
                    repeat_at = loop.time() + lane.sink.repeat_s
                    _log(lane, await lane.sink.repeat(), "repeat")
                again_s = min(again_s, repeat_at - loop.time())
            await _wait(lane.wake, max(again_s, BREATH_S))

    async def _on_disk(self) -> None:
        """Wait until what was queued is committed; a dead disk is waited for only so long."""
        flushing = asyncio.ensure_future(self._store.flushed())
        try:
            await asyncio.wait({flushing}, timeout=DISK_S)
        finally:
            if not flushing.done():
                flushing.cancel()
        if not flushing.cancelled() and flushing.done():
            with contextlib.suppress(sqlite3.Error, Closed):
                flushing.result()

    async def _round(self, lane: _Lane) -> float:
        """Tell what is due, in order; return after how many seconds to look again."""
        name = lane.sink.name
        due = list(self._due(lane))
        for place, row in enumerate(due):
            delivery = await self._deliver(lane, row)
            self._told(name, _log(lane, delivery, row.notice.status))
            now = self._clock.wall()
            if delivery.ok:
                self._store.delivered(row, now)
            elif not delivery.retry:
                self._store.refused(row, delivery.detail, now)
            elif await self._is_poison(lane, row, delivery, due[place + 1 :]):
                self._store.refused(row, f"takes others, not this: {delivery.detail}", now)
                return 0.0
            else:
                self._store.failed(row, delivery.detail)
                return ROUND_S
        # Of each incident only the oldest counts: the others wait for it, whenever they are due.
        oldest: dict[str, Pending] = {}
        for row in self._store.pending(name):
            oldest.setdefault(row.notice.incident.id, row)
        now = self._clock.wall()
        waits = [lane.sink.due_at(row.notice) - now for row in oldest.values()]
        return max(0.0, min([ROUND_S, *waits]))

    def _due(self, lane: _Lane) -> Iterator[Pending]:
        """Give what may be told now, in order; of one incident nothing overtakes anything."""
        now = self._clock.wall()
        held: set[str] = set()
        for row in self._store.pending(lane.sink.name):
            incident = row.notice.incident.id
            if incident in held or lane.sink.due_at(row.notice) > now:
                held.add(incident)
            else:
                yield row

    async def _deliver(self, lane: _Lane, row: Pending) -> Delivery:
        attempts = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(ATTEMPTS_A_ROUND),
            wait=wait_exponential(multiplier=BACK_OFF_S, max=BACK_OFF_S_MAX),
            retry=retry_if_result(_wants_retry),
            retry_error_callback=_last_result,
        )
        delivery: Delivery = await attempts(lane.sink.send, row.notice)
        return delivery

    async def _is_poison(
        self, lane: _Lane, row: Pending, delivery: Delivery, behind: Sequence[Pending]
    ) -> bool:
        """Whether the sink takes another notice while it will not take this one."""
        if row.attempts < POISON_ROUNDS or not delivery.answered:
            return False
        incident = row.notice.incident.id
        other = next((each for each in behind if each.notice.incident.id != incident), None)
        if other is None or not (await lane.sink.send(other.notice)).ok:
            return False
        self._store.delivered(other, self._clock.wall())
        self._told(lane.sink.name, "delivered")
        return True


class _Lane:
    """One sink, and what wakes it."""

    __slots__ = ("failing", "sink", "wake")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.wake = asyncio.Event()
        self.failing = False


def _log(lane: _Lane, delivery: Delivery, what: str) -> str:
    """Log when a sink goes down, comes back or refuses; return the result's name."""
    result = "delivered" if delivery.ok else "failed" if delivery.retry else "dropped"
    about = {"sink": lane.sink.name, "what": what, "detail": delivery.detail}
    if result == "dropped":
        log.error("notice_refused", **about)
    elif result == "failed" and not lane.failing:
        log.error("sink_failing", **about)
    elif result == "delivered" and lane.failing:
        log.info("sink_recovered", **about)
    lane.failing = result == "failed"
    return result


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(wake.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


def _wants_retry(delivery: Delivery) -> bool:
    return delivery.retry


def _last_result(state: RetryCallState) -> Any:
    assert state.outcome
    return state.outcome.result()


def _nobody(_sink: str, _result: str) -> None:
    """Count for nobody."""
