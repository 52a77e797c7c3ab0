"""How long our own loop stood still: what must not pass for the network's silence (layer L1).

A paused machine, a starved process, a long garbage collection: afterwards every timer is overdue
at once, and whatever was under way looks unanswered. Moments are loop seconds.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from psapwatch.evidence import Evidence, Kind
from psapwatch.sip.server_transaction import T1_S, T2_S
from psapwatch.verdict import Cause, Outcome, Plane, Verdict

LATE_S: Final = 0.1
"""A loop this late may have sent again what was answered in time ..."""
LATE_FOR_S: Final = 5.0
"""... and for this long after it, first transmissions are no samples of the network."""
STILL_SHARE: Final = 0.25
"""An attempt of which our loop was away for more than this share says nothing by its silence."""
REPEATS_MAX: Final = 11
"""Of a 2xx in 64 * T1: then whoever answered has given up."""
TICK_S: Final = 0.25
"""An absence begins up to a tick before the tick that comes late."""
KEPT_MAX: Final = 600
"""Late ticks remembered: more than the longest attempt has."""
_WAITS: Final = (Kind.CONNECT_FAILED, Kind.TLS_FAILED, Kind.CONNECTION_LOST)


class Stillness:
    """Told when a tick is due and when it came; says how long the loop stood still."""

    def __init__(self) -> None:
        self._due = float("inf")
        self._late: deque[tuple[float, float]] = deque(maxlen=KEPT_MAX)

    def expect(self, due: float) -> None:
        """Take when the next tick is due."""
        self._due = due

    def ticked(self, now: float) -> float:
        """Take a tick, and return how late it was."""
        late_s = max(0.0, now - self._due)
        if late_s > LATE_S:
            self._late.append((now, late_s))
        return late_s

    def lately(self, now: float) -> bool:
        """Whether the loop was late a moment ago."""
        last = self._late[-1][0] if self._late else float("-inf")
        return now - self._due > LATE_S or now - last < LATE_FOR_S

    def within(self, began: float, now: float) -> float:
        """How long the loop stood still since ``began``, the present tick's lateness included."""
        overdue = now - max(began, self._due)
        still_s = overdue if overdue > LATE_S else 0.0
        for ended, late_s in reversed(self._late):
            if ended <= began:
                break
            still_s += min(late_s, ended - began)
        return still_s

    def longest(self, began: float, now: float) -> float:
        """The longest that the loop stood still at a time, of what ended since ``began``."""
        absences = (late_s for ended, late_s in self._late if ended > began)
        return max(now - self._due, *absences, 0.0)

    def excuse(self, evidence: Evidence, verdict: Verdict, now: float) -> Verdict:
        """The verdict; inconclusive where silence, or an ACK that is missed, may be our absence."""
        began = now - evidence.duration_s
        if verdict.cause is Cause.ACK_LOST:
            still_s = self.longest(began, now)
            is_ours = still_s + TICK_S >= _unacknowledged_s(evidence)
        elif verdict.failed and _waited_in_vain(evidence):
            still_s = self.within(began, now)
            is_ours = still_s > STILL_SHARE * evidence.duration_s
        else:
            return verdict
        if not is_ours:
            return verdict
        why = f"our own loop stood still for {still_s:.1f} of {evidence.duration_s:.1f} s"
        return Verdict(Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SELF, why)


def _waited_in_vain(evidence: Evidence) -> bool:
    """Whether the attempt failed because a time of ours ran out, at whatever it waited for."""
    return evidence.first(Kind.SILENT) is not None or any(
        seen["error"] == "timeout" for seen in evidence.of(*_WAITS)
    )


def _unacknowledged_s(evidence: Evidence) -> float:
    """How long a 2xx was without an ACK that came again as often as was seen.

    It does after T1, then at twice the distance, up to T2 (RFC 3261 13.3.1.4).
    """
    seen = evidence.of(Kind.REPEATED)
    repeats = max((int(each["count"] or 0) for each in seen), default=0)
    return sum(min(T1_S * (1 << nth), T2_S) for nth in range(min(repeats, REPEATS_MAX)))
