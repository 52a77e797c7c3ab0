"""How long each phase of one attempt took, read from its evidence (layer L1, pure).

A phase counts only when it came to its end: a timeout is no duration, so silence never shows up
as a slow answer. Late answers, seen after the attempt was given up, are none either.
"""

from __future__ import annotations

from typing import Final

from psapwatch.evidence import Evidence, Fact, Kind, Observation

FINAL_CODE_MIN: Final = 200

_MEASURED: Final = {
    Kind.RESOLVED: ("resolve", "duration_s"),
    Kind.CONNECTED: ("connect", "duration_s"),
    Kind.TLS_UP: ("tls", "duration_s"),
    Kind.MEDIA: ("echo", "rtt_s"),
}
_ENDING: Final = frozenset({"BYE", "CANCEL"})


def phases_of(evidence: Evidence) -> dict[str, float]:
    """Return the seconds of every phase that ended, by name, in the order in which they ended.

    ``final`` runs from the first transmission of the attempt's request to its final response;
    after a digest challenge (RFC 3261 22.2) that is the second request and its answer.
    """
    phases: dict[str, float] = {}
    began: dict[Fact, float] = {}
    for seen in evidence.observations:
        kind, facts = seen.kind, seen.facts
        if kind is Kind.SENT:
            if facts.get("nth", 1) == 1:
                began[facts.get("method")] = seen.at_s
        elif kind is Kind.RESPONSE:
            _answered(seen, began, phases)
        elif kind in _MEASURED and not facts.get("reused") and not facts.get("cached"):
            phase, fact = _MEASURED[kind]
            duration = seconds(facts.get(fact))
            if duration is not None:
                phases[phase] = duration
    return phases


def seconds(fact: Fact) -> float | None:
    """Return a fact as seconds, or ``None`` where it is not a duration."""
    if isinstance(fact, bool | str) or fact is None or fact < 0:
        return None
    return float(fact)


def _answered(seen: Observation, began: dict[Fact, float], phases: dict[str, float]) -> None:
    facts = seen.facts
    code, method = facts.get("code"), facts.get("method")
    sent_at = began.get(method)
    if sent_at is None or not isinstance(code, int) or facts.get("late"):
        return
    duration = seconds(facts.get("phase_s"))  # by the kernel's receive time, where it is known
    if duration is None:
        duration = max(0.0, seen.at_s - sent_at)
    if code < FINAL_CODE_MIN:
        phases.setdefault("provisional", duration)  # the first one is what proves the path
    else:
        phases["teardown" if method in _ENDING else "final"] = duration
