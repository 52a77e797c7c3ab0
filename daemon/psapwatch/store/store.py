"""The store: everything that must outlive the process, behind one runner (layer L4).

What is read all the time (stops, commissions, baselines, the floor, open incidents, pending
notices) is held in memory and changed there at once; the same change is queued for the disk.
A disk that refuses never holds up a probe: changes wait in order and are tried again, attempts
wait in a bounded buffer, and what is given up is counted in ``losses``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from psapwatch.case import Case
from psapwatch.evidence import Evidence
from psapwatch.incident import Incident, Notice
from psapwatch.store import attempts, decisions, ledger, notices, retention
from psapwatch.store.attempts import Attempt
from psapwatch.store.decisions import Audited, Decisions
from psapwatch.store.notices import Outstanding, Pending
from psapwatch.store.opening import Claim, Unusable, open_reading, open_writing
from psapwatch.store.runner import Inline, Runner
from psapwatch.store.schema import MIGRATIONS, Step
from psapwatch.verdict import Verdict
from psapwatch.world import OpenCall


@final
class Store:
    """One SQLite file, or ``:memory:`` in a simulated world."""

    def __init__(
        self,
        database: str | Path,
        run: Runner,
        *,
        read_only: bool = False,
        sole: bool = False,
        boot: str = ledger.boot_id(),
        migrations: tuple[Step, ...] = MIGRATIONS,
    ) -> None:
        """Open it and load what is held in memory.

        Args:
            database: the file; it is made, or brought up to date, unless ``read_only``.
            run: ``WriterThread()`` in the daemon, ``Inline()`` in commands and simulated worlds.
            read_only: for commands that only look, also while a daemon writes.
            sole: for the daemon: refused while another one has the same file.
            boot: which run of the machine this is; a test's own.
            migrations: the schema's steps; a test's own.

        Raises:
            Unusable: says in one sentence what is wrong with the file.
        """
        self._database = database
        self._claim = Claim(Path(database)) if sole else None
        try:
            connection = (open_reading if read_only else open_writing)(database, migrations)
        except BaseException:
            if self._claim:
                self._claim.release()
            raise
        self._run = run
        self.losses = run.losses
        """What was given up: ``passes``, ``failures``, ``changes``, ``notices``, ``faults``."""
        self._buffer = attempts.Buffer(run)
        self.decisions = Decisions(connection, run)
        self._floors = ledger.Floors(ledger.floors(connection), run, boot)
        self._open = {row.id: row for row in notices.incidents(connection, "open")}
        waiting = notices.pending(connection)
        self._outstanding = Outstanding(waiting, notices.highest(connection), run.losses)
        self._when_queued: Callable[[], None] = _nobody
        self._data_version = _data_version(connection)
        run.start(connection)

    @property
    def trouble(self) -> str:
        """Why the disk refused last; ``""`` while all is well."""
        return self._run.trouble

    async def flushed(self) -> None:
        """Return when everything recorded so far is committed.

        Raises:
            sqlite3.Error: the disk refuses; what was recorded stays queued.
        """
        await self._run.submit(_nothing, writes=True)

    async def close(self) -> None:
        """Write what is left and let go of the file.

        Raises:
            Unusable: the disk refuses, and changes are lost; says how many and why.
        """
        self._buffer.keep_passes()
        lost = await self._run.close()
        if self._claim:
            self._claim.release()
        if lost:
            self.losses["changes"] += lost
            why = self.trouble or "no answer from the disk"
            raise Unusable(f"{self._database}: {lost} changes could not be written: {why}")

    # attempts

    def record_attempt(self, seen: Evidence, verdict: Verdict) -> None:
        """Keep one attempt; never blocks."""
        self._buffer.add(seen, verdict)

    async def attempt(self, name: str) -> Attempt | None:
        """Return one attempt by id or Call-ID; the transcript of failures and each last pass."""
        found = await self._run.submit(lambda on: attempts.one(on, name))
        if found and not found[0].transcript:
            transcript = self._buffer.transcript_of(found[0].attempt_id)
            return replace(found[0], transcript=transcript), found[1]
        return found

    async def attempts(
        self, psap: str, path: str, *, failed: bool | None = None, limit: int = 100
    ) -> list[Attempt]:
        """Return a path's newest attempts, newest first, or only those that (have not) failed."""
        return await self._run.submit(
            lambda on: attempts.newest(on, psap, path, failed=failed, limit=limit)
        )

    async def last_calls(self, since: float, until: float) -> list[Attempt]:
        """Return the newest few test calls on each path in this time, oldest first."""
        return await self._run.submit(lambda on: attempts.last_calls(on, since, until))

    async def last_pass(self, psap: str, path: str, check: str) -> Attempt | None:
        """Return the pass of a path whose transcript is kept."""
        return await self._run.submit(lambda on: attempts.last_pass(on, psap, path, check))

    async def retain(self, now: float, keep_days: float) -> int:
        """Forget what is too old, a bounded number of rows at a time; return how many."""
        return await retention.retain(self._run, now, keep_days)

    # the call ledger

    async def open_call(self, row: OpenCall, floor_s: float = 0.0) -> None:
        """Commit the ledger row of a call; only then may its INVITE leave.

        ``floor_s`` above 0 refuses a second open call to the PSAP and one placed too soon, even
        when the other one was placed by another process (``psapwatch probe``).

        Raises:
            LedgerUnavailable: not committed within ``LEDGER_S``, or the disk refused.
            CallsStopped: test calls to this PSAP are stopped.
            TooSoon: by ``floor_s``.
        """
        now = self._floors.now(row.invited_at)
        await ledger.place(self._run, row, floor_s, now)
        self._floors.charge(row.psap, now)

    def note_answer(self, call_id: str, octets: bytes) -> None:
        """Keep the 2xx of an open call, as it was received."""
        self._run.post(lambda on: ledger.note_answer(on, call_id, octets), urgent=True)

    def close_call(self, call_id: str, how: str, at: float) -> None:
        """Note how a call ended: BYE, CANCEL, a final failure."""
        self._run.post(lambda on: ledger.close_call(on, call_id, how, at), urgent=True)

    async def open_calls(self) -> list[OpenCall]:
        """Return the calls that have not ended; after a crash, those that must be ended."""
        return await self._run.submit(ledger.open_calls)

    def last_call_at(self, psap: str) -> float | None:
        """Return when the PSAP was last called, or last answered a call meant for another."""
        return self._floors.last(psap)

    def called_ago_s(self, psap: str, wall: float) -> float | None:
        """Return how long ago that was, whatever has been done to the clock since."""
        return self._floors.ago_s(psap, wall)

    def call_age_s(self, row: OpenCall, wall: float) -> float:
        """Return how long ago an open call was placed at most; infinite where nobody knows."""
        return self._floors.age_s(row.psap, row.invited_at, wall)

    def charge(self, psap: str, at: float) -> None:
        """Count a call against the floor of a PSAP that answered one meant for another."""
        moment = self._floors.now(at)
        self._floors.charge(psap, moment)
        self._run.post(lambda on: ledger.charge(on, psap, moment), urgent=True)

    # incidents and notices

    def save_incident(self, incident: Incident, tell: Sequence[tuple[str, Notice]] = ()) -> None:
        """Write an incident and its notices (sink name, notice) in one transaction."""
        if incident.is_open:
            self._open[incident.id] = incident
        else:
            self._open.pop(incident.id, None)
        queued = [self._outstanding.add(sink, notice) for sink, notice in tell]

        def write(connection: sqlite3.Connection) -> None:
            notices.save_incident(connection, incident)
            for row, gone in queued:
                notices.queue(connection, row)
                if gone:
                    notices.mark(connection, gone.no, "gone_at", row.notice.at, "outbox full")

        self._run.post(write, urgent=True)
        if queued:
            self._when_queued()

    def save_case(self, incident_id: str, case: Case) -> None:
        """Write what an incident's cause rests on, after the incident itself."""
        self._run.post(lambda on: notices.save_case(on, incident_id, case))

    async def case(self, incident_id: str) -> Case | None:
        """Return what an incident's cause rests on, where that is known."""
        return await self._run.submit(lambda on: notices.case_of(on, incident_id))

    def when_queued(self, call: Callable[[], None]) -> None:
        """Have ``call`` called whenever notices are queued: the delivery loop wakes up."""
        self._when_queued = call

    def open_now(self) -> Sequence[Incident]:
        """Return the open incidents, as this process last saved them."""
        return tuple(self._open.values())

    async def open_incidents(self) -> list[Incident]:
        """Return the open incidents from the disk, newest first."""
        return await self._run.submit(lambda on: notices.incidents(on, "open"))

    async def incidents(self, limit: int = 100) -> list[Incident]:
        """Return the newest incidents, newest first."""
        return await self._run.submit(lambda on: notices.incidents(on, "newest", limit))

    async def incident(self, incident_id: str) -> Incident | None:
        """Return one incident."""
        found = await self._run.submit(lambda on: notices.incidents(on, "one", incident_id))
        return found[0] if found else None

    async def acknowledge(self, incident_id: str, by: str, at: float) -> bool:
        """Note who has seen an incident, and audit it; False when there is none of that id."""

        def write(connection: sqlite3.Connection) -> bool:
            found = notices.acknowledge(connection, incident_id, by)
            if found:
                decisions.audit(connection, Audited(at, by, f"ack {incident_id}", ""))
            return found

        found = await self._run.submit(write, writes=True)
        if found and incident_id in self._open:
            self._open[incident_id] = replace(self._open[incident_id], acknowledged=by)
        return found

    async def told(self, incident_id: str) -> list[tuple[str, str, float, float]]:
        """Return who was told of an incident: sink, status, said at, taken at."""
        return await self._run.submit(lambda on: notices.told(on, incident_id))

    # the outbox

    def pending(self, sink: str) -> list[Pending]:
        """Return what a sink has not taken yet, in order."""
        return self._outstanding.of(sink)

    def pending_count(self, sink: str) -> int:
        """Return how many notices wait for a sink."""
        return self._outstanding.count(sink)

    def delivered(self, row: Pending, at: float) -> None:
        """Note that the sink took a notice."""
        self._outstanding.remove(row)
        self._run.post(lambda on: notices.mark(on, row.no, "told_at", at, ""))

    def failed(self, row: Pending, detail: str) -> None:
        """Note a failed attempt; the notice keeps its place and is tried again."""
        self._outstanding.tried(row, detail)
        self._run.post(lambda on: notices.mark(on, row.no, "told_at", None, detail))

    def refused(self, row: Pending, detail: str, at: float) -> None:
        """Note that a sink will never take this notice."""
        self._outstanding.remove(row)
        self._run.post(lambda on: notices.mark(on, row.no, "gone_at", at, detail))

    async def refresh(self) -> bool:
        """Take over what another process changed (a command while the daemon runs).

        Returns whether anything was: stops, commissions, baselines, the floor, acknowledgements.
        """
        version = await self._run.look(_data_version)
        if version == self._data_version or self.trouble:
            return False
        taken = False
        while not taken:  # again when this process changed something while the disk was read
            changed = self.decisions.changed
            held, floor, rows = await self._run.submit(_what_holds)
            taken = self.decisions.take(held, changed)
        self._data_version = version
        for psap, at in floor.items():
            self._floors.take(psap, at)
        for row in rows:
            if row.id in self._open:
                kept = self._open[row.id]
                self._open[row.id] = replace(kept, acknowledged=row.acknowledged)
        return True


def reading(database: str | Path) -> Store:
    """Open a store to look into it, while a daemon writes to it or while none runs.

    Raises:
        Unusable: says in one sentence what is wrong with the file.
    """
    return Store(database, Inline(), read_only=True)


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _what_holds(
    connection: sqlite3.Connection,
) -> tuple[decisions.Held, dict[str, ledger.Moment], list[Incident]]:
    return (
        decisions.held(connection),
        ledger.floors(connection),
        notices.incidents(connection, "open"),
    )


def _nothing(_connection: sqlite3.Connection) -> None:
    """Commit what was queued before."""


def _nobody() -> None:
    """Stand in until somebody wants to know."""
