"""What the daemon does once a second: take over what commands wrote, show what waits (layer L4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from psapwatch.announced import Calendar
from psapwatch.desk import Desk
from psapwatch.green_round import GreenRounds
from psapwatch.metrics import Metrics
from psapwatch.recorder import Recorder, baselines_in
from psapwatch.store.store import Store
from psapwatch.world import Clock

REFRESH_EVERY_S: Final = 1.0
"""How soon a change that a command made reaches the running daemon."""
RETAIN_AFTER_S: Final = 60.0
RETAIN_EVERY_S: Final = 3_600.0
"""How often what is too old is forgotten, and how soon after the start."""


class Housekeeping:
    """Runs beside the watch; a fault of its own ends neither."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a daemon, general to specific
        self,
        store: Store,
        desk: Desk,
        metrics: Metrics,
        recorder: Recorder,
        clock: Clock,
        calendar: Calendar,
        keep_days: Callable[[], float],
        take_announced: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._store, self._desk, self._metrics = store, desk, metrics
        self._recorder, self._clock, self._log = recorder, clock, log
        self._calendar, self._keep_days = calendar, keep_days
        self._take_announced = take_announced

    async def run(self) -> None:
        """Go round until cancelled."""
        loop = asyncio.get_running_loop()
        retain_at = loop.time() + RETAIN_AFTER_S
        rounds = GreenRounds(self._desk, self._calendar, self._clock.wall())
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                if await self._store.refresh():
                    self._take_over()
                rounds.step(self._clock.wall())
                self._show()
                if loop.time() >= retain_at:
                    retain_at = loop.time() + RETAIN_EVERY_S
                    await self._store.retain(self._clock.wall(), self._keep_days())
            except Exception:  # noqa: BLE001 - it must go on; the store counts its own losses
                self._metrics.internal_error()
                self._log.exception("housekeeping failed by our own fault")

    def show_stops(self) -> None:
        """Show which test calls are stopped, and close the pages about those that are not."""
        stops, wall = self._store.decisions.stops, self._clock.wall()
        self._metrics.test_calls_stopped({psap: stop.reason for psap, stop in stops.items()})
        for incident in self._desk.casebook.open if self._desk.casebook.is_open else ():
            if incident.alertname == "TestCallUnsafe" and incident.psap not in stops:
                self._desk.close(incident.identity, wall)  # a human has resumed the test calls

    def _show(self) -> None:
        self.show_stops()
        for sink in self._recorder.sink_names:
            self._metrics.outbox(sink, self._store.pending_count(sink))
        windows = self._calendar.open
        self._metrics.maintenance({each.member for each in windows if each.scope == "firewall"})

    def _take_over(self) -> None:
        """Take acknowledgements and accepted answerers from the store."""
        known = {incident.id: incident.acknowledged for incident in self._desk.casebook.open}
        for incident in self._store.open_now():
            if incident.acknowledged and not known.get(incident.id, "-"):
                self._desk.acknowledge(incident.id, incident.acknowledged, self._clock.wall())
        self._take_announced()
        self._desk.accept(baselines_in(self._store, accepted_only=True))
