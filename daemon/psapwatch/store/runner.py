"""Who runs the store's jobs: one writer thread, or the caller in a simulated world (layer L4).

A job is a function of the connection. *Posted* jobs change something and nobody waits: each stays
in the queue, in order, until it is committed. *Submitted* jobs have somebody waiting: they run
once, and their error goes to who waits. Everything queued at one moment is one transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading  # noqa: TID251 - the real adapter of the disk: the writer's own thread
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar, final

import structlog

from psapwatch.store.transactions import Job, Queued, Transactions

T = TypeVar("T")

GATHER_S: Final = 0.1
"""How long the writer collects jobs that nobody waits for, to commit them together."""
RETRY_S: Final = 1.0
"""How long after a failed commit the posted jobs are tried again."""
POSTED_MAX: Final = 10_000
"""Posted jobs that wait while the disk refuses; above it the oldest is lost, and counted."""
INLINE_BATCH_JOBS: Final = 64
"""Posted jobs that an inline runner collects before it commits them."""
BREATH_EVERY_S: Final = 0.001
BREATH_S: Final = 0.000_05
"""While somebody waits for the writer, the loop sleeps so long each millisecond. A loop that is
busy but polls its sockets often never lets go of the interpreter's lock by itself: each poll
starts the 5 ms anew after which it would have to (``sys.getswitchinterval``), and a ledger row
would wait for as long as the storm lasts. A real sleep hands the lock over."""
CLOSE_S: Final = 5.0
"""How long closing waits for the disk."""

log = structlog.get_logger("psapwatch.store")


class Closed(Exception):
    """The store was closed while this job waited."""


class Runner(Protocol):
    """Runs jobs on the one connection that writes."""

    losses: Counter[str]
    """What was given up, by kind: ``changes`` (queue full) and ``faults`` (our own bug)."""

    @property
    def trouble(self) -> str:
        """Why the last transaction failed; ``""`` while all is well."""
        ...

    def start(self, connection: sqlite3.Connection) -> None:
        """Take over an open connection; the runner closes it in the end."""
        ...

    def post(
        self, job: Job[None], committed: Callable[[], None] | None = None, *, urgent: bool = False
    ) -> None:
        """Queue a change; never blocks. ``committed`` runs in the runner's thread."""
        ...

    def hurry(self) -> None:
        """Have what is posted committed now: it has become much."""
        ...

    async def submit(self, job: Job[T], *, writes: bool = False) -> T:
        """Run a job after everything queued before it, commit, and return its result.

        Raises:
            sqlite3.Error: what the job or its commit raised.
            Closed: the store was closed first.
        """
        ...

    async def look(self, job: Job[T]) -> T:
        """Run a job that reads what another process changed; what is queued here may go on waiting.

        Raises:
            sqlite3.Error: what the job raised.
            Closed: the store was closed first.
        """
        ...

    async def close(self) -> int:
        """Commit what is queued and close the connection; return how many changes are lost."""
        ...


def _bounded(waiting: deque[Queued], losses: Counter[str]) -> None:
    """Lose the oldest posted change when too many wait; who waits for a result is never lost."""
    posted = sum(queued.posted for queued in waiting) if len(waiting) > POSTED_MAX else 0
    if posted > POSTED_MAX:
        waiting.remove(next(queued for queued in waiting if queued.posted))
        losses["changes"] += 1


@final
class Inline:
    """Runs jobs in the caller, at once: for simulated worlds, commands and tests."""

    def __init__(self) -> None:
        self.losses: Counter[str] = Counter()
        self._waiting: deque[Queued] = deque()
        self._closed = False
        self._transactions: Transactions | None = None

    @property
    def trouble(self) -> str:
        """Why the last transaction failed; ``""`` while all is well."""
        return self._transactions.trouble if self._transactions else ""

    def start(self, connection: sqlite3.Connection) -> None:
        """Take over an open connection."""
        self._transactions = Transactions(connection, self.losses)

    def post(
        self, job: Job[None], committed: Callable[[], None] | None = None, *, urgent: bool = False
    ) -> None:
        """Queue a change; commit at once when urgent, else a few at a time."""
        self._waiting.append(Queued(job, _when_committed(committed), posted=True))
        _bounded(self._waiting, self.losses)
        if urgent or len(self._waiting) >= INLINE_BATCH_JOBS:
            self._run()

    def hurry(self) -> None:
        """Commit what is posted."""
        self._run()

    async def submit(self, job: Job[T], *, writes: bool = False) -> T:
        """Run a job now, after what was posted; raises what it raises."""
        outcome: list[tuple[T, Exception | None]] = []
        self._waiting.append(
            Queued(job, lambda result, error: outcome.append((result, error)), writes)
        )
        self._run()
        result, error = outcome[0]
        if error:
            raise error
        return result

    async def look(self, job: Job[T]) -> T:
        """Run a job now, before what was posted: a look each second commits nothing."""
        if self._closed or not self._transactions:
            raise Closed("the store is closed")
        return job(self._transactions.connection)

    async def close(self) -> int:
        """Commit what is queued and close the connection; return how many changes are lost."""
        if self._transactions and not self._closed:
            self._run()
            self._closed = True
            self._transactions.connection.close()
        return len(self._waiting)

    def _run(self) -> None:
        if self._closed or not self._transactions:
            raise Closed("the store is closed")
        batch, self._waiting = self._waiting, deque()
        self._waiting.extend(self._transactions.run(batch))


