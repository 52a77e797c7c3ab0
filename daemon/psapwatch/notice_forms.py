"""An incident as the forms that people send: FCC notification, report, public notice (layer L4).

Drafts, all of them: a human checks and sends, psapwatch never does. The duty to notify is the
provider's (47 CFR 4.9(h)); what is known here is when something was discovered and what was seen.
Discovery is the moment at which the incident opened: its alert may itself be what starts the
clocks. Everything is a pure function of a ``Dossier``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from psapwatch.case import Case
from psapwatch.endpoint import Identity, Psap, TransportName
from psapwatch.evidence import Evidence
from psapwatch.incident import Incident, to_json
from psapwatch.remote_text import printable
from psapwatch.report import case_lines, case_shown, ladder, phase_summary, verdict_line
from psapwatch.verdict import Cause, Verdict

NOTIFY_WITHIN: Final = timedelta(minutes=30)
"""47 CFR 4.9(h)(4): of discovery, by telephone and in writing (4.9(h)(3))."""
FOLLOW_UP_WITHIN: Final = timedelta(hours=2)
"""47 CFR 4.9(h)(5): of the first notice; counted from discovery here, which is never too late."""
CELL_CHARACTERS_MAX: Final = 64_000
"""Room for the paths of some thousand answering points; nobody affected may be cut off."""
NAMED_MAX: Final = 12
"""Answering points that are named in one line; of more, their areas are."""
TOLD_MAX: Final = 50
"""Deliveries that a report lists."""

DRAFT: Final = (
    "DRAFT, written by a program from what it measured. It has been sent to nobody: a human checks"
    " every line, fills in what is missing, and sends it."
)
MISSING: Final = "TO BE FILLED IN"

_AUDIO: Final = frozenset({Cause.MEDIA_BLOCKED, Cause.ONE_WAY_MEDIA})
_EFFECT_OF_AUDIO: Final = "911 calls are connected, but caller or call-taker may hear nothing."
_EFFECTS: Final = {
    "CallsBlocked": "911 calls over the affected paths do not arrive at the 911 special facility.",
    "CallsDegraded": "Part of the 911 calls over the affected paths may fail or be cut off.",
    "RedundancyLost": "911 calls still arrive by another path; one more failure would stop them.",
    "Misrouted": "911 calls arrive at another answering point than the one that is meant.",
    "TestCallUnsafe": "None known for 911 calls: a test call was answered as if by a person.",
    "ProberBlind": "Not known: the monitor cannot vouch for its own measurements.",
    "CertificateExpiring": "None yet: 911 calls over TLS fail once the certificate has expired.",
}
_PUBLIC_SENTENCES: Final = {
    "CallsBlocked": "Since {since}, 911 calls to the answering points below may not get through.",
    "CallsDegraded": "Since {since}, some 911 calls to the answering points below may fail.",
}
"""Alerts that concern callers; of all others there is nothing to tell the public."""
_PUBLIC_AUDIO: Final = "Since {since}, callers to the answering points below may hear nothing."
_PUBLIC_OVER: Final = (
    "From {since} until {until}, 911 calls to the answering points below may have failed."
    " Test calls get through again."
)


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that a form about an incident says."""

    incident: Incident
    now: float
    """Unix seconds: when the form is written."""
    identity: Identity
    psaps: Sequence[Psap] = ()
    """Those with an affected path, as configured."""
    transports: Sequence[TransportName] = ()
    told: Sequence[tuple[str, str, float, float]] = ()
    """Deliveries: sink, status, said at, taken at."""
    failing: tuple[Evidence, Verdict] | None = None
    case: Case | None = None
    """What the cause rests on, where that was kept."""
    passing: tuple[Evidence, Verdict] | None = None
    """The last pass of the path on which ``failing`` was seen, where one is kept."""
    zone: tzinfo = UTC
    """Of the people who read it: 4.9(h)(2) asks for the local time."""

    def moment(self, wall: float | None) -> str:
        """Return a moment in the local zone and in UTC; ``""`` for none."""
        if wall is None:
            return ""
        in_utc = datetime.fromtimestamp(wall, UTC)
        there = in_utc.astimezone(self.zone)
        both = [f"{at:%Y-%m-%d %H:%M:%S %Z}" for at in (there, in_utc)]
        return both[1] if there.utcoffset() == timedelta(0) else f"{both[0]} ({both[1]})"


