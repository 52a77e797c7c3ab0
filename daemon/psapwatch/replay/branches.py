"""A run that comes to several ends: what they have in common is played once (layer L5).

The simulated world is one process without threads or sockets, so a copy of the process is a copy
of the world. Each end but the last goes on in a copy of its own, one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from traceback import format_exc
from typing import Any, Generic, TypeVar

from psapwatch.simulator.loop import fork

End = TypeVar("End")
Result = TypeVar("Result")


class Branches(Generic[End, Result]):
    """The ends of one run; what comes of each must be picklable."""

    def __init__(self, ends: Sequence[End]) -> None:
        assert ends, "a run comes to one end at least"
        self._ends = ends
        self._results: list[Result] = []
        self._told: Connection | None = None
        """Where a copy says what came of it; none in the process that was there first."""

    def part(self) -> End:
        """Return the end that this process is to come to; call it once, inside the loop.

        Raises:
            Exception: what a copy raised, in the process that was there first.
        """
        for end in self._ends[:-1]:
            heard, told = Pipe(duplex=False)
            copy = fork()
            if copy == 0:
                heard.close()
                self._told = told
                return end
            told.close()
            self._results.append(_heard(heard, copy))
        return self._ends[-1]

    def gather(self, run: Callable[[], Result]) -> list[Result]:
        """Run what calls ``part``, and return what came of every end, in their order.

        Raises:
            Exception: what the run raised, whichever end it came to.
        """
        try:
            result = run()
            if self._told is not None:
                self._told.send(result)
        except Exception as failure:
            if self._told is not None:
                failure.add_note(format_exc())  # its traceback cannot be sent
                self._told.send(failure)
            raise
        finally:
            if self._told is not None:
                os._exit(os.EX_OK)  # the way back belongs to the process that was there first
        return [*self._results, result]


def _heard(heard: Connection, copy: int) -> Any:
    with heard:
        try:
            result = heard.recv()
        except EOFError:
            result = RuntimeError("a copy of the run ended without a word")
    os.waitpid(copy, 0)
    if isinstance(result, Exception):
        raise result
    return result
