"""One attempt as people read it: the ladder of its messages, its phases, its verdict (layer L4).

Everything here is a pure function of Evidence and Verdict. Text of the far end is escaped and
bounded line by line, so a ladder may go to a terminal, a log or a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psapwatch import case as case_json
from psapwatch import evidence as evidence_json
from psapwatch.battery import ASKS
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.evidence import Evidence, Fact, Kind, Observation, Packet
from psapwatch.phases import phases_of
from psapwatch.remote_text import printable, printable_octets
from psapwatch.verdict import Verdict

LINES_MAX: Final = 200
"""Lines of a ladder; a call that repeats itself for ever is cut in the middle of its life."""
ARROW_CHARACTERS: Final = 54
LABEL_CHARACTERS_MAX: Final = 44
NOTE_CHARACTERS_MAX: Final = 120
TRANSCRIPT_CHARACTERS_MAX: Final = 16_384
"""Of one message, where it is shown as text."""

_ON_THE_LADDER: Final = frozenset({Kind.SENT, Kind.RESPONSE})
"""Observations that a packet of the transcript shows already."""


@dataclass(frozen=True, slots=True)
class _Rung:
    at_s: float
    text: str


def ladder(evidence: Evidence) -> str:
    """Return the SIP call flow of an attempt as text, one message or observation a line."""
    rungs = sorted(_rungs(evidence), key=lambda rung: rung.at_s)
    lines = [f"{rung.at_s:9.3f}  {rung.text}" for rung in rungs[:LINES_MAX]]
    if len(rungs) > LINES_MAX:
        lines.append(f"           … {len(rungs) - LINES_MAX} more")
    return "\n".join((*_heading(evidence), *lines, ""))


def phase_summary(evidence: Evidence) -> str:
    """Return an attempt's phases in one line: ``connect 2 ms, final 38 ms, 1 retransmission``."""
    parts = [f"{phase} {_duration(taken)}" for phase, taken in phases_of(evidence).items()]
    again = sum(1 for sent in evidence.of(Kind.SENT) if sent.get("nth", 1) != 1)
    if again:
        parts.append(f"{again} retransmission{'s' if again > 1 else ''}")
    silent = evidence.first(Kind.SILENT)
    if silent is not None:
        parts.append(_note(silent))
    return ", ".join(parts) or "nothing was answered"


def verdict_line(verdict: Verdict) -> str:
    """Return a verdict in one line: ``fail: explicit_reject (path): ICMP 3/13 from 192.0.2.1``."""
    cause = "" if verdict.cause == "none" else f": {verdict.cause}"
    return f"{verdict.outcome}{cause} ({verdict.plane}): {printable(verdict.why, 400)}"


def attempt_json(evidence: Evidence, verdict: Verdict) -> dict[str, Any]:
    """Return everything about one attempt as JSON-ready data; redact the transcript before."""
    return {
        "attempt": evidence_json.to_json(evidence),
        "verdict": _verdict_json(verdict),
        "phases": phases_of(evidence),
        "summary": phase_summary(evidence),
        "ladder": ladder(evidence),
        "transcript": [
            {
                "at_s": packet.at_s,
                "way": packet.way,
                "peer": packet.peer,
                "text": message_text(packet),
            }
            for packet in evidence.transcript
        ],
    }


def case_lines(case: Case) -> Iterator[str]:
    """What a cause rests on, one row a line: each row in words, how it came out, and why."""
    yield f"judged: {verdict_line(diagnose(case))}"
    for row, evidence in sorted(case.battery.items(), key=lambda each: list(ASKS).index(each[0])):
        verdict = diagnose(Case(evidence))
        where = f"{evidence.psap}/{evidence.path}"
        yield f"{row:16} {verdict_line(verdict)} [{where}, attempt {evidence.attempt_id}]"


