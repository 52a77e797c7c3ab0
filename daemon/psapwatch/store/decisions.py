"""What holds until a person changes it: stops, windows, baselines ...; and the audit (layer L4).

Read all the time and changed rarely, so it is held in memory, where a change holds at once; the
same change goes to the disk with its line in the audit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, final

from psapwatch.announced import Change, Window
from psapwatch.store.ledger import EVERYWHERE
from psapwatch.store.runner import Runner

WINDOWS_MAX: Final = 200
"""Maintenance windows that are read: those that end last."""
CHANGES_MAX: Final = 100
"""Change events that are read for the text of alerts: the newest."""

StopReason = Literal["operator", "unsafe", "misrouted"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Test calls to one PSAP, or ``EVERYWHERE``, are stopped until a human resumes them."""

    psap: str
    reason: StopReason
    why: str
    by: str
    at: float
    firewall: str = ""
    """Behind which somebody was met; "" where nobody was."""


@dataclass(frozen=True, slots=True)
class Commission:
    """The supervised first call of a path went well."""

    path: str
    target: str
    """URI and next hop at that time; another target needs another supervised call."""
    supervisor: str
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Audited:
    """Who changed what, when and why."""

    at: float
    who: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Held:
    """What holds at one moment."""

    stops: dict[str, Stop]
    commissions: dict[str, Commission]
    baselines: dict[tuple[str, str], dict[str, Any]]
    windows: dict[str, Window]
    changes: list[Change]


def held(connection: sqlite3.Connection) -> Held:
    """Read what holds now."""
    rows = connection.execute
    stops = rows('SELECT psap, reason, why, "by", at, firewall FROM stops')
    commissions = rows('SELECT path, target, supervisor, "by", at FROM commissioned')
    baselines = rows('SELECT path, "check", body FROM baselines')
    windows = rows(
        'SELECT scope, member, from_at, until_at, why, id, "by" FROM maintenance'
        " ORDER BY until_at DESC LIMIT ?",
        (WINDOWS_MAX,),
    )
    changes = rows('SELECT at, what, "by" FROM changes ORDER BY at DESC LIMIT ?', (CHANGES_MAX,))
    return Held(
        stops={row[0]: Stop(*row) for row in stops},
        commissions={row[0]: Commission(*row) for row in commissions},
        baselines={(path, check): json.loads(body) for path, check, body in baselines},
        windows={row[5]: Window(*row) for row in windows},
        changes=[Change(*row) for row in changes],
    )


