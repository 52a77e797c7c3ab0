"""How long each phase of one attempt took, read from its evidence (layer L1, pure).

A phase counts only when it came to its end: a timeout is no duration, so silence never shows up
as a slow answer. Late answers, seen after the attempt was given up, are none either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from psapwatch.evidence import Evidence, Kind, Observation

FINAL_CODE_MIN: Final = 200
REQUESTS: Final = ("INVITE", "OPTIONS")
"""The methods that begin an attempt; the others end or acknowledge one."""

_MEASURED: Final = {
    Kind.RESOLVED: ("resolve", "duration_s"),
    Kind.CONNECTED: ("connect", "duration_s"),
    Kind.TLS_UP: ("tls", "duration_s"),
    Kind.MEDIA: ("echo", "rtt_s"),
}


def phases_of(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Yield ``(phase, seconds)`` of every phase that ended, in the order in which they began."""
    for seen in evidence.observations:
        if seen.kind in _MEASURED and not seen.get("reused") and not seen.get("cached"):
            phase, fact = _MEASURED[seen.kind]
            duration = seconds(seen.get(fact))
            if duration is not None:
                yield phase, duration
    for phase, ended in (
        ("provisional", _answer(evidence, REQUESTS, final=False)),
        ("final", _answer(evidence, REQUESTS, final=True)),
        ("teardown", _answer(evidence, ("BYE", "CANCEL"), final=True)),
    ):
        duration = None if ended is None else since_sent(evidence, ended)
        if duration is not None:
            yield phase, duration


def final_response(evidence: Evidence) -> Observation | None:
    """Return the final response to the attempt's own request, unless it came late or never.

    After a digest challenge (RFC 3261 22.2) that is the answer to the second request.
    """
    return _answer(evidence, REQUESTS, final=True)


def response_time(evidence: Evidence) -> float | None:
    """Return seconds from first transmission to final response; ``None`` without an answer."""
    answer = final_response(evidence)
    return None if answer is None else since_sent(evidence, answer)


def since_sent(evidence: Evidence, response: Observation) -> float | None:
    """Return seconds from the first transmission of the request that ``response`` answers."""
    sent = None
    for seen in evidence.observations:
        if seen is response:
            break
        if seen.kind is Kind.SENT and seen["method"] == response["method"] and seen["nth"] == 1:
            sent = seen
    return None if sent is None else max(0.0, response.at_s - sent.at_s)


def seconds(fact: object) -> float | None:
    """Return a fact as seconds, or ``None`` where it is not a duration."""
    is_number = isinstance(fact, int | float) and not isinstance(fact, bool)
    return float(fact) if is_number and fact >= 0 else None  # type: ignore[arg-type,operator]


def _answer(evidence: Evidence, methods: tuple[str, ...], *, final: bool) -> Observation | None:
    found = None
    for seen in evidence.of(Kind.RESPONSE):
        code = seen.get("code")
        if seen.get("method") not in methods or seen.get("late") or not isinstance(code, int):
            continue
        if (code >= FINAL_CODE_MIN) is final:
            found = seen
            if not final:  # the first provisional is the one that proves the path
                break
    return found
