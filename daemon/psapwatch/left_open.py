"""Calls that somebody left open are ended: a killed daemon, or a command that is gone (layer L4).

A command (``psapwatch probe``) waits only a little for its call to end. What it leaves would keep
its PSAP from being called, and whoever answers late would wait for our BYE.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from psapwatch.endpoint import OURS, Path
from psapwatch.evidence import Kind, Observation
from psapwatch.metrics import Metrics
from psapwatch.probes.recover import recover
from psapwatch.store.decisions import Stop
from psapwatch.watch import Watch
from psapwatch.world import OpenCall

LOOK_EVERY_S: Final = 30.0
LEFT_AFTER_S: Final = 90.0
"""A call of another process that is open for so long after it was given up was left."""


class LeftOpen:
    """Ends the open calls that this process has not placed."""

    def __init__(
        self,
        watch: Watch,
        metrics: Metrics,
        path_of: Callable[[str], Path | None],
        longest_s: Callable[[], float],
        spawn: Callable[[Awaitable[None]], None],
        log: FilteringBoundLogger,
    ) -> None:
        """``path_of``: the path with this key; ``longest_s``: the longest patience of a check."""
        self._watch, self._metrics, self._path_of = watch, metrics, path_of
        self._longest_s, self._spawn, self._log = longest_s, spawn, log

    async def end_all(self) -> None:
        """Begin to end every open call that is none of this process."""
        for row in await self._others():
            self._adopt(row, partial(self._age_s, row))

    async def run(self) -> None:
        """Look for calls that commands have left, until cancelled."""
        seen: dict[str, float] = {}  # Call-ID -> loop time of the first look that met it
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                seen = await self._look(seen)
            except Exception:  # noqa: BLE001 - as in ``housekeeping``
                self._metrics.internal_error()
                self._log.exception("looking for open calls failed by our own fault")

    async def _look(self, seen: dict[str, float]) -> dict[str, float]:
        """By the loop's clock: a row's wall time says nothing once a clock was stepped."""
        now = asyncio.get_running_loop().time()
        still = {row.call_id: (seen.get(row.call_id, now), row) for row in await self._others()}
        for since, row in still.values():
            if now - since >= LEFT_AFTER_S + self._longest_s():
                self._adopt(row, lambda: math.inf)
        return {call_id: since for call_id, (since, _row) in still.items()}

    async def _others(self) -> list[OpenCall]:
        rows = await self._watch.store.open_calls()
        return [row for row in rows if row.call_id not in self._watch.calls]

    def _adopt(self, row: OpenCall, age_s: Callable[[], float]) -> None:
        self._watch.calls.adopt(row.call_id)
        self._spawn(self._end(row, age_s))

    async def _end(self, row: OpenCall, age_s: Callable[[], float]) -> None:
        path, watch = self._path(row), self._watch
        self._log.warning("ending a call that was left open", call_id=row.call_id, psap=row.psap)

        def heard(seen: Observation, octets: bytes = b"") -> None:
            watch.calls.heard(row.call_id, row.firewall, seen, octets, late=True)
            if seen.kind is Kind.UNSAFE:
                self._unsafe(row, path, f"{seen['why']}: {seen.get('detail')}")

        try:
            why = await recover(watch.world, row, path, crowd=watch.crowd, heard=heard, age_s=age_s)
        except Exception as error:  # noqa: BLE001 - a row that is damaged must not stay open
            self._metrics.internal_error()
            why = f"our own fault: {error!r}"
        if why:
            self._log.error(
                "a call that was left open cannot be ended", call_id=row.call_id, why=why
            )
            self._metrics.teardown_failed(row.firewall)
            heard(Observation(Kind.ENDED, 0.0, {"how": "no_answer", "confirmed": False}))

    def _unsafe(self, row: OpenCall, path: Path | None, why: str) -> None:
        """Stop a PSAP where a person may have been met: the attempt that had to died with us."""
        watch, wall = self._watch, self._watch.world.clock.wall()
        if path is None:  # no longer configured; it may be again
            stop = Stop(row.psap, "unsafe", why, "psapwatch", wall, row.firewall)
            watch.store.decisions.stop(stop)
        else:
            watch.permits.unsafe(path, why, wall)
            watch.desk.unsafe(path, why, wall)

    def _path(self, row: OpenCall) -> Path | None:
        return self._path_of(f"{row.psap}/{row.path}")

    def _age_s(self, row: OpenCall) -> float:
        """How old a call is; infinite where its INVITE may not leave again, as a new one's may not.

        One that never arrived rings like a new one, and one older than Timer B is a new one (RFC
        3261 17.1.1.2): it needs consent and no stop, and a clock that was stepped must not hide it.
        """
        path, store = self._path(row), self._watch.store
        if path is None or store.decisions.is_stopped(row.psap) or path.kind == "legacy_gateway":
            return math.inf
        if path.psap.id not in OURS and path.psap.agreement is None:
            return math.inf
        return store.call_age_s(row, self._watch.world.clock.wall())
