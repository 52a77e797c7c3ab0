"""An incident from open to closed, and what is told of it (layer L1, pure data).

An incident's identity is ``alertname + vantage + scope + member``; cause, counts and lists change
while it is open without a new page. Moments are wall time, Unix seconds UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from psapwatch.verdict import Cause

Severity = Literal["page", "ticket"]
Status = Literal["open", "changed", "closed"]


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure that people are told of, as it stands now."""

    id: str
    alertname: str
    severity: Severity
    """Fixed when the incident opens: an escalation closes the ticket and opens the page."""
    vantage: str
    scope: str
    """``firewall``, ``psap``, ``vantage`` or an attribute's name; ``""`` where none is meant."""
    member: str
    psap: str
    firewall: str
    """Where exactly one firewall is meant, otherwise ``""``."""
    cause: Cause
    summary: str
    opened_at: float
    first_failure_at: float
    last_pass_at: float | None = None
    closed_at: float | None = None
    changed_at: float = 0.0
    changes: int = 0
    """State changes while open: flapping is one incident with a count."""
    acknowledged: str = ""
    """By whom; ``""`` while nobody has."""
    merged_into: str = ""
    """The bigger incident that took this one in; that one keeps the page."""
    started_after: tuple[str, ...] = ()
    """Changes shortly before the first failure: ``40 s after change CHG-123 by NOC``."""
    affected: tuple[str, ...] = ()
    unaffected: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    """JSON-ready: the battery's vector and the numbers behind the summary."""

    @property
    def is_open(self) -> bool:
        """Whether it has not closed yet."""
        return self.closed_at is None

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """One failure, one page: what makes two reports the same incident."""
        return (self.alertname, self.vantage, self.scope, self.member)


@dataclass(frozen=True, slots=True)
class Notice:
    """What a sink is to tell: the incident as it stood at ``at``."""

    status: Status
    incident: Incident
    at: float


def to_json(incident: Incident) -> dict[str, Any]:
    """Incident as JSON-ready data, every field under its own name."""
    plain = {name: getattr(incident, name) for name in _FIELDS}
    plain["cause"] = incident.cause.value
    plain["evidence"] = dict(incident.evidence)
    for name in _LISTS:
        plain[name] = list(plain[name])
    return plain


def from_json(plain: Mapping[str, Any]) -> Incident:
    """Read an incident; a field that a later version added is left out.

    Raises:
        ValueError: a field without a default is missing, or the cause is not in the closed set.
    """
    known = {name: plain[name] for name in _FIELDS if name in plain}
    known.update({name: tuple(known[name]) for name in _LISTS if name in known})
    try:
        known["cause"] = Cause(known["cause"])
        return Incident(**known)
    except (KeyError, TypeError) as why:
        message = f"not an incident: {why}"
        raise ValueError(message) from None


_FIELDS: Final = tuple(each.name for each in fields(Incident))
_LISTS: Final = ("started_after", "affected", "unaffected", "untested")
