"""Attempts: the buffer in front of the disk, the rows, and what is kept how long (layer L4)."""

from __future__ import annotations

import json
import sqlite3
import threading  # noqa: TID251 - the buffer is shared with the writer's own thread
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, final

import structlog

from psapwatch import evidence as evidence_words
from psapwatch.evidence import Evidence, Packet
from psapwatch.store import bulk
from psapwatch.store.redact import redact_transcript, redacted
from psapwatch.store.runner import Runner
from psapwatch.verdict import Cause, Outcome, Plane, Verdict

BUFFERED_MAX: Final = 10_000
"""Attempts that wait for the disk; above it the oldest pass is lost, then the oldest failure."""
HURRY_ROWS: Final = 64
"""Attempts after which they are written without waiting for more."""
PASSES_S: Final = 48 * 3600.0
PASSES_KEPT: Final = 5
"""The newest passes of each path and check, which stay however old they are."""
LAST_CALLS: Final = 3
"""The newest of each path, passed and failed apart, that a start asks for."""
LAST_PASS_EVERY_S: Final = 60.0
"""How often a path's newest good transcript is written while all is well; at a failure, at once."""
DELETED_AT_ONCE_MAX: Final = 2_000
"""Rows that one retention job deletes, so that a call's ledger row need not wait long."""

log = structlog.get_logger("psapwatch.store")

Attempt = tuple[Evidence, Verdict]
Series = tuple[str, str, str, str, str, str]

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_SERIES: Final = ("psap", "path", "firewall", "transport", "check", "probe")
_PLAIN: Final = ("leg", "source", "call_id", "v")
_WANTED: Final = {None: (0, 1), False: (0,), True: (1,)}
_INSERT: Final = (
    "INSERT INTO attempts (series, id, failed, started_at, duration_s, outcome, cause, plane, why,"
    " leg, source, call_id, v, observations, transcript)"
)
_INSERT_LAST: Final = "INSERT OR REPLACE INTO last_passes (series, id, transcript)"
_SELECT: Final = (
    'SELECT psap, path, firewall, transport, "check", probe, leg, source, call_id, v,'
    " attempts.id, started_at, duration_s, outcome, cause, plane, why, observations,"
    " coalesce(attempts.transcript, last_passes.transcript)"
    " FROM attempts JOIN series ON series.id = attempts.series"
    " LEFT JOIN last_passes ON last_passes.id = attempts.id"
    " AND last_passes.series = attempts.series"
)


def _series_of(evidence: Evidence) -> Series:
    return (
        *(evidence.psap, evidence.path, evidence.firewall),
        *(evidence.transport, evidence.check, evidence.probe),
    )


def _pack(transcript: list[list[Any]]) -> str:
    """Write a transcript with each message once, however often it was repeated.

    Not compressed: zlib gives the interpreter's lock away at each call, see ``bulk``.
    """
    messages: dict[str, int] = {}
    packets = [
        [*packet, messages.setdefault(octets, len(messages))] for *packet, octets in transcript
    ]
    return _encode({"messages": list(messages), "packets": packets})


def _unpack(text: str) -> list[list[Any]]:
    packed = json.loads(text)
    return [[*packet, packed["messages"][number]] for *packet, number in packed["packets"]]


@dataclass(slots=True)
class Flush:
    """One job that writes what the buffer held when it first ran; it may have to run again."""

    buffer: Buffer
    rows: list[Attempt] | None = None
    passes: list[Evidence] = field(default_factory=list)
    fresh: dict[Series, int] = field(default_factory=dict)

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Insert the rows; runs in the writer's thread, inside its transaction."""
        if self.rows is None:
            self.rows, self.passes = self.buffer.take()
        self.fresh.clear()
        bulk.insert(connection, _INSERT, self._encoded(connection), self._spoilt)
        transcripts = (
            (
                self._series(connection, _series_of(each)),
                each.attempt_id,
                _pack(evidence_words.plain_transcript(redact_transcript(each.transcript))),
            )
            for each in self.passes
        )
        bulk.insert(connection, _INSERT_LAST, transcripts, self._spoilt)

    def _encoded(self, connection: sqlite3.Connection) -> Iterator[list[Any]]:
        for seen, verdict in self.rows or ():
            try:
                yield self._row(connection, seen, verdict)
            except bulk.OUR_FAULT as fault:  # one attempt that cannot be written spoils no other
                self._spoilt((0, seen.attempt_id), fault)

    def _spoilt(self, row: bulk.Row, fault: Exception) -> None:
        self.buffer.lose_fault(row[1], fault)

    def committed(self) -> None:
        """Remember the series that are on disk now."""
        self.buffer.known.update(self.fresh)

    def _row(self, connection: sqlite3.Connection, seen: Evidence, verdict: Verdict) -> list[Any]:
        # Of a pass only the observations are kept: its transcript is in last_passes, if at all.
        passed = verdict.outcome is Outcome.PASS
        kept = seen if passed else redacted(seen)
        return [
            self._series(connection, _series_of(seen)),
            *(seen.attempt_id, verdict.failed, seen.started_at, seen.duration_s),
            *(verdict.outcome.value, verdict.cause.value, verdict.plane.value, verdict.why),
            *(seen.leg, seen.source, seen.call_id, seen.v),
            _encode(evidence_words.plain_observations(kept)),
            None
            if passed or not seen.transcript
            else _pack(evidence_words.plain_transcript(kept.transcript)),
        ]

    def _series(self, connection: sqlite3.Connection, series: Series) -> int:
        number = self.buffer.known.get(series) or self.fresh.get(series)
        if number is None:
            connection.execute(
                'INSERT INTO series (psap, path, firewall, transport, "check", probe)'
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                series,
            )
            found = connection.execute(
                "SELECT id FROM series WHERE (psap, path, firewall, transport,"
                ' "check", probe) = (?, ?, ?, ?, ?, ?)',
                series,
            )
            number = self.fresh[series] = int(found.fetchone()[0])
        return number


