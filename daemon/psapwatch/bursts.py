"""Many calls begun at once, read from their evidence: did some get lost? (layer L1, pure).

A limit on calls lets each pass that comes alone, and of many at once only so many: the rest gets no
answer, is refused, or gets through when it is sent again. Where none gets through the moment was
bad, or nothing does: that tells of no limit. What single calls beside it do says ``tried``.
"""

from __future__ import annotations

from typing import Final

from psapwatch.call_findings import Finding
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.pooled import first_answered
from psapwatch.verdict import PASSED, Cause, Outcome, Plane
from psapwatch.walks import final_of

LOST_MIN: Final = 4
"""So many calls of a burst have to be lost; ``tried.SINGLES_NEEDED`` says why."""


def called(call: Evidence, at_s: float) -> Observation:
    """What one call of a burst came to: its final response, and whether a first sending did it."""
    final = final_of(call)
    return Observation(
        Kind.BURST,
        at_s,
        {
            "call_id": call.call_id,
            "code": final["code"] if final else 0,
            "again": first_answered(call, PASSED) is False,
            "after_s": final["phase_s"] if final else round(call.duration_s, 6),
        },
    )


def burst_of(evidence: Evidence) -> Finding | None:
    """How many calls of a burst were lost, where the evidence is one."""
    calls = tuple(evidence.of(Kind.BURST))
    if not calls:
        return None
    lost = sum(int(each["code"] or 0) // 100 != 2 or bool(each.get("again")) for each in calls)
    why = f"{lost} of {len(calls)} calls begun at once got no answer at once"
    if not lost:
        return Outcome.PASS, Cause.NONE, Plane.SIGNALLING, why
    if LOST_MIN <= lost < len(calls):
        return Outcome.FAIL, Cause.UNKNOWN, Plane.PATH, why
    return Outcome.INCONCLUSIVE, Cause.NONE, Plane.PATH, why
