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
        if seen.kind is Kind.SENT:
            if seen.get("nth", 1) == 1:
                began[seen.get("method")] = seen.at_s
        elif seen.kind is Kind.RESPONSE:
            _answered(seen, began, phases)
        elif seen.kind in _MEASURED and not seen.get("reused") and not seen.get("cached"):
            phase, fact = _MEASURED[seen.kind]
            duration = seconds(seen.get(fact))
            if duration is not None:
                phases[phase] = duration
    return phases


def seconds(fact: Fact) -> float | None:
    """Return a fact as seconds, or ``None`` where it is not a duration."""
    if isinstance(fact, bool | str) or fact is None or fact < 0:
        return None
    return float(fact)


def _answered(seen: Observation, began: dict[Fact, float], phases: dict[str, float]) -> None:
    code, method = seen.get("code"), seen.get("method")
    sent_at = began.get(method)
    if sent_at is None or not isinstance(code, int) or seen.get("late"):
        return
    duration = seconds(seen.get("phase_s"))  # by the kernel's receive time, where it is known
    if duration is None:
        duration = max(0.0, seen.at_s - sent_at)
    if code < FINAL_CODE_MIN:
        phases.setdefault("provisional", duration)  # the first one is what proves the path
    else:
        phases["teardown" if method in _ENDING else "final"] = duration