@final
class WriterThread:
    """Runs jobs in one thread of its own, so that a slow disk never holds up a probe."""

    def __init__(self, gather_s: float = GATHER_S) -> None:
        self.losses: Counter[str] = Counter()
        self._gather_s = gather_s
        self._waiting: deque[Queued] = deque()
        self._ready = threading.Condition()
        self._awaited = 0
        self._breathing: asyncio.TimerHandle | None = None
        self._urgent = False
        self._closing = False
        self._transactions: Transactions | None = None
        self._thread = threading.Thread(target=self._work, name="psapwatch-store", daemon=True)

    @property
    def trouble(self) -> str:
        """Why the last transaction failed; ``""`` while all is well."""
        return self._transactions.trouble if self._transactions else ""

    def start(self, connection: sqlite3.Connection) -> None:
        """Take over an open connection and start the thread."""
        self._transactions = Transactions(connection, self.losses)
        self._thread.start()

    def post(
        self, job: Job[None], committed: Callable[[], None] | None = None, *, urgent: bool = False
    ) -> None:
        """Queue a change; it is committed within ``GATHER_S``, at once when urgent."""
        self._put(Queued(job, _when_committed(committed), posted=True), urgent=urgent)

    def hurry(self) -> None:
        """Wake the writer now."""
        with self._ready:
            self._urgent = True
            self._ready.notify()

    async def submit(self, job: Job[T], *, writes: bool = False) -> T:
        """Run a job in the thread; raises what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T, error: Exception | None) -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(_give, future, result, error)

        self._put(Queued(job, settle, writes), urgent=True)
        self._awaited += 1
        if not self._breathing:
            self._breathing = loop.call_later(BREATH_EVERY_S, self._breathe, loop)
        try:
            return await future
        finally:
            self._awaited -= 1

    async def look(self, job: Job[T]) -> T:
        """Run a job in the thread, whose connection it is; raises what it raises."""
        return await self.submit(job)

    def _breathe(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the writer have the interpreter while somebody waits for it."""
        self._breathing = None
        if self._awaited:
            time.sleep(BREATH_S)  # noqa: TID251 - a pause of this thread is the very purpose
            self._breathing = loop.call_later(BREATH_EVERY_S, self._breathe, loop)

    async def close(self) -> int:
        """Commit what is queued and end the thread; after ``CLOSE_S`` leave a stuck disk behind."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if self._thread.is_alive():
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._thread.join, CLOSE_S)
        return len(self._waiting) + self._thread.is_alive()

    def _put(self, queued: Queued, *, urgent: bool) -> None:
        with self._ready:
            if self._closing:
                raise Closed("the store is closed")
            self._waiting.append(queued)
            _bounded(self._waiting, self.losses)
            if (urgent and not self._urgent) or len(self._waiting) == 1:
                self._urgent = self._urgent or urgent
                self._ready.notify()

    def _work(self) -> None:
        assert self._transactions
        left: list[Queued] = []
        while True:
            batch = self._take(left)
            if not batch and self._closing:
                break
            left = self._transactions.run(batch)
            if left and self._closing:
                self._waiting.extend(left)
                break
        self._transactions.connection.close()

    def _take(self, left: list[Queued]) -> list[Queued]:
        """Wait for work; ``left`` could not be committed and goes first again, a while later."""
        with self._ready:
            self._waiting.extendleft(reversed(left))
            if left:
                self._ready.wait_for(lambda: self._urgent or self._closing, RETRY_S)
            else:
                self._ready.wait_for(lambda: self._waiting or self._closing)
                self._ready.wait_for(lambda: self._urgent or self._closing, self._gather_s)
            batch = list(self._waiting)
            self._waiting.clear()
            self._urgent = False
        return batch


def _when_committed(
    committed: Callable[[], None] | None,
) -> Callable[[Any, Exception | None], None] | None:
    if committed is None:
        return None

    def settle(_result: object, error: Exception | None) -> None:
        if error is None:
            committed()

    return settle


def _give(future: asyncio.Future[T], result: T, error: Exception | None) -> None:
    if future.done():  # who waited has gone away
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
