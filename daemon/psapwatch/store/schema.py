"""The tables, and the way from each released version to the next (layer L4).

``PRAGMA user_version`` counts the steps that a file has taken. Steps are append-only and only go
forward; before the first of them an existing file is copied beside itself.
"""

from __future__ import annotations

import sqlite3
from typing import Final

Step = tuple[str, ...]

_ATTEMPTS: Final[Step] = (
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        psap TEXT NOT NULL, path TEXT NOT NULL, firewall TEXT NOT NULL,
        transport TEXT NOT NULL, "check" TEXT NOT NULL, probe TEXT NOT NULL,
        UNIQUE (psap, path, "check", transport, firewall, probe)
    ) STRICT""",
    # failed = 1 is kept for keep_days, 0 for two days. Observations and transcript are JSON, so
    # that a person with the sqlite3 shell can read what happened.
    """CREATE TABLE attempts (
        no INTEGER PRIMARY KEY,
        id TEXT NOT NULL, series INTEGER NOT NULL, failed INTEGER NOT NULL,
        started_at REAL NOT NULL, duration_s REAL NOT NULL,
        outcome TEXT NOT NULL, cause TEXT NOT NULL, plane TEXT NOT NULL, why TEXT NOT NULL,
        leg TEXT NOT NULL, source TEXT NOT NULL, call_id TEXT NOT NULL,
        v INTEGER NOT NULL, observations TEXT NOT NULL, transcript TEXT
    ) STRICT""",
    "CREATE INDEX attempts_by_series ON attempts (series, failed, started_at)",
    "CREATE INDEX attempts_by_id ON attempts (id)",
    """CREATE TABLE last_passes (
        series INTEGER PRIMARY KEY, id TEXT NOT NULL, transcript TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE hours (
        series INTEGER NOT NULL, hour INTEGER NOT NULL, outcome TEXT NOT NULL, cause TEXT NOT NULL,
        attempts INTEGER NOT NULL, duration_s REAL NOT NULL,
        PRIMARY KEY (series, hour, outcome, cause)
    ) STRICT, WITHOUT ROWID""",
)
_CALLS: Final[Step] = (
    # octets are the INVITE as sent while the call is open, and redacted once it has ended.
    """CREATE TABLE calls (
        call_id TEXT PRIMARY KEY,
        psap TEXT NOT NULL, path TEXT NOT NULL, firewall TEXT NOT NULL, transport TEXT NOT NULL,
        local_host TEXT NOT NULL, local_port INTEGER NOT NULL,
        peer_host TEXT NOT NULL, peer_port INTEGER NOT NULL,
        octets BLOB NOT NULL, answer BLOB NOT NULL DEFAULT x'', invited_at REAL NOT NULL,
        ended_at REAL, how TEXT
    ) STRICT""",
    "CREATE INDEX calls_open ON calls (psap) WHERE ended_at IS NULL",
    "CREATE INDEX calls_ended ON calls (ended_at) WHERE ended_at IS NOT NULL",
    "CREATE TABLE floor (psap TEXT PRIMARY KEY, at REAL NOT NULL) STRICT",
    """CREATE TABLE stops (
        psap TEXT PRIMARY KEY, reason TEXT NOT NULL, why TEXT NOT NULL, "by" TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE commissioned (
        path TEXT PRIMARY KEY, target TEXT NOT NULL, supervisor TEXT NOT NULL, "by" TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE baselines (
        path TEXT NOT NULL, "check" TEXT NOT NULL, body TEXT NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (path, "check")
    ) STRICT""",
)
_INCIDENTS: Final[Step] = (
    """CREATE TABLE incidents (
        id TEXT PRIMARY KEY, opened_at REAL NOT NULL, closed_at REAL,
        acknowledged TEXT NOT NULL, body TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX incidents_by_time ON incidents (opened_at)",
    # One row a notice and a sink. Told is when the sink took it, gone when it never will.
    """CREATE TABLE outbox (
        no INTEGER PRIMARY KEY, sink TEXT NOT NULL, incident TEXT NOT NULL,
        status TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, detail TEXT NOT NULL DEFAULT '',
        told_at REAL, gone_at REAL
    ) STRICT""",
    "CREATE INDEX outbox_pending ON outbox (sink, no) WHERE told_at IS NULL AND gone_at IS NULL",
    "CREATE INDEX outbox_by_incident ON outbox (incident)",
    """CREATE TABLE audit (
        no INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
        why TEXT NOT NULL
    ) STRICT""",
)

_BY_CALL_ID: Final[Step] = ("CREATE INDEX attempts_by_call_id ON attempts (call_id)",)
_ANNOUNCED: Final[Step] = (
    # A window that is ended early keeps its row: until_at is then when it was ended.
    """CREATE TABLE maintenance (
        id TEXT PRIMARY KEY, scope TEXT NOT NULL, member TEXT NOT NULL,
        from_at REAL NOT NULL, until_at REAL NOT NULL, why TEXT NOT NULL, "by" TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX maintenance_by_end ON maintenance (until_at)",
    'CREATE TABLE changes (at REAL NOT NULL, what TEXT NOT NULL, "by" TEXT NOT NULL) STRICT',
    "CREATE INDEX changes_by_time ON changes (at)",
)

# What the cause rests on; empty until something is known, and for incidents of older versions.
_CASES: Final[Step] = ("ALTER TABLE incidents ADD COLUMN judged_from TEXT NOT NULL DEFAULT ''",)

# Behind which firewall somebody was met: its calls are held, also by another process.
_MET: Final = "ALTER TABLE stops ADD COLUMN firewall TEXT NOT NULL DEFAULT ''"
# The loop's time of each last call, and in which run of the machine: that clock nobody steps.
_STEADY_FLOOR: Final[Step] = (
    "ALTER TABLE floor ADD COLUMN boot TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE floor ADD COLUMN loop_s REAL NOT NULL DEFAULT 0",
    _MET,
)

MIGRATIONS: Final[tuple[Step, ...]] = (
    (*_ATTEMPTS, *_CALLS, *_INCIDENTS),
    _BY_CALL_ID,
    _ANNOUNCED,
    _CASES,
    _STEADY_FLOOR,
)
"""Step n takes a store from version n to n + 1. Append; never edit one that was released."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return how many steps this file has taken; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: tuple[Step, ...] = MIGRATIONS) -> None:
    """Take every step that is still missing, each one whole or not at all.

    Raises:
        sqlite3.Error: a step failed; the file is at the last whole one.
    """
    while version_of(connection) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again under the lock: another process may have taken this step meanwhile.
            version = version_of(connection)
            for statement in migrations[version] if version < len(migrations) else ():
                connection.execute(statement)
            version = min(version + 1, len(migrations))
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
