"""An asyncio event loop whose clock jumps (layer L3).

``time()`` is virtual seconds. When nothing is ready the clock moves to the next timer, so an hour
takes as long as its callbacks do. There is no selector, no thread and no wall clock in it: what
runs is decided by the order of calls alone, which makes a run with the same seed the same run.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, Final, NoReturn, TypeVar, final

_T = TypeVar("_T")

TURNS_AT_ONE_MOMENT_MAX: Final = 1_000_000
"""Turns of the loop without the clock moving, after which something is spinning."""
CANCELLED_MIN: Final = 100
"""Cancelled timers that may stay on the agenda before it is cleared of them."""
TICK_S: Final = 1e-9
"""Timers closer together than this are due at the same moment; well above a float's grain."""
_COLLECT_AFTER: Final = (100_000, 20, 100)

_Entry = tuple[float, int, "_Timer"]
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
class _Timer(asyncio.TimerHandle):
    """A callback that is to run: asyncio's own handle at a third of the price, as all is called."""

    __slots__ = ("action", "inputs", "is_off", "loop", "moment", "on_agenda", "scope")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimulatedLoop,
        context: Context | None,
    ) -> None:
        self.moment = when
        self.action: Callable[..., object] | None = callback
        self.inputs = args
        self.loop = loop
        self.scope = copy_context() if context is None else context
        self.is_off = self.on_agenda = False

    def cancel(self) -> None:
        """Have it not run."""
        if not self.is_off:
            self.is_off = True
            self.loop.cancelled_timers += self.on_agenda
            self.action, self.inputs = None, ()

    def cancelled(self) -> bool:
        """Whether it will not run."""
        return self.is_off

    def when(self) -> float:
        """Return its moment, loop seconds."""
        return self.moment

    def __repr__(self) -> str:
        return f"<{self.action!r} at {self.moment:.6f} s>"


@final
class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs coroutines in virtual time; use it through ``run``."""

    _scheduled: list[_Entry]
    _ready: deque[_Timer]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.cancelled_timers = 0
        """Of those on the agenda."""
        self._now = 0.0
        self._still = 0
        self._orders = itertools.count()
        self._numbers = itertools.count(1)
        self.set_task_factory(self._number_task)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now

    def call_soon(  # type: ignore[override]  # its *args are typed variadically
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's."""
        handle = _Timer(self._now, callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # Ctrl-C alone calls it

    def call_later(  # type: ignore[override]  # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, but timers for the same moment run in the order they were set."""
        timer = _Timer(when, callback, args, self, context)
        timer.on_agenda = True
        heappush(self._scheduled, (when, next(self._orders), timer))
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
        """Run what is ready, turn after turn, until told to stop; ``run_forever`` calls it.

        When nothing is ready the clock moves to the next timer.

        Raises:
            Stuck: no timer and nothing ready, or time has ceased to pass.
        """
        ready, agenda = self._ready, self._scheduled
        while True:
            if ready or self._stopping:
                self._still += 1
                if self._still > TURNS_AT_ONE_MOMENT_MAX:
                    self._still = 0  # what is cancelled now needs a few turns to end
                    message = f"time stands still at {self._now:.6f} s: callbacks beget callbacks"
                    raise Stuck(message)
            else:
                self._jump(agenda)
            end = self._now + TICK_S
            while agenda and agenda[0][0] < end:
                timer = heappop(agenda)[2]
                timer.on_agenda = False
                if timer.is_off:
                    self.cancelled_timers -= 1
                else:
                    ready.append(timer)
            for _nth in range(len(ready)):
                timer = ready.popleft()
                if not timer.is_off:
                    try:
                        timer.scope.run(timer.action, *timer.inputs)  # type: ignore[arg-type]
                    except Exception as error:  # noqa: BLE001 - as asyncio's own loop does
                        told = {"message": f"Exception in callback {timer!r}", "exception": error}
                        self.call_exception_handler({**told, "handle": timer})
            if self._stopping:
                return

    def _jump(self, agenda: list[_Entry]) -> None:
        """Move the clock to the next timer that is not cancelled."""
        cancelled = self.cancelled_timers
        if cancelled > CANCELLED_MIN and cancelled > len(agenda) // 2:
            agenda[:] = [entry for entry in agenda if not entry[2].is_off]
            heapify(agenda)
            self.cancelled_timers = 0
        while agenda and agenda[0][2].is_off:
            heappop(agenda)[2].on_agenda = False
            self.cancelled_timers -= 1
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


def fork() -> int:
    """Copy the process and the world that runs in it, as ``os.fork``; both go on from here.

    asyncio knows a running loop by its process, so the copy says again that it is running.
    """
    loop = asyncio.get_running_loop()
    copy = os.fork()
    if copy == 0:
        asyncio._set_running_loop(loop)  # noqa: SLF001 - it is for those who write a loop
    return copy


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
