"""The loop whose clock jumps."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from psapwatch.simulator.loop import Stuck, run


def test_an_hour_takes_no_time() -> None:
    """Sleeping an hour moves the loop's clock by an hour and the wall's by next to nothing."""

    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.process_time()
    assert run(main()) == 3600
    assert time.process_time() - began < 0.5


def test_a_deadlock_says_so() -> None:
    """Waiting for what nobody will do is an error that names the waiting task and the seed."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("the waiting one")
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck, match=r"deadlock .* waiting: the waiting one") as caught:
        run(main(), seed=42)
    assert caught.value.__notes__ == ["simulated with seed 42"]


def test_spinning_at_one_moment_says_so() -> None:
    """A task that never lets time pass is stopped."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def beget() -> None:
            loop.call_soon(beget)

        beget()
        await asyncio.sleep(1)

    with pytest.raises(Stuck, match="time stands still"):
        run(main())


def test_no_thread_runs() -> None:
    """Handing work to a thread is refused, because its pace is not the seed's."""

    async def main() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(RuntimeError, match="no thread"):
        run(main())


def test_timers_of_one_moment_run_in_the_order_they_were_set() -> None:
    """Equal moments do not shuffle: what was set first runs first."""
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(50):
            loop.call_at(1.0, seen.append, number)
        await asyncio.sleep(2)

    run(main())
    assert seen == list(range(50))


def test_sets_of_tasks_are_walked_in_the_order_of_their_making() -> None:
    """Task hashes are numbers, so that ``asyncio.wait`` gives its tasks in a repeatable order."""

    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(1), name=str(n)) for n in range(5)]
        done, _pending = await asyncio.wait(tasks)
        return [task.get_name() for task in done]

    assert run(main()) == run(main()) == ["0", "1", "2", "3", "4"]


def test_a_timer_is_never_early() -> None:
    """A callback set for a moment sees exactly that moment, however crooked the number."""
    late: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def note(when: float) -> None:
            late.append(loop.time() - when)

        for number in range(1, 200):
            when = number / 3 + 1e-7 * number
            loop.call_at(when, note, when)
        await asyncio.sleep(100)

    run(main())
    assert len(late) == 199
    assert all(0 <= lateness < 1e-6 for lateness in late)


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """SIGINT as in a terminal: what a shell starts in the background is born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_it() -> None:
    """The loop is woken as from another thread; no traceback of ours comes instead."""

    async def main() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        run(main())
