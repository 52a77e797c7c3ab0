"""What a person wants to know first: do calls get through, and if not, where (layer L4).

Pure functions of a ``View``. The page and the event stream show the same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, Literal

from psapwatch.endpoint import CONTROL, REFERENCE
from psapwatch.incident import Incident
from psapwatch.metrics_names import STATES
from psapwatch.remote_text import printable
from psapwatch.web.view import PathRow, View

Level = Literal["good", "warn", "bad", "unknown"]

INCIDENTS_SHOWN_MAX: Final = 50
NOTES_MAX: Final = 20
SUMMARY_CHARACTERS_MAX: Final = 600
NAMED_MAX: Final = 3
"""Members that a headline names; more become a number."""

WORDS: Final = {
    "unknown": "No verdict yet",
    "up": "Healthy",
    "degraded": "Degraded",
    "muted": "Maintenance",
    "suspect": "Suspect, being checked",
    "down": "Down",
}
"""What a state is called on the page."""

SYMBOLS: Final = {
    "unknown": "?",
    "up": "✓",
    "degraded": "▲",
    "muted": "◌",
    "suspect": "◆",
    "down": "✕",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One PSAP behind one firewall: the worst of its paths there."""

    id: str
    psap: str
    name: str
    firewall: str
    state: str
    word: str
    symbol: str
    since: float | None
    paths: str
    """``""`` for one path, else ``1 of 2 paths healthy``."""

    def to_json(self) -> dict[str, Any]:
        """Return it for an event."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Headline:
    """One line of plain words, and how bad it is."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """An open incident in plain words."""

    id: str
    alertname: str
    severity: str
    scope: str
    member: str
    cause: str
    summary: str
    since: float
    acknowledged: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The top of the page."""

    at: float
    vantage: str
    level: Level
    headline: str
    counts: str
    others: str
    firewalls: dict[str, str]
    incidents: tuple[IncidentLine, ...]
    incidents_open: int
    notes: tuple[str, ...]
    """What else a reader should know: maintenance, stopped test calls."""

    def to_json(self) -> dict[str, Any]:
        """Return it for an event."""
        return asdict(self)


def overview(view: View) -> Overview:
    """Return what stands at the top of the page right now."""
    to_psaps = [row for row in view.paths() if row.psap not in (REFERENCE, CONTROL)]
    states = Counter(row.state for row in to_psaps)
    by_firewall: dict[str, Counter[str]] = {}
    for row in to_psaps:
        by_firewall.setdefault(row.firewall, Counter())[row.state] += 1
    incidents = view.open_incidents()
    said = headline(incidents, states)
    return Overview(
        at=view.now(),
        vantage=view.vantage,
        level=said.level,
        headline=said.text,
        counts=counts(states),
        others=others(states),
        firewalls={name: counts(each) for name, each in by_firewall.items()},
        incidents=tuple(_line(incident) for incident in incidents[:INCIDENTS_SHOWN_MAX]),
        incidents_open=len(incidents),
        notes=tuple(_notes(view)),
    )


def headline(incidents: Sequence[Incident], states: Counter[str]) -> Headline:
    """Say in one line whether calls get through; the worst true sentence wins."""
    by_alert: dict[str, list[Incident]] = {}
    for incident in incidents:
        by_alert.setdefault(incident.alertname, []).append(incident)
    for alertname, level, words in _WORST_FIRST:
        if found := by_alert.get(alertname):
            is_options = alertname == "CallsDegraded" and all(map(_calls_pass, found))
            said = _OPTIONS_FAIL if is_options else words
            return Headline(level, said.format(where=_where(found)))
    known = states.total() - states["unknown"]
    if not known:
        return Headline("unknown", "Measuring: no verdict yet")
    if states["down"]:
        paths = "one path is" if states["down"] == 1 else f"{states['down']} paths are"
        return Headline("warn", f"Calls get through, but {paths} down")
    return Headline("good", "Calls get through")


def _calls_pass(incident: Incident) -> bool:
    """Whether what fails there is OPTIONS alone: all of them, and no call."""
    rows = incident.evidence.get("outcomes")
    if not isinstance(rows, Mapping) or "loss" in incident.evidence:
        return False
    return (rows.get("call"), rows.get("options")) == ("pass", "fail")


