"""An asyncio event loop whose clock jumps (layer L3).

``time()`` is virtual seconds. When nothing is ready the clock moves to the next timer, so an hour
takes as long as its callbacks do. There is no selector, no thread and no wall clock in it: what
runs is decided by the order of calls alone, which makes a run with the same seed the same run.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final, NoReturn, TypeVar, final

_T = TypeVar("_T")

TURNS_AT_ONE_MOMENT_MAX: Final = 1_000_000
"""Turns of the loop without the clock moving, after which something is spinning."""
CANCELLED_MIN: Final = 100
"""Cancelled timers that may stay on the agenda before it is cleared of them."""
TICK_S: Final = 1e-9
"""Timers closer together than this are due at the same moment; well above a float's grain."""
_COLLECT_AFTER: Final = (20_000, 20, 100)

_Entry = tuple[float, int, asyncio.TimerHandle]
"""When, in which order of setting, and what."""


class Stuck(RuntimeError):
    """The simulated world cannot go on: nothing to wait for, or no end to the present moment."""


class _Task(asyncio.Task[_T]):
    """A task whose hash is its number: sets of tasks are walked in the same order in each run."""

    def __init__(self, number: int, coro: Generator[Any, None, _T], **more: Any) -> None:
        self.number = number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self.number


@final
class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs coroutines in virtual time; use it through ``run``."""

    _scheduled: list[_Entry]
    _ready: deque[asyncio.Handle]
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._still = 0
        self._orders = itertools.count()
        self._numbers = itertools.count(1)
        self.set_task_factory(self._number_task)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def call_at(  # type: ignore[override]  # its *args are typed variadically
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, but timers for the same moment run in the order they were set."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's own
        heapq.heappush(self._scheduled, (when, next(self._orders), timer))
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

    def _run_once(self) -> None:
        """Run what is ready; when nothing is, move the clock to the next timer.

        Raises:
            Stuck: no timer and nothing ready, or time has ceased to pass.
        """
        ready, agenda = self._ready, self._scheduled
        if ready or self._stopping:
            self._still += 1
            if self._still > TURNS_AT_ONE_MOMENT_MAX:
                self._still = 0  # what is cancelled now needs a few turns to end
                message = f"time stands still at {self._now:.6f} s: callbacks beget callbacks"
                raise Stuck(message)
        else:
            self._jump()
        end = self._now + TICK_S
        while agenda and agenda[0][0] < end:
            timer = heapq.heappop(agenda)[2]
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's
            ready.append(timer)
        for _nth in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - as asyncio's own loop does

    def _jump(self) -> None:
        """Move the clock to the next timer that is not cancelled."""
        agenda = self._scheduled
        if self._timer_cancelled_count > max(CANCELLED_MIN, len(agenda) // 2):
            agenda[:] = [entry for entry in agenda if not entry[2].cancelled()]
            heapq.heapify(agenda)
            self._timer_cancelled_count = 0
        while agenda and agenda[0][2].cancelled():
            heapq.heappop(agenda)
            self._timer_cancelled_count -= 1
        if not agenda:
            waiting = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self)))
            message = f"deadlock at {self._now:.6f} s: no timer is set; waiting: {waiting}"
            raise Stuck(message)
        self._still = 0
        self._now = max(self._now, agenda[0][0])

    def _write_to_self(self) -> None:
        """Wake nobody: the loop never sleeps."""


@contextmanager
def _patient_collector() -> Iterator[None]:
    """Look for cycles seldom, and never among what was there before: a tenth of the time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def run(main: Coroutine[Any, Any, _T], *, seed: int = 0) -> _T:
    """Run ``main`` to its end in virtual time; a failure carries the seed that replays it.

    Raises:
        Stuck: the world stood still.
        Exception: whatever ``main`` raised, with the seed as a note.
    """
    with _patient_collector(), asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        try:
            return runner.run(main)
        except Exception as failure:
            failure.add_note(f"simulated with seed {seed}")
            raise
