"""Jobs in transactions: many together, and one by one when one of them spoils the rest (L4)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_DISK: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
        *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_INTERRUPT),
    }
)
"""Primary result codes that speak of the disk, so that trying again can help."""

log = structlog.get_logger("psapwatch.store")


@dataclass(slots=True)
class Queued:
    """One job in the queue, and who is told."""

    job: Job[Any]
    settle: Callable[[Any, Exception | None], None] | None = None
    """Called once, in the runner's thread, after the commit or with the error."""
    writes: bool = True
    posted: bool = False


@dataclass(slots=True)
class Transactions:
    """Runs queued jobs in transactions; what both runners share."""

    connection: sqlite3.Connection
    losses: Counter[str]
    trouble: str = ""
    _settled: list[tuple[Queued, Any, Exception | None]] = field(default_factory=list)

    def run(self, batch: Sequence[Queued]) -> list[Queued]:
        """Run a batch; return the posted jobs that must be tried again, in their order."""
        writing = [queued for queued in batch if queued.writes]
        left = self._write(writing) if writing else []
        for queued in batch:
            if not queued.writes:  # after the commit: a reader sees what was queued before it
                self._settled.append((queued, *self._try(queued)))
        for queued, result, error in self._settled:
            if queued.settle:
                queued.settle(result, error)
        self._settled.clear()
        return left

    def _write(self, writing: Sequence[Queued]) -> list[Queued]:
        error, began = self._together(writing)
        left: list[Queued] = []
        if error and began and len(writing) > 1:
            left, error = self._one_by_one(writing)
        elif error:
            left = self._refuse(writing, error, keep=not began or _is_disk(error))
        self._note(error if left or (error and _is_disk(error)) else None)
        return left

    def _together(self, writing: Sequence[Queued]) -> tuple[Exception | None, bool]:
        """Run all in one transaction: the error, if any, and whether it had begun by then."""
        results: list[Any] = []
        began = False
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            began = True
            results.extend(queued.job(self.connection) for queued in writing)
            self.connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, the transaction is undone
            self._undo()
            return error, began
        self._settled += [
            (queued, result, None) for queued, result in zip(writing, results, strict=True)
        ]
        return None, began

    def _one_by_one(self, writing: Sequence[Queued]) -> tuple[list[Queued], Exception | None]:
        """Find the job that spoils the batch: each in a transaction of its own, in order.

        What follows a change that must wait waits too, or is refused with the same error.
        """
        for place, queued in enumerate(writing):
            error, began = self._together([queued])
            if error:
                keep = not began or _is_disk(error)
                if self._refuse([queued], error, keep=keep):
                    behind = self._refuse(writing[place + 1 :], error, keep=True)
                    return [queued, *behind], error
        return [], None

    def _refuse(self, writing: Sequence[Queued], error: Exception, *, keep: bool) -> list[Queued]:
        """Tell who waits; return the posted changes if they are to be kept, else count them."""
        left = []
        for queued in writing:
            if not queued.posted:
                self._settled.append((queued, None, error))
            elif keep:
                left.append(queued)
            else:
                self.losses["faults"] += 1
                log.error("store_fault", error=repr(error))
        return left

    def _try(self, queued: Queued) -> tuple[Any, Exception | None]:
        try:
            return queued.job(self.connection), None
        except Exception as error:  # noqa: BLE001 - it belongs to who waits for the result
            return None, error

    def _undo(self) -> None:
        if self.connection.in_transaction:  # SQLite may have undone it by itself (disk full)
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    def _note(self, error: Exception | None) -> None:
        trouble = "" if error is None else str(error) or repr(error)
        if trouble and not self.trouble:
            log.error("store_failing", error=trouble)
        elif self.trouble and not trouble:
            log.info("store_recovered")
        self.trouble = trouble


def _is_disk(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DISK
