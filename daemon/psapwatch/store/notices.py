"""Incidents, and the outbox of notices about them (layer L4)."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, final

from psapwatch import case as case_json
from psapwatch.case import Case
from psapwatch.incident import Incident, Notice, Status, from_json, to_json
from psapwatch.store.redact import redacted

PENDING_MAX: Final = 1_000
"""Notices that wait for one sink; above it the oldest that only tells of a change is lost."""

Which = Literal["open", "newest", "one"]

_INCIDENTS: Final[dict[Which, str]] = {
    "open": "SELECT body, acknowledged FROM incidents"
    " WHERE closed_at IS NULL ORDER BY opened_at DESC, rowid DESC",
    "newest": "SELECT body, acknowledged FROM incidents"
    " ORDER BY opened_at DESC, rowid DESC LIMIT ?",
    "one": "SELECT body, acknowledged FROM incidents WHERE id = ?",
}
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=str).encode


@dataclass(frozen=True, slots=True)
class Pending:
    """A notice that a sink has not taken yet."""

    no: int
    sink: str
    notice: Notice
    attempts: int = 0
    detail: str = ""
    """What the last attempt came to."""


@final
class Outstanding:
    """The pending notices of each sink, in order; the loop's copy of what the outbox holds."""

    def __init__(self, rows: Iterable[Pending], highest: int, losses: Counter[str]) -> None:
        self._by_sink: dict[str, dict[int, Pending]] = {}
        self._highest = highest
        self._losses = losses
        for row in rows:
            self._by_sink.setdefault(row.sink, {})[row.no] = row

    def of(self, sink: str) -> list[Pending]:
        """Return what a sink has not taken yet, oldest first."""
        return list(self._by_sink.get(sink, {}).values())

    def count(self, sink: str) -> int:
        """Return how many notices wait for a sink."""
        return len(self._by_sink.get(sink, {}))

    def add(self, sink: str, notice: Notice) -> tuple[Pending, Pending | None]:
        """Queue a notice; also return the one that had to go for it, if any."""
        self._highest += 1
        waiting = self._by_sink.setdefault(sink, {})
        row = waiting[self._highest] = Pending(self._highest, sink, notice)
        if len(waiting) <= PENDING_MAX:
            return row, None
        gone = next(
            (each for each in waiting.values() if each.notice.status == "changed"),
            next(iter(waiting.values())),
        )
        del waiting[gone.no]
        self._losses["notices"] += 1
        return row, gone

    def tried(self, row: Pending, detail: str) -> None:
        """Count an attempt that failed; the notice keeps its place."""
        waiting = self._by_sink[row.sink]
        if row.no in waiting:
            waiting[row.no] = replace(row, attempts=row.attempts + 1, detail=detail)

    def remove(self, row: Pending) -> None:
        """Take a notice out: told, or given up."""
        self._by_sink[row.sink].pop(row.no, None)


def save_incident(connection: sqlite3.Connection, incident: Incident) -> None:
    """Write an incident as it stands; an acknowledgement made meanwhile stays."""
    connection.execute(
        "INSERT INTO incidents (id, opened_at, closed_at, acknowledged, body)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET closed_at = excluded.closed_at,"
        " body = excluded.body, acknowledged = CASE excluded.acknowledged"
        " WHEN '' THEN acknowledged ELSE excluded.acknowledged END",
        (
            *(incident.id, incident.opened_at, incident.closed_at),
            *(incident.acknowledged, _encode(to_json(incident))),
        ),
    )


def save_case(connection: sqlite3.Connection, incident_id: str, case: Case) -> None:
    """Write what an incident's cause rests on beside it; only redacted evidence is kept."""
    battery = {row: redacted(each) for row, each in case.battery.items()}
    kept = replace(case, evidence=redacted(case.evidence), battery=battery)
    connection.execute(
        "UPDATE incidents SET judged_from = ? WHERE id = ?",
        (_encode(case_json.to_json(kept)), incident_id),
    )


def case_of(connection: sqlite3.Connection, incident_id: str) -> Case | None:
    """Read what an incident's cause rests on, where that is known."""
    found = connection.execute(
        "SELECT judged_from FROM incidents WHERE id = ?", (incident_id,)
    ).fetchone()
    return case_json.from_json(json.loads(found[0])) if found and found[0] else None


def queue(connection: sqlite3.Connection, row: Pending) -> None:
    """Write a notice into the outbox."""
    connection.execute(
        "INSERT INTO outbox (no, sink, incident, status, at, body) VALUES (?, ?, ?, ?, ?, ?)",
        (
            *(row.no, row.sink, row.notice.incident.id, row.notice.status),
            *(row.notice.at, _encode(to_json(row.notice.incident))),
        ),
    )


def mark(
    connection: sqlite3.Connection, no: int, column: str, at: float | None, detail: str
) -> None:
    """Count one attempt at a notice; ``column`` is ``told_at`` or ``gone_at`` when it was final."""
    assert column in ("told_at", "gone_at")
    connection.execute(
        f"UPDATE outbox SET attempts = attempts + 1, {column} = ?, detail = ? WHERE no = ?",  # noqa: S608 - one of two names
        (at, detail, no),
    )


def pending(connection: sqlite3.Connection) -> list[Pending]:
    """Return every notice that no sink has taken and none has given up."""
    found = connection.execute(
        "SELECT no, sink, status, at, body, attempts, detail FROM outbox"
        " WHERE told_at IS NULL AND gone_at IS NULL ORDER BY no"
    )
    return [
        Pending(no, sink, Notice(cast("Status", status), from_json(json.loads(body)), at), *rest)
        for no, sink, status, at, body, *rest in found
    ]


def highest(connection: sqlite3.Connection) -> int:
    """Return the number of the newest notice."""
    return int(connection.execute("SELECT coalesce(max(no), 0) FROM outbox").fetchone()[0])


def told(connection: sqlite3.Connection, incident_id: str) -> list[tuple[str, str, float, float]]:
    """Return who was told of an incident: sink, status, when it was said, when it was taken."""
    return connection.execute(
        "SELECT sink, status, at, told_at FROM outbox"
        " WHERE incident = ? AND told_at IS NOT NULL ORDER BY no",
        (incident_id,),
    ).fetchall()


def incidents(connection: sqlite3.Connection, which: Which, *values: str | int) -> list[Incident]:
    """Return incidents, newest first."""
    found = connection.execute(_INCIDENTS[which], values)
    return [replace(from_json(json.loads(body)), acknowledged=by) for body, by in found]


def acknowledge(connection: sqlite3.Connection, incident_id: str, by: str) -> bool:
    """Note who has seen an incident; False when there is none of that id."""
    found = connection.execute(
        "UPDATE incidents SET acknowledged = ? WHERE id = ?", (by, incident_id)
    )
    return found.rowcount == 1