_OPTIONS_FAIL: Final = "Calls get through, but OPTIONS fail {where}"
_WORST_FIRST: Final[tuple[tuple[str, Level, str], ...]] = (
    ("ProberBlind", "bad", "CANNOT TELL: psapwatch does not trust its own measurements"),
    ("CallsBlocked", "bad", "CALLS BLOCKED {where}"),
    ("TestCallUnsafe", "bad", "A TEST CALL MAY HAVE REACHED A PERSON {where}"),
    ("Misrouted", "bad", "CALLS GO TO THE WRONG PLACE {where}"),
    ("CallsDegraded", "warn", "Some calls are lost {where}"),
)


def counts(states: Counter[str]) -> str:
    """Return ``204 of 204 paths healthy``."""
    return f"{states['up']} of {states.total()} paths healthy"


def others(states: Counter[str]) -> str:
    """Return the rest in words: ``2 down, 1 suspect``; ``""`` where all are healthy."""
    rest = (state for state in reversed(STATES) if state != "up" and states[state])
    return ", ".join(f"{states[state]} {WORDS[state].partition(',')[0].lower()}" for state in rest)


def tiles(
    rows: Iterable[PathRow], only: Collection[tuple[str, str]] | None = None
) -> Iterator[Tile]:
    """Yield the tiles, firewall by firewall and the worst first; our own responders come last.

    They are made one by one, so that whoever takes them can let the loop run in between.

    Args:
        rows: the paths.
        only: these (psap, firewall) pairs, or all.
    """
    grouped: dict[tuple[str, str], list[PathRow]] = {}
    for row in rows:
        if only is None or (row.psap, row.firewall) in only:
            grouped.setdefault((row.firewall, row.psap), []).append(row)
    for _key, group in sorted(grouped.items(), key=_place):
        yield _tile(group)


def _place(group: tuple[tuple[str, str], list[PathRow]]) -> tuple[str, bool, int]:
    (firewall, psap), rows = group
    return (firewall, psap in (REFERENCE, CONTROL), -max(badness(row.state) for row in rows))


def badness(state: str) -> int:
    """Return how much a state asks for a look; unlike in a metric, not knowing does."""
    return _BADNESS[state]


_BADNESS: Final = {
    state: bad
    for bad, state in enumerate(("up", "unknown", "degraded", "muted", "suspect", "down"))
}


def path_json(row: PathRow, *, checks: bool = True) -> dict[str, Any]:
    """Return a path for the API."""
    plain = asdict(row)
    if not checks:
        del plain["checks"]
    return plain


def _tile(group: Sequence[PathRow]) -> Tile:
    worst = max(group, key=lambda row: badness(row.state))
    healthy = sum(row.state == "up" for row in group)
    return Tile(
        id=f"tile:{worst.firewall}:{worst.psap}",
        psap=worst.psap,
        name=worst.name,
        firewall=worst.firewall,
        state=worst.state,
        word=WORDS[worst.state],
        symbol=SYMBOLS[worst.state],
        since=worst.since,
        paths="" if len(group) == 1 else f"{healthy} of {len(group)} paths healthy",
    )


def _line(incident: Incident) -> IncidentLine:
    return IncidentLine(
        id=incident.id,
        alertname=incident.alertname,
        severity=incident.severity,
        scope=incident.scope,
        member=incident.member,
        cause=incident.cause.value,
        summary=printable(incident.summary, SUMMARY_CHARACTERS_MAX),
        since=incident.first_failure_at,
        acknowledged=incident.acknowledged,
    )


def _notes(view: View) -> Iterator[str]:
    for window in view.maintenance():
        yield f"Maintenance of {window.scope} {window.member}: {window.why}"
    stops = view.calls_stopped()
    for psap, why in islice(stops.items(), NOTES_MAX):
        yield f"Test calls to {psap} are stopped: {why.replace('_', ' ')}"
    if len(stops) > NOTES_MAX:
        yield f"Test calls to {len(stops) - NOTES_MAX} more PSAPs are stopped"


_PREPOSITIONS: Final = {"firewall": "through ", "psap": "to ", "vantage": "from "}


def _where(incidents: Sequence[Incident]) -> str:
    """Return ``through fw-east``, ``to 4 PSAPs``; the widest scope speaks for all."""
    scopes = [incident.scope for incident in incidents]
    scope = next((wide for wide in ("vantage", "firewall") if wide in scopes), scopes[0])
    members = sorted({incident.member for incident in incidents if incident.scope == scope})
    before = _PREPOSITIONS.get(scope, f"for {scope} ")
    if len(members) > NAMED_MAX:
        return f"{before}{len(members)} {'PSAPs' if scope == 'psap' else f'{scope}s'}"
    return before + " and ".join(", ".join(members).rsplit(", ", 1))
