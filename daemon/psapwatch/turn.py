"""One check on one path, when it is next due, and a sleep that can be cut short (layer L4)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from psapwatch.endpoint import Address, Check, Path, Source
from psapwatch.schedule import next_due, phases

Run = tuple[Path, Check]

_GOLDEN = 0.618034
"""Turns the rings of several checks against each other, so that their attempts do not meet."""


class Alarm:
    """A sleep that can be cut short: ``ring`` brings a due time forward."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[bool] | None = None

    async def until(self, due: float) -> bool:
        """Sleep until loop time ``due``; return whether somebody rang."""
        loop = asyncio.get_running_loop()
        if loop.time() >= due:
            return False
        waiting: asyncio.Future[bool] = loop.create_future()
        self._waiting = waiting
        handle = loop.call_at(due, _settle, waiting, False)  # noqa: FBT003 - the future's result
        try:
            return await waiting
        finally:
            handle.cancel()
            self._waiting = None

    def ring(self) -> None:
        """Wake the sleeper now, if it sleeps."""
        if self._waiting is not None:
            _settle(self._waiting, True)  # noqa: FBT003 - the future's result


@dataclass(slots=True)
class Turn:
    """One check on one path, and when it is next due (loop seconds)."""

    path: Path
    check: Check
    due: float
    count: int = 0
    alarm: Alarm = field(default_factory=Alarm)
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Path key and check name."""
        return (self.path.key, self.check.name)

    def move_on(self, now: float, *, thinned: bool = False) -> None:
        """Take the next due time; ``thinned``: every second one, other paths in between."""
        every_s = self.interval_s
        self.due = next_due(self.due, every_s, now)
        if thinned and (int(self.due / every_s) + crc32(self.path.key.encode())) % 2:
            self.due += every_s

    def way_of(self, legs: Sequence[Address]) -> tuple[Address | None, Source]:
        """The leg whose turn it is, and a source of its family; legs without one are passed by."""
        path = self.path
        ways = [(leg, source) for leg in legs if (source := path.source_for(leg))]
        if ways:
            return ways[self.count % len(ways)]
        return (legs[self.count % len(legs)] if legs else None), path.leaves_from

    @property
    def interval_s(self) -> float:
        """The check's own interval, or the PSAP's agreement where that is longer."""
        agreement = self.path.psap.agreement
        if not self.check.is_call or agreement is None:
            return self.check.every_s
        return max(self.check.every_s, agreement.round_s)


def first_dues(runs: Iterable[Run], now: float) -> list[tuple[float, Run]]:
    """When each run is first due: every check's paths evenly over its interval from now."""
    by_check: dict[str, list[Run]] = {}
    for run in runs:
        by_check.setdefault(run[1].name, []).append(run)
    dues = []
    for nth, (_name, group) in enumerate(sorted(by_check.items())):
        offset = (nth * _GOLDEN) % 1.0 / max(1, len(group))
        at = phases([path.key for path, _check in group], group[0][1].every_s, offset)
        dues += [(now + at[path.key], (path, check)) for path, check in group]
    return sorted(dues, key=lambda due: due[0])


def finishes_every_s(runs: Iterable[Run]) -> float:
    """How often at least one of these runs finishes, in seconds; 0 when there are none.

    Calls may be stopped or refused at any time: they count only where nothing else runs.
    """
    everything = tuple(runs)
    steady = [run for run in everything if not run[1].is_call] or everything
    return min(
        (Turn(path, check, 0.0).interval_s + check.give_up_after_s for path, check in steady),
        default=0.0,
    )


def _settle(future: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 - its result
    if not future.done():
        future.set_result(value)
