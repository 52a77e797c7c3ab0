"""Jobs in transactions: many together, and one by one when one of them spoils the rest (L4)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

    def run(self, batch: Sequence[Queued]) -> list[Queued]:
        """Run a batch; return the posted jobs that must be tried again, in their order."""
        writing = [queued for queued in batch if queued.writes]
        left: list[Queued] = []
        if writing:
            error, began = self._together(writing)
            self._note(error)
            if error:
                left = self._one_by_one(writing) if began else self._refuse(writing, error)
        for queued in batch:
            if not queued.writes:  # after the commit: a reader sees what was queued before it
                _settle(queued, *self._try(queued))
        return left

    def _together(self, writing: Sequence[Queued]) -> tuple[Exception | None, bool]:
        """Run all in one transaction: the error, if any, and whether a job may be to blame."""
        results: list[Any] = []
        began = False
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            began = True
            results.extend(queued.job(self.connection) for queued in writing)
            self.connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, the transaction is undone
            self._undo()
            return error, began and len(writing) > 1
        for queued, result in zip(writing, results, strict=True):
            _settle(queued, result, None)
        return None, began

    def _one_by_one(self, writing: Sequence[Queued]) -> list[Queued]:
        """Find the job that spoils the batch: each in a transaction of its own."""
        left: list[Queued] = []
        for queued in writing:
            if queued.posted and left:  # posted changes never overtake each other
                left.append(queued)
                continue
            error, _ = self._together([queued])
            if error:
                left.extend(self._refuse([queued], error))
        return left

    def _refuse(self, writing: Sequence[Queued], error: Exception) -> list[Queued]:
        """Tell who waits; keep posted changes unless they are themselves the fault."""
        disk = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DISK
        left = []
        for queued in writing:
            if not queued.posted:
                _settle(queued, None, error)
            elif disk or len(writing) > 1:
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


def _settle(queued: Queued, result: Any, error: Exception | None) -> None:
    if queued.settle:
        queued.settle(result, error)