def case_shown(case: Case | None) -> dict[str, Any]:
    """``case`` and its ``verdict`` as JSON-ready data; nothing where there is no case."""
    if case is None:
        return {}
    verdict = diagnose(case)
    return {"case": case_json.to_json(case), "verdict": _verdict_json(verdict)}


def message_text(packet: Packet) -> str:
    """Return one message with its line breaks kept and all else that is invisible escaped."""
    octets = packet.octets[:TRANSCRIPT_CHARACTERS_MAX]
    lines = octets.replace(b"\r\n", b"\n").split(b"\n")
    return "\n".join(printable_octets(line, TRANSCRIPT_CHARACTERS_MAX) for line in lines)


def moment(wall: float) -> str:
    """Return Unix seconds as ``2026-06-18 17:15:22 UTC``."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _verdict_json(verdict: Verdict) -> dict[str, str]:
    return {
        "outcome": verdict.outcome.value,
        "cause": verdict.cause.value,
        "plane": verdict.plane.value,
        "why": verdict.why,
    }


def _heading(evidence: Evidence) -> Iterator[str]:
    yield (
        f"{evidence.check} ({evidence.probe}) on {evidence.psap}/{evidence.path} through "
        f"{evidence.firewall} over {evidence.transport}, {moment(evidence.started_at)}"
    )
    yield f"attempt {evidence.attempt_id}, Call-ID {printable(evidence.call_id, 80)}"
    ours, theirs = printable(evidence.source, 45), printable(evidence.leg, 45)
    yield f"{'seconds':>9}  {ours} {theirs:>{ARROW_CHARACTERS + 1 - len(ours)}}"


def _rungs(evidence: Evidence) -> Iterator[_Rung]:
    seen_before: set[bytes] = set()
    for packet in evidence.transcript:
        again = packet.octets in seen_before
        seen_before.add(packet.octets)
        label = printable_octets(_start_line(packet.octets), LABEL_CHARACTERS_MAX)
        where = "" if packet.peer == evidence.leg else f"  {printable(packet.peer, 50)}"
        size = f"{len(packet.octets)} octets{', again' if again else ''}{where}"
        yield _Rung(packet.at_s, _arrow(label, size, out=packet.way == "out"))
    for observation in evidence.observations:
        if observation.kind not in _ON_THE_LADDER:
            yield _Rung(observation.at_s, f"* {_note(observation)}")
        elif not evidence.transcript:  # only failures and the last pass keep theirs
            yield _Rung(observation.at_s, _drawn(observation))


def _start_line(octets: bytes) -> bytes:
    line = octets[:512].partition(b"\r\n")[0]
    first, _, rest = line.partition(b" ")
    return rest if first == b"SIP/2.0" else line.removesuffix(b" SIP/2.0")


def _drawn(observation: Observation) -> str:
    if observation.kind is Kind.SENT:
        nth = observation.get("nth", 1)
        again = "" if nth == 1 else f", transmission {nth}"
        return _arrow(
            _word(observation.get("method")), f"{observation.get('size')} octets{again}", out=True
        )
    late = "late" if observation.get("late") else ""
    return _arrow(
        f"{observation.get('code')} to {_word(observation.get('method'))}", late, out=False
    )


def _arrow(label: str, beside: str, *, out: bool) -> str:
    shaft = f"{'---' if out else '<--'} {label} ".ljust(ARROW_CHARACTERS - 1, "-")
    return f"|{shaft}{'>' if out else '-'}|  {beside}".rstrip()


def _note(observation: Observation) -> str:
    """``icmp: family 4, icmp_type 3, code 13, offender 192.0.2.1``."""
    facts = ", ".join(
        f"{name} {_word(value)}"
        for name, value in observation.facts.items()
        if value not in (None, "", False)
    )
    words = observation.kind.value.replace("_", " ")
    return printable(f"{words}: {facts}" if facts else words, NOTE_CHARACTERS_MAX)


def _word(fact: Fact) -> str:
    if isinstance(fact, float):
        return f"{fact:.6g}"
    return "yes" if fact is True else str(fact)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
