"""Calls that somebody left open are ended: a killed daemon, or a command that is gone (layer L4).

A command (``psapwatch probe``) waits only a little for its call to end. What it leaves would keep
its PSAP from being called, and whoever answers late would wait for our BYE.
"""

from __future__ import annotations

import asyncio
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
"""A call of another process that is open for so long was left: no command waits for one so long."""


class LeftOpen:
    """Ends the open calls that this process has not placed."""

    def __init__(
        self,
        watch: Watch,
        metrics: Metrics,
        path_of: Callable[[str], Path | None],
        spawn: Callable[[Awaitable[None]], None],
        log: FilteringBoundLogger,
    ) -> None:
        """``path_of``: the path of the present configuration with this key."""
        self._watch, self._metrics, self._path_of = watch, metrics, path_of
        self._spawn, self._log = spawn, log

    async def end_all(self) -> None:
        """Begin to end every open call that is none of this process."""
        for row in await self._others():
            self._adopt(row)

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
            if now - since >= LEFT_AFTER_S:
                self._adopt(row)
        return {call_id: since for call_id, (since, _row) in still.items()}

    async def _others(self) -> list[OpenCall]:
        rows = await self._watch.store.open_calls()
        return [row for row in rows if row.call_id not in self._watch.calls]

    def _adopt(self, row: OpenCall) -> None:
        self._watch.calls.adopt(row.call_id)
        self._spawn(self._end(row))

    async def _end(self, row: OpenCall) -> None:
        path, watch = self._path(row), self._watch
        self._log.warning("ending a call that was left open", call_id=row.call_id, psap=row.psap)

        def heard(seen: Observation, octets: bytes = b"") -> None:
            watch.calls.heard(row.call_id, row.firewall, seen, octets, late=True)
            if seen.kind is Kind.UNSAFE:
                self._unsafe(row, path, f"{seen['why']}: {seen.get('detail')}")

        may_ask = partial(self._may_ask, row)
        why = await recover(watch.world, row, path, crowd=watch.crowd, heard=heard, may_ask=may_ask)
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
            watch.store.decisions.stop(Stop(row.psap, "unsafe", why, "psapwatch", wall))
        else:
            watch.permits.unsafe(path, why, wall)
            watch.desk.unsafe(path, why, wall)

    def _path(self, row: OpenCall) -> Path | None:
        return self._path_of(f"{row.psap}/{row.path}")

    def _may_ask(self, row: OpenCall) -> bool:
        """Whether an open call's INVITE may leave again: consent and no stop, as for a new one."""
        path = self._path(row)
        if path is None or self._watch.store.decisions.is_stopped(row.psap):
            return False
        return path.psap.id in OURS or (
            path.psap.agreement is not None and path.kind != "legacy_gateway"
        )