def facts(dossier: Dossier) -> list[tuple[str, str]]:
    """Return name and value of all that the incident itself says."""
    incident, moment = dossier.incident, dossier.moment
    return [
        ("incident", incident.id),
        ("alert", f"{incident.alertname} ({incident.severity})"),
        ("vantage", incident.vantage),
        ("what", f"{incident.scope} {incident.member}".strip()),
        ("cause", incident.cause.value),
        ("summary", incident.summary),
        ("first failure", moment(incident.first_failure_at)),
        ("last good", moment(incident.last_pass_at)),
        ("opened", moment(incident.opened_at)),
        ("closed", moment(incident.closed_at) or "still open"),
        ("state changes", str(incident.changes)),
        ("acknowledged by", incident.acknowledged or "nobody"),
        ("merged into", incident.merged_into or "-"),
        ("affected", ", ".join(incident.affected) or "-"),
        ("unaffected", ", ".join(incident.unaffected) or "-"),
        ("untested", ", ".join(incident.untested) or "-"),
    ]


def text(dossier: Dossier) -> str:
    """Return the incident's facts and what its cause rests on, one a line."""
    lines = [f"{name:16} {value}" for name, value in facts(dossier)]
    return "\n".join((*lines, *_case(dossier)))


def comma_separated(dossier: Dossier) -> str:
    """Return the incident's facts as a CSV header and row."""
    out = io.StringIO()
    csv.writer(out).writerows(zip(*facts(dossier), strict=True))
    return out.getvalue().rstrip()


def as_json(dossier: Dossier) -> str:
    """Return the incident as the API writes it, its case included."""
    return json.dumps(to_json(dossier.incident) | case_shown(dossier.case), indent=2)


def fcc(dossier: Dossier) -> str:
    """Return the notification of 47 CFR 4.9(h)(2), with the public notice that may go beside it.

    All ten elements are there, also those that have to be filled in: what is not known yet is no
    reason to be late.
    """
    return "\n\n".join(
        (
            f"# Outage notification to 911 special facilities: {dossier.incident.id}",
            f"**{DRAFT}**",
            "## The ten elements of 47 CFR 4.9(h)(2)",
            _table(("", "element", "content"), _numbered(_elements(dossier))),
            *_clocks(dossier),
            *_evidence(dossier),
            public(dossier),
        )
    )


def markdown(dossier: Dossier) -> str:
    """Return the whole report: what happened, clocks, who was told, evidence, public notice."""
    return "\n\n".join(
        (
            f"# Incident {dossier.incident.id}",
            _table(("", ""), facts(dossier)),
            *_clocks(dossier),
            *_told(dossier),
            *_evidence(dossier),
            public(dossier),
        )
    )


def public(dossier: Dossier) -> str:
    """Return a notice for the public, with the affected answering points' own lines."""
    incident = dossier.incident
    sentence = _PUBLIC_SENTENCES.get(incident.alertname)
    if sentence is None:
        return f"# Notice to the public\n\nNone: {incident.alertname} does not concern callers."
    until = dossier.moment(incident.closed_at)
    if until:
        sentence = _PUBLIC_OVER
    elif incident.cause in _AUDIO:
        sentence = _PUBLIC_AUDIO
    lines = [(psap.name, _area(psap), psap.business_line or MISSING) for psap in dossier.psaps]
    advice = "In an emergency, dial 911 first. If nobody answers, dial the line of your place."
    return "\n\n".join(
        (
            "# Notice to the public",
            f"**{DRAFT}**",
            sentence.format(since=dossier.moment(incident.first_failure_at), until=until),
            *(() if until else (advice,)),
            _table(("answering point", "area", "its own line"), lines),
        )
    )


def _elements(dossier: Dossier) -> Iterator[tuple[str, str]]:
    """The elements in the rule's order."""
    incident, identity, moment = dossier.incident, dossier.identity, dossier.moment
    named = (identity.reporter_name, identity.reporter_phone, identity.reporter_email)
    missing = f"{MISSING} (identity.reporter of the configuration)"
    yield "unique outage identifier", incident.id
    yield "contact of the notifying provider", ", ".join(part or missing for part in named)
    yield "provider experiencing the outage", identity.provider or MISSING
    last_good = moment(incident.last_pass_at)
    began = f"{moment(incident.first_failure_at)} (first failing test)"
    yield "date and time it began", f"{began}; last good {last_good}" if last_good else began
    over = f" over {', '.join(dossier.transports)}" if dossier.transports else ""
    kind = "audio" if incident.cause in _AUDIO else "call set-up"
    yield "types of service affected", f"911 voice calls (SIP{over}): {kind}"
    yield "geographic area", _areas(dossier.psaps) or MISSING
    yield "expected effect on the 911 special facility", _effect(incident)
    restored = f"restored {moment(incident.closed_at)}" if incident.closed_at else MISSING
    yield "expected restoration", restored
    yield "best-known cause", f"{incident.cause.value.replace('_', ' ')}: {incident.summary}"
    yield "initial, update or final", _stage(dossier)