@final
class Buffer:
    """Attempts on their way to the disk; full, it loses passes before failures."""

    def __init__(self, run: Runner) -> None:
        self.known: dict[Series, int] = {}
        """The numbers of the series that are on disk; touched in the writer's thread only."""
        self._run = run
        self._passes: deque[Attempt] = deque()
        self._others: deque[Attempt] = deque()
        self._newest_pass: dict[Series, Evidence] = {}
        self._written_at: dict[Series, float] = {}
        self._due: dict[Series, Evidence] = {}
        self._posted = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._passes) + len(self._others)

    def add(self, seen: Evidence, verdict: Verdict) -> None:
        """Take one attempt; never blocks on the disk."""
        series = _series_of(seen)
        with self._lock:
            if verdict.outcome is Outcome.PASS:
                self._passes.append((seen, verdict))
                self._newest_pass[series] = seen
                if seen.started_at - self._written_at.get(series, 0.0) >= LAST_PASS_EVERY_S:
                    self._keep_pass(series)
            else:
                self._others.append((seen, verdict))
                self._keep_pass(series)
            self._bound()
        self._flush()

    def keep_passes(self) -> None:
        """Have every newest pass written that is not on disk yet: the store is closing."""
        with self._lock:
            for series in tuple(self._newest_pass):
                self._keep_pass(series)
        self._flush()

    def take(self) -> tuple[list[Attempt], list[Evidence]]:
        """Hand everything over to a flush: attempts, and passes whose transcript is kept."""
        with self._lock:
            rows, passes = [*self._passes, *self._others], list(self._due.values())
            self._passes.clear()
            self._others.clear()
            self._due.clear()
            self._posted = False
        return rows, passes

    def transcript_of(self, attempt_id: str) -> tuple[Packet, ...]:
        """Return the redacted transcript of a newest pass that is not on disk yet."""
        with self._lock:
            held = [*self._newest_pass.values(), *self._due.values()]
        return next(
            (redact_transcript(each.transcript) for each in held if each.attempt_id == attempt_id),
            (),
        )

    def lose_fault(self, attempt_id: str, fault: Exception) -> None:
        """Count an attempt that no disk could take: a bug of ours."""
        self._run.losses["faults"] += 1
        log.error("attempt_unwritable", attempt_id=attempt_id, error=repr(fault))

    def _flush(self) -> None:
        rows = len(self)
        if not self._posted and (rows or self._due):
            self._posted = True
            flush = Flush(self)
            self._run.post(flush, flush.committed)
        if rows % HURRY_ROWS == HURRY_ROWS - 1:
            self._run.hurry()

    def _keep_pass(self, series: Series) -> None:
        newest = self._newest_pass.pop(series, None)
        if newest is not None and newest.transcript:
            self._written_at[series] = newest.started_at
            self._due[series] = newest

    def _bound(self) -> None:
        if len(self) > BUFFERED_MAX:
            lost, kind = (self._passes, "passes") if self._passes else (self._others, "failures")
            lost.popleft()
            self._run.losses[kind] += 1


def read(row: tuple[Any, ...]) -> Attempt:
    """Build the evidence and its verdict from one row of ``_SELECT``."""
    plain: dict[str, Any] = dict(zip((*_SERIES, *_PLAIN), row[:10], strict=True))
    plain["attempt_id"], plain["started_at"], plain["duration_s"] = row[10:13]
    outcome, cause, plane, why = row[13:17]
    plain["observations"] = json.loads(row[17])
    plain["transcript"] = _unpack(row[18]) if row[18] else []
    return (
        evidence_words.from_json(plain),
        Verdict(Outcome(outcome), Cause(cause), Plane(plane), why),
    )


