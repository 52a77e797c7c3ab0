"""An asyncio event loop whose clock jumps (layer L3).

``time()`` is virtual seconds. When nothing is ready the clock moves to the next timer, so an hour
takes as long as its callbacks do. There is no selector, no thread and no wall clock in it: what
runs is decided by the order of calls alone, which makes a run with the same seed the same run.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final, NoReturn, TypeVar, final

_T = TypeVar("_T")

TURNS_AT_ONE_MOMENT_MAX: Final = 1_000_000
"""Turns of the loop without the clock moving, after which something is spinning."""
TICK_S: Final = 1e-9
"""Timers closer together than this are due at the same moment; well above a float's grain."""


class Stuck(RuntimeError):
    """The simulated world cannot go on: nothing to wait for, or no end to the present moment."""


class _Timer(asyncio.TimerHandle):
    """A timer that runs after those set before it for the same moment."""

    __slots__ = ("order",)
    _when: float
    _scheduled: bool

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Timer):
            return NotImplemented
        return self._when < other._when or (self._when == other._when and self.order < other.order)

    order: int


class _Task(asyncio.Task[_T]):
    """A task whose hash is its number: sets of tasks are walked in the same order in each run."""

    def __init__(self, number: int, coro: Generator[Any, None, _T], **more: Any) -> None:
        self.number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self.number


class _Jump:
    """Stands where asyncio keeps its selector: instead of waiting it moves the clock."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._still = 0

    def select(self, timeout: float | None) -> list[object]:
        """Move the clock by ``timeout``; there is never an event of the outside.

        Raises:
            Stuck: ``timeout`` is None (no timer, nothing ready), or time has ceased to pass.
        """
        if timeout is None:
            waiting = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self._loop)))
            message = f"deadlock at {self._loop.time():.6f} s: no timer is set; waiting: {waiting}"
            raise Stuck(message)
        self._still = 0 if timeout > 0 else self._still + 1
        if self._still > TURNS_AT_ONE_MOMENT_MAX:
            self._still = 0  # what is cancelled now needs a few turns to end
            message = f"time stands still at {self._loop.time():.6f} s: callbacks beget callbacks"
            raise Stuck(message)
        if timeout > 0:
            self._loop.jump(timeout)
        return []


@final
class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs coroutines in virtual time; use it through ``run``."""

    _scheduled: list[_Timer]
    _selector: _Jump
    _clock_resolution: float

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._orders = itertools.count()
        self._numbers = itertools.count(1)
        self._selector = _Jump(self)
        self._clock_resolution = TICK_S
        self.set_task_factory(self._number_task)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock to the next timer, or by ``seconds`` where that is earlier."""
        # The timer's own moment, not now + (moment - now): that sum can fall short by a grain.
        self._now = min(self._now + seconds + TICK_S, self._scheduled[0].when())

    def call_at(  # type: ignore[override]  # its *args are typed variadically
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, but timers for the same moment run in the order they were set."""
        timer = _Timer(when, callback, args, self, context)
        timer.order = next(self._orders)
        timer._scheduled = True  # noqa: SLF001 - as asyncio's own call_at does
        heapq.heappush(self._scheduled, timer)
        return timer

    def run_in_executor(
        self, _executor: object, func: Callable[..., object], *_args: object
    ) -> NoReturn:
        """Refuse: a thread's pace is not the seed's.

        Raises:
            RuntimeError: always.
        """
        message = f"no thread runs under the jumping clock: {func!r}"
        raise RuntimeError(message)

    def _number_task(
        self, _loop: asyncio.AbstractEventLoop, coro: Any, **more: Any
    ) -> asyncio.Future[Any]:
        return _Task(next(self._numbers), coro, loop=self, **more)

    def _process_events(self, events: list[object]) -> None:
        """Nothing ever comes from outside."""

    def _write_to_self(self) -> None:
        """Wake nobody: the loop never sleeps."""


def run(main: Coroutine[Any, Any, _T], *, seed: int = 0) -> _T:
    """Run ``main`` to its end in virtual time; a failure carries the seed that replays it.

    Raises:
        Stuck: the world stood still.
        Exception: whatever ``main`` raised, with the seed as a note.
    """
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        try:
            return runner.run(main)
        except Exception as failure:
            failure.add_note(f"simulated with seed {seed}")
            raise
