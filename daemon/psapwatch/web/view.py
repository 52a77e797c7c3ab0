"""What the web shows and asks for: two ports that the daemon implements (layer L4).

``View`` only reads and ``Commands`` only changes, so that the pages can be tested alone and a
reader sees at one glance what HTTP can do to a running daemon. What ``View`` hands out is already
redacted (the store redacts on writing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from psapwatch.case import Case
from psapwatch.evidence import Evidence
from psapwatch.frozen import frozen
from psapwatch.incident import Incident
from psapwatch.verdict import Cause, Outcome, Verdict


@frozen
class CheckRow:
    """One check on one path, as it stands now. Moments are Unix seconds."""

    check: str
    state: str
    """One of ``metrics_names.STATES``."""
    outcome: Outcome | None = None
    """Of the last attempt; ``None`` before the first one."""
    cause: Cause = Cause.NONE
    why: str = ""
    last_attempt_at: float | None = None
    last_pass_at: float | None = None
    response_s: float | None = None
    last_failure: str = ""
    """Attempt id, ``""`` where there is none."""
    last_pass: str = ""


@dataclass(frozen=True, slots=True)
class PathRow:
    """One path, as it stands now: the worst of its checks."""

    psap: str
    name: str
    """Of the PSAP, for people."""
    path: str
    firewall: str
    transport: str
    uri: str
    state: str
    since: float | None = None
    """When it came into this state."""
    checks: tuple[CheckRow, ...] = ()


@dataclass(frozen=True, slots=True)
class MaintenanceRow:
    """A maintenance window that is open now."""

    scope: str
    member: str
    until: float
    why: str
    id: str = ""
    """``""`` where the configuration has it."""
    by: str = ""


class View(Protocol):
    """What can be read. The plain methods are called often and must only hand over what is kept."""

    @property
    def vantage(self) -> str:
        """Where we measure from."""
        ...

    def now(self) -> float:
        """Return wall time, Unix seconds."""
        ...

    def ready(self) -> bool:
        """Whether the first round is scheduled."""
        ...

    def paths(self) -> Sequence[PathRow]:
        """Every configured path, references and controls included, in configuration order."""
        ...

    def open_incidents(self) -> Sequence[Incident]:
        """Open incidents, newest first."""
        ...

    def calls_stopped(self) -> Mapping[str, str]:
        """PSAPs whose test calls are stopped, and why."""
        ...

    def maintenance(self) -> Sequence[MaintenanceRow]:
        """Windows that are open now."""
        ...

    async def incidents(self, limit: int) -> Sequence[Incident]:
        """Incidents from the store, newest first."""
        ...

    async def incident(self, incident_id: str) -> Incident | None:
        """One incident from the store."""
        ...

    async def case(self, incident_id: str) -> Case | None:
        """Return what an incident's cause rests on, redacted."""
        ...

    async def attempt(self, name: str) -> tuple[Evidence, Verdict] | None:
        """One attempt from the store by its id or its Call-ID, with its redacted transcript."""
        ...


class Refused(Exception):
    """A request that the daemon will not carry out: what, where, and what to do instead."""

    def __init__(self, what: str, where: str, do: str, status: int = 400) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.where = where
        self.do = do


class Commands(Protocol):
    """What HTTP may change. ``by`` is the authenticated user, or the peer's address."""

    async def reload(self, by: str) -> Sequence[str]:
        """Reload the configuration; return what is wrong with it, nothing when it is in force."""
        ...

    async def change(self, what: str, by: str, at: float) -> None:
        """Record a change event that alerts may quote; ``at`` is Unix seconds.

        Raises:
            Refused: it could not be kept.
        """
        ...

    async def probe(self, target: str, module: str) -> tuple[Evidence, Verdict]:
        """Make one attempt at a URI with the settings of a check, within floor and budgets.

        Raises:
            Refused: the URI or the check cannot be probed.
        """
        ...