def one(connection: sqlite3.Connection, name: str) -> Attempt | None:
    """Return one attempt by its id or its Call-ID, with its transcript where that was kept."""
    found = connection.execute(
        f"{_SELECT} WHERE attempts.id = ? OR attempts.call_id = ? LIMIT 1", (name, name)
    ).fetchone()
    return read(found) if found else None


def newest(
    connection: sqlite3.Connection, psap: str, path: str, *, failed: bool | None, limit: int
) -> list[Attempt]:
    """Return the newest attempts of a path over all its checks, newest first."""
    numbers = connection.execute("SELECT id FROM series WHERE psap = ? AND path = ?", (psap, path))
    rows: list[tuple[Any, ...]] = []
    for series, only in product([row[0] for row in numbers], _WANTED[failed]):
        # One range of the index each: a path that has been down for a year has many rows.
        rows += connection.execute(
            f"{_SELECT} WHERE attempts.series = ? AND failed = ? ORDER BY started_at DESC LIMIT ?",
            (series, only, limit),
        )
    rows.sort(key=lambda row: float(row[11]), reverse=True)
    return [read(row) for row in rows[:limit]]


def last_calls(connection: sqlite3.Connection, since: float, until: float) -> list[Attempt]:
    """Return the newest few test calls on each path, oldest first; none that is damaged."""
    rows: list[tuple[Any, ...]] = []
    numbers = connection.execute("SELECT id FROM series WHERE probe = 'call'").fetchall()
    for (series,), failed in product(numbers, (0, 1)):
        rows += connection.execute(
            f"{_SELECT} WHERE attempts.series = ? AND failed = ?"
            " AND started_at BETWEEN ? AND ? ORDER BY started_at DESC LIMIT ?",
            (series, failed, since, until, LAST_CALLS),
        )
    found = []
    for row in sorted(rows, key=lambda row: float(row[11])):
        try:
            found.append(read(row))
        except (KeyError, TypeError, ValueError) as damaged:
            log.warning("attempt_unreadable", attempt_id=row[10], error=repr(damaged))
    return found


def last_pass(connection: sqlite3.Connection, psap: str, path: str, check: str) -> Attempt | None:
    """Return a path's newest pass of which the transcript is kept."""
    found = connection.execute(
        f"{_SELECT} WHERE last_passes.id IS NOT NULL AND series.psap = ? AND series.path = ?"
        ' AND series."check" = ? ORDER BY started_at DESC LIMIT 1',
        (psap, path, check),
    ).fetchone()
    return read(found) if found else None


def forget(connection: sqlite3.Connection, series: int, failed: int, before: float) -> int:
    """Count old attempts into their hours and delete them, a bounded number; return how many.

    The newest ``PASSES_KEPT`` passes stay, and so does the one whose transcript is kept.
    """
    if not failed:
        kept = connection.execute(
            "SELECT started_at FROM attempts WHERE series = ? AND failed = 0"
            " ORDER BY started_at DESC LIMIT 1 OFFSET ?",
            (series, PASSES_KEPT - 1),
        ).fetchone()
        before = min(before, kept[0]) if kept else 0.0
    doomed = [
        row[0]
        for row in connection.execute(
            "SELECT no FROM attempts WHERE series = ? AND failed = ? AND started_at < ?"
            " AND id NOT IN (SELECT id FROM last_passes WHERE last_passes.series = ?) LIMIT ?",
            (series, failed, before, series, DELETED_AT_ONCE_MAX),
        )
    ]
    numbers = _encode(doomed)
    connection.execute(
        "INSERT INTO hours (series, hour, outcome, cause, attempts, duration_s)"
        " SELECT series, CAST(started_at / 3600 AS INTEGER) AS hour, outcome, cause, count(*),"
        " sum(duration_s) FROM attempts WHERE no IN (SELECT value FROM json_each(?))"
        " GROUP BY hour, outcome, cause ON CONFLICT DO UPDATE SET"
        " attempts = attempts + excluded.attempts, duration_s = duration_s + excluded.duration_s",
        (numbers,),
    )
    connection.execute(
        "DELETE FROM attempts WHERE no IN (SELECT value FROM json_each(?))", (numbers,)
    )
    return len(doomed)


def forget_hours(connection: sqlite3.Connection, series: int, before: float) -> int:
    """Delete old hourly counts, a bounded number; return how many."""
    return connection.execute(
        "DELETE FROM hours WHERE (series, hour, outcome, cause) IN"
        " (SELECT series, hour, outcome, cause FROM hours WHERE series = ? AND hour < ? LIMIT ?)",
        (series, int(before // 3600), DELETED_AT_ONCE_MAX),
    ).rowcount