@final
class Decisions:
    """What persons have decided and announced, and the way to change it."""

    def __init__(self, connection: sqlite3.Connection, run: Runner) -> None:
        self._run = run
        self._held = held(connection)
        self.changed = 0
        """How many changes this process has made."""

    def take(self, now_held: Held, changed: int) -> bool:
        """Take over what was read from the disk, unless this process changed something since."""
        if changed != self.changed:
            return False
        self._held = now_held
        return True

    @property
    def stops(self) -> dict[str, Stop]:
        """The stops that hold, by PSAP; ``EVERYWHERE`` is all of them."""
        return dict(self._held.stops)

    def is_stopped(self, psap: str) -> bool:
        """Whether test calls to a PSAP are stopped, by name or altogether."""
        return psap in self._held.stops or EVERYWHERE in self._held.stops

    def stop(self, stop: Stop) -> None:
        """Stop test calls, at once and over restarts."""
        self._held.stops[stop.psap] = stop
        said = f"stop {stop.psap or 'all test calls'}"
        self._write(partial(_put_stop, stop=stop), Audited(stop.at, stop.by, said, stop.why))

    def resume(self, psap: str, by: str, why: str, at: float) -> None:
        """Lift the stop of one PSAP, or the one of ``EVERYWHERE``; the others stay."""
        self._held.stops.pop(psap, None)
        said = Audited(at, by, f"resume {psap or 'all test calls'}", why)
        self._write(lambda on: _delete(on, "stops", "psap", psap), said)

    @property
    def commissions(self) -> dict[str, Commission]:
        """The supervised first calls, by path key."""
        return dict(self._held.commissions)

    def is_commissioned(self, path: str, target: str) -> bool:
        """Whether a path (its key) was called under supervision with this very target."""
        done = self._held.commissions.get(path)
        return done is not None and done.target == target

    def commission(self, done: Commission) -> None:
        """Record a supervised first call that went well."""
        self._held.commissions[done.path] = done
        said = f"commission {done.path} with {done.supervisor}"
        self._write(partial(_put_commission, done=done), Audited(done.at, done.by, said, ""))

    def revoke(self, path: str, by: str, why: str, at: float) -> None:
        """Forget a path's commissioning: its target changed, or somebody says so."""
        self._held.commissions.pop(path, None)
        said = Audited(at, by, f"revoke {path}", why)
        self._write(lambda on: _delete(on, "commissioned", "path", path), said)

    @property
    def baselines(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Who answers, by path key and check, as it was put."""
        return dict(self._held.baselines)

    def put_baseline(self, path: str, check: str, baseline: dict[str, Any], at: float) -> None:
        """Keep who answers on a path; JSON-ready.

        What a person has accepted in another process meanwhile stays (``accepted_at``).
        """
        self._held.baselines[path, check] = baseline
        self.changed += 1
        values = (path, check, json.dumps(baseline, separators=(",", ":")), at)
        self._run.post(partial(_put_baseline, values=values))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The maintenance windows that commands have added, the last to end first."""
        return tuple(self._held.windows.values())

    def add_window(self, window: Window, at: float) -> None:
        """Add a maintenance window; one of the same id gives way to it."""
        self._held.windows[window.id] = window
        said = f"maintenance add {window.id} {window.scope} {window.member}"
        self._write(partial(_put_window, window=window), Audited(at, window.by, said, window.why))

    def end_window(self, window: Window, by: str, at: float) -> None:
        """End a maintenance window now, or call off one that is still to begin."""
        ended = replace(window, until_at=at)
        self._held.windows[window.id] = ended
        said = Audited(at, by, f"maintenance end {window.id}", window.why)
        self._write(partial(_put_window, window=ended), said)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The newest change events, newest first."""
        return tuple(self._held.changes)

    def note(self, change: Change, now: float) -> None:
        """Keep a change event for alerts to quote."""
        kept = sorted([change, *self._held.changes], key=lambda each: -each.at)
        self._held.changes[:] = kept[:CHANGES_MAX]
        said = Audited(now, change.by, f"change {change.what}", "")
        self._write(partial(_put_change, change=change), said)

    def audit(self, who: str, what: str, why: str, at: float) -> None:
        """Keep who changed what, when and why."""
        self._run.post(partial(audit, said=Audited(at, who, what, why)), urgent=True)

    async def audited(self, limit: int = 100) -> list[Audited]:
        """Return the newest lines of the audit, newest first."""
        return await self._run.submit(lambda on: _audited(on, limit))

    def _write(self, job: Callable[[sqlite3.Connection], None], said: Audited) -> None:
        """Queue a change together with its line in the audit."""
        self.changed += 1

        def write(connection: sqlite3.Connection) -> None:
            job(connection)
            audit(connection, said)

        self._run.post(write, urgent=True)


def _put_stop(connection: sqlite3.Connection, stop: Stop) -> None:
    connection.execute(
        'INSERT OR REPLACE INTO stops (psap, reason, why, "by", at, firewall)'
        " VALUES (?, ?, ?, ?, ?, ?)",
        (stop.psap, stop.reason, stop.why, stop.by, stop.at, stop.firewall),
    )


def _put_commission(connection: sqlite3.Connection, done: Commission) -> None:
    connection.execute(
        'INSERT OR REPLACE INTO commissioned (path, target, supervisor, "by", at)'
        " VALUES (?, ?, ?, ?, ?)",
        (done.path, done.target, done.supervisor, done.by, done.at),
    )


def _put_baseline(connection: sqlite3.Connection, values: tuple[str, str, str, float]) -> None:
    connection.execute(
        'INSERT INTO baselines (path, "check", body, at) VALUES (?, ?, ?, ?)'
        ' ON CONFLICT (path, "check") DO UPDATE SET body = excluded.body, at = excluded.at'
        " WHERE coalesce(json_extract(body, '$.accepted_at'), 0)"
        " <= coalesce(json_extract(excluded.body, '$.accepted_at'), 0)",
        values,
    )


def _put_window(connection: sqlite3.Connection, window: Window) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO maintenance (id, scope, member, from_at, until_at, why,"
        ' "by") VALUES (?, ?, ?, ?, ?, ?, ?)',
        (
            *(window.id, window.scope, window.member, window.from_at, window.until_at),
            *(window.why, window.by),
        ),
    )


def _put_change(connection: sqlite3.Connection, change: Change) -> None:
    connection.execute(
        'INSERT INTO changes (at, what, "by") VALUES (?, ?, ?)',
        (change.at, change.what, change.by),
    )


def _delete(connection: sqlite3.Connection, table: str, column: str, value: str) -> None:
    connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))  # noqa: S608 - our names


def audit(connection: sqlite3.Connection, said: Audited) -> None:
    """Append one line to the audit."""
    connection.execute(
        "INSERT INTO audit (at, who, what, why) VALUES (?, ?, ?, ?)",
        (said.at, said.who, said.what, said.why),
    )


def _audited(connection: sqlite3.Connection, limit: int) -> list[Audited]:
    found = connection.execute(
        "SELECT at, who, what, why FROM audit ORDER BY no DESC LIMIT ?", (limit,)
    )
    return [Audited(*row) for row in found]
