"""What the page, the API and ``psapwatch status`` see: every path as it stands now (layer L4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from psapwatch.case import Case
from psapwatch.detection import State
from psapwatch.endpoint import Check, Path
from psapwatch.evidence import Evidence
from psapwatch.incident import Incident
from psapwatch.store.store import Store
from psapwatch.verdict import Verdict
from psapwatch.web.view import CheckRow, MaintenanceRow, PathRow
from psapwatch.world import Clock

WORST_FIRST: Final = ("down", "suspect", "muted", "degraded", "unknown", "up")
"""A path shows the worst state of its checks."""


@dataclass(slots=True)
class _Kept:
    """A path with its checks' rows, and since when it is in its state."""

    path: Path
    checks: dict[str, CheckRow] = field(default_factory=dict)
    state: str = State.UNKNOWN.value
    since: float | None = None


class Board:
    """A ``web.view.View``: rows that the recorder keeps up to date, and the store for the past."""

    def __init__(
        self,
        vantage: str,
        clock: Clock,
        store: Store,
        open_incidents: Callable[[], Sequence[Incident]],
        maintenance: Callable[[], Sequence[MaintenanceRow]],
    ) -> None:
        self._vantage, self._clock, self._store = vantage, clock, store
        self._open_incidents, self._maintenance = open_incidents, maintenance
        self._kept: dict[str, _Kept] = {}
        self.is_ready = False

    def configure(self, runs: Sequence[tuple[Path, Check]]) -> None:
        """Show these paths and checks; what stays keeps what is known of it."""
        kept: dict[str, _Kept] = {}
        for path, check in runs:
            row = kept.setdefault(path.key, self._kept.get(path.key) or _Kept(path))
            row.path = path
            row.checks.setdefault(check.name, CheckRow(check.name, State.UNKNOWN.value))
        wanted = {(path.key, check.name) for path, check in runs}
        for key, row in kept.items():
            row.checks = {name: row.checks[name] for name in row.checks if (key, name) in wanted}
        self._kept = kept

    def take(
        self,
        path: Path,
        check: Check,
        evidence: Evidence,
        verdict: Verdict,
        response_s: float | None,
    ) -> None:
        """Show the latest attempt of a check; ``response_s`` where a final response came."""
        row = self._kept.get(path.key)
        before = row.checks.get(check.name) if row is not None else None
        if row is None or before is None:
            return
        passed = verdict.passed
        row.checks[check.name] = CheckRow(
            check=before.check,
            state=before.state,
            outcome=verdict.outcome,
            cause=verdict.cause,
            why=verdict.why,
            last_attempt_at=evidence.started_at,
            last_pass_at=evidence.started_at if passed else before.last_pass_at,
            response_s=response_s,
            last_failure=evidence.attempt_id if verdict.failed else before.last_failure,
            last_pass=evidence.attempt_id if passed else before.last_pass,
        )

    def state(self, path: Path, check: str, state: str) -> PathRow | None:
        """Show a check's state; returns the path's row if the path changed its own."""
        row = self._kept.get(path.key)
        if row is None or check not in row.checks:
            return None
        row.checks[check] = replace(row.checks[check], state=state)
        worst = min(
            (each.state for each in row.checks.values() if each.state != "unknown"),
            key=WORST_FIRST.index,
            default="unknown",
        )
        if worst == row.state:
            return None
        row.state, row.since = worst, self._clock.wall()
        return _shown(row)

    # ---- web.view.View

    @property
    def vantage(self) -> str:
        """Where we measure from."""
        return self._vantage

    def now(self) -> float:
        """Return wall time, Unix seconds."""
        return self._clock.wall()

    def ready(self) -> bool:
        """Whether the first round is scheduled."""
        return self.is_ready

    def paths(self) -> Sequence[PathRow]:
        """Every configured path, in configuration order."""
        return [_shown(row) for row in self._kept.values()]

    def open_incidents(self) -> Sequence[Incident]:
        """Open incidents, newest first."""
        return tuple(reversed(self._open_incidents()))

    def calls_stopped(self) -> Mapping[str, str]:
        """PSAPs whose test calls are stopped, and why."""
        return {
            psap: f"{stop.reason}: {stop.why}" for psap, stop in self._store.decisions.stops.items()
        }

    def maintenance(self) -> Sequence[MaintenanceRow]:
        """Windows that are open now."""
        return self._maintenance()

    async def incidents(self, limit: int) -> Sequence[Incident]:
        """Incidents from the store, newest first."""
        return await self._store.incidents(limit)

    async def incident(self, incident_id: str) -> Incident | None:
        """One incident from the store."""
        return await self._store.incident(incident_id)

    async def case(self, incident_id: str) -> Case | None:
        """What the incident's cause rests on, from the store."""
        return await self._store.case(incident_id)

    async def attempt(self, name: str) -> tuple[Evidence, Verdict] | None:
        """One attempt from the store, by its id or its Call-ID."""
        return await self._store.attempt(name)


def _shown(row: _Kept) -> PathRow:
    path = row.path
    return PathRow(
        psap=path.psap.id,
        name=path.psap.name or path.psap.id,
        path=path.id,
        firewall=path.firewall.id,
        transport=path.transport,
        uri=path.uri,
        state=row.state,
        since=row.since,
        checks=tuple(row.checks.values()),
    )