def _numbered(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    for number, (name, value) in enumerate(rows, 1):
        yield str(number), name, value


def _effect(incident: Incident) -> str:
    if incident.cause in _AUDIO and incident.alertname in _PUBLIC_SENTENCES:
        return _EFFECT_OF_AUDIO
    return _EFFECTS.get(incident.alertname, MISSING)


def _stage(dossier: Dossier) -> str:
    incident = dossier.incident
    if incident.closed_at is not None:
        return "final: service is restored"
    is_early = dossier.now - incident.opened_at <= NOTIFY_WITHIN.total_seconds()
    return "initial" if is_early else "update (initial, if none has been sent yet)"


def _areas(psaps: Sequence[Psap]) -> str:
    """Each answering point with where it is, or how many there are and all of their areas."""
    if len(psaps) > NAMED_MAX:
        areas = sorted({_area(psap) for psap in psaps} - {""})
        where = f" in {', '.join(areas)}" if areas else ""
        return f"{len(psaps)} answering points{where}; each is named in the notice to the public"
    return "; ".join(f"{psap.name} ({_area(psap)})" if _area(psap) else psap.name for psap in psaps)


def _area(psap: Psap) -> str:
    """Its county where that is an attribute, otherwise all that is known of the place."""
    attributes = dict(psap.attributes)
    if "county" in attributes:
        return attributes["county"]
    return f"{psap.location[0]:.4f}, {psap.location[1]:.4f}" if psap.location else ""


def _clocks(dossier: Dossier) -> Iterator[str]:
    opened_at = dossier.incident.opened_at
    yield "## Clocks, from discovery"
    rows = [("discovered (the incident opened)", dossier.moment(opened_at), "")]
    for what, within in (
        ("notify, by telephone and in writing: within 30 minutes", NOTIFY_WITHIN),
        ("first follow-up: within 2 hours", FOLLOW_UP_WITHIN),
    ):
        due = opened_at + within.total_seconds()
        rows.append((what, dossier.moment(due), _remaining(due - dossier.now)))
    yield _table(("clock", "moment", ""), rows)
    yield (
        "The rule counts the 2 hours from the first notification (4.9(h)(5)), which cannot be"
        " known here; counted from discovery, they are never too late. Further notices follow as"
        " something new is known, until service is restored."
    )


def _remaining(seconds: float) -> str:
    minutes = int(abs(seconds) // 60)
    span = f"{minutes // 60} h {minutes % 60:02} min"
    return f"{span} left" if seconds > 0 else f"over for {span}"


def _told(dossier: Dossier) -> Iterator[str]:
    yield "## Who was told"
    rows = [
        (sink, status, dossier.moment(said_at), dossier.moment(taken_at))
        for sink, status, said_at, taken_at in dossier.told[:TOLD_MAX]
    ]
    if not rows:
        yield "Nobody: no sink has taken a notice of it."
        return
    yield _table(("sink", "status", "said", "taken"), rows)
    if len(dossier.told) > TOLD_MAX:
        yield f"… and {len(dossier.told) - TOLD_MAX} more."


def _evidence(dossier: Dossier) -> Iterator[str]:
    yield "## Evidence"
    numbers = dossier.incident.evidence
    if numbers:
        yield _table(
            ("", ""), [(name, json.dumps(value, default=str)) for name, value in numbers.items()]
        )
    for title, attempt in (
        ("A failing attempt", dossier.failing),
        ("The last pass on that path", dossier.passing),
    ):
        if attempt is not None:
            evidence, verdict = attempt
            yield f"### {title}"
            yield f"{_cell(verdict_line(verdict))}. {_cell(phase_summary(evidence))}."
            yield _verbatim(ladder(evidence))
    if dossier.case is not None:
        yield "### What the cause rests on"
        yield _verbatim("\n".join(_case(dossier)))
    if dossier.failing is None:
        yield "No failing attempt of it is kept."


def _case(dossier: Dossier) -> Iterator[str]:
    return case_lines(dossier.case) if dossier.case is not None else iter(())


def _verbatim(text: str) -> str:
    """Text as a Markdown code block; indented, so that nothing in it can end the block."""
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """One line that neither ends the cell nor starts markup of its own."""
    shown = printable(text, CELL_CHARACTERS_MAX)
    for mark in ("|", "<", "`", "["):
        shown = shown.replace(mark, f"\\{mark}")
    return shown


FORMS: Final[dict[str, Callable[[Dossier], str]]] = {
    "text": text,
    "json": as_json,
    "markdown": markdown,
    "csv": comma_separated,
    "fcc": fcc,
    "public": public,
}
"""What an incident can be written as."""
