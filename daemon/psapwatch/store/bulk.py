"""Inserts many rows in few statements (layer L4).

Each statement gives the interpreter's lock away and must win it back. Beside a busy loop that
takes up to 5 ms (``sys.getswitchinterval``): a row at a time, a storm of attempts would keep the
writer from a call's ledger row for seconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final

SIZES: Final = (64, 16, 4, 1)
"""Rows of one statement; few sizes, so that SQLite keeps the prepared statements."""
OUR_FAULT: Final = (TypeError, ValueError, OverflowError, sqlite3.ProgrammingError)
"""What binding a value raises that no disk could take."""

Row = Sequence[Any]


def insert(
    connection: sqlite3.Connection,
    head: str,
    rows: Iterable[Row],
    spoilt: Callable[[Row, Exception], None],
) -> None:
    """Insert rows behind ``head`` (``INSERT INTO t (a, b)``), some at a time.

    A row that cannot be bound is handed to ``spoilt``; its neighbours are inserted.
    """
    left = iter(rows)
    while some := list(islice(left, SIZES[0])):
        while some:
            size = next(size for size in SIZES if size <= len(some))
            _together(connection, head, some[:size], spoilt)
            del some[:size]


def _together(
    connection: sqlite3.Connection,
    head: str,
    rows: Sequence[Row],
    spoilt: Callable[[Row, Exception], None],
) -> None:
    places = f"({', '.join('?' * len(rows[0]))})"
    values = list(chain.from_iterable(rows))
    try:
        connection.execute(f"{head} VALUES {', '.join([places] * len(rows))}", values)
    except OUR_FAULT as fault:
        if len(rows) == 1:
            spoilt(rows[0], fault)
        else:
            for row in rows:
                _together(connection, head, [row], spoilt)
