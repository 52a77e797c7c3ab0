"""What is forgotten, and when: rows go a few at a time, between other people's jobs (layer L4)."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Final

from psapwatch.store import attempts
from psapwatch.store.runner import Runner

DAY_S: Final = 86_400.0
SERIES_AT_ONCE_MAX: Final = 200
"""Paths and checks that one job looks through, most of which have nothing to forget."""

_OLD: Final = (
    "DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE closed_at < ?1 LIMIT ?2)",
    """DELETE FROM outbox WHERE no IN (SELECT no FROM outbox
        WHERE at < ?1 AND coalesce(told_at, gone_at) IS NOT NULL LIMIT ?2)""",
    """DELETE FROM maintenance WHERE id IN
        (SELECT id FROM maintenance WHERE until_at < ?1 LIMIT ?2)""",
    "DELETE FROM changes WHERE rowid IN (SELECT rowid FROM changes WHERE at < ?1 LIMIT ?2)",
    "DELETE FROM calls WHERE call_id IN (SELECT call_id FROM calls WHERE ended_at < ?1 LIMIT ?2)",
)
"""Open incidents, pending notices and open calls are never forgotten; the audit stays whole."""


async def retain(run: Runner, now: float, keep_days: float) -> int:
    """Forget passes after 48 h but for the newest five, everything else after ``keep_days``.

    Returns how many attempts, incidents, notices and calls went. Each job is short, so that a
    call's ledger row need not wait.
    """
    gone, old = 0, now - keep_days * DAY_S
    left = await run.submit(_series)
    while left:
        count, left = await run.submit(
            partial(_forget, series=left, passes_before=now - attempts.PASSES_S, before=old),
            writes=True,
        )
        gone += count
    for statement in _OLD:
        while count := await run.submit(partial(_delete, statement, old), writes=True):
            gone += count
    return gone


def _series(connection: sqlite3.Connection) -> list[int]:
    return [int(row[0]) for row in connection.execute("SELECT id FROM series ORDER BY id")]


def _forget(
    connection: sqlite3.Connection, series: list[int], passes_before: float, before: float
) -> tuple[int, list[int]]:
    """Forget a bounded number of attempts; return how many, and the series still to look at."""
    gone = hours = 0
    for place, number in enumerate(series[:SERIES_AT_ONCE_MAX]):
        gone += attempts.forget(connection, number, 0, passes_before)
        gone += attempts.forget(connection, number, 1, before)
        hours += attempts.forget_hours(connection, number, before)
        if gone + hours >= attempts.DELETED_AT_ONCE_MAX:
            return gone, series[place:]  # this one may have more
    return gone, series[SERIES_AT_ONCE_MAX:]


def _delete(statement: str, before: float, connection: sqlite3.Connection) -> int:
    values = (before, attempts.DELETED_AT_ONCE_MAX)
    return connection.execute(statement, values).rowcount
