"""Whether the prober can vouch for its own verdicts, and if not, why (layer L1).

Four things blind it: its self-test fails, the witness on our own side of a firewall falls silent
with everything else, every attempt through a firewall ends by our own fault, or what a firewall has
to block answers: then our packets go round it. It says so (``ProberBlind``), and calls no PSAP
blocked, nor reached where they go round (detection.md 4, 5). A quarantine of one address blinds it
there alone: ``quarantine``. Moments are Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from psapwatch.battery import Row, outcome_of
from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence
from psapwatch.quarantine import Quarantines
from psapwatch.verdict import Cause, Outcome, Plane, Verdict

WITNESS_NEEDED: Final = 2
"""Silences of the witness in a row before it counts."""
PENDING_S: Final = 3.0
"""While a witness is asked for the first time nobody is called blocked, at most this long."""
OWN_FAULT_S: Final = 30.0
"""So long nothing but faults of our own through one firewall: it is not watched."""
FAULTS_MIN: Final = 5


@dataclass(slots=True)
class _View:
    """What is seen through one firewall."""

    asked_at: float | None = None
    seen_since: float = 0.0
    silences: int = 0
    faults: int = 0
    fault_since: float = 0.0
    last_fault_at: float = 0.0
    fault: str = ""
    detour: str = ""
    """What answered though this firewall has to block it; ``""`` while it is blocked."""

    @property
    def is_own_fault(self) -> bool:
        """Whether nothing but faults of our own was seen, for long."""
        return self.faults >= FAULTS_MIN and self.last_fault_at - self.fault_since >= OWN_FAULT_S

    @property
    def is_blind(self) -> bool:
        """Whether what is seen here proves nothing."""
        return self.silences >= WITNESS_NEEDED or bool(self.detour) or self.is_own_fault


@dataclass(slots=True)
class Sight:
    """Collects what speaks for blindness; ``why`` says it in words."""

    self_test: str = ""
    """Why the self-test fails; ``""`` while it proves that we see."""
    quarantines: Quarantines = field(default_factory=Quarantines)
    _views: dict[str, _View] = field(default_factory=dict)

    @property
    def why(self) -> str:
        """Everything that blinds the prober; ``""`` when it sees."""
        found = [self.self_test] if self.self_test else []
        blind = [each for each in self._views.items() if each[1].is_blind]
        for firewall, view in sorted(blind):
            if view.silences >= WITNESS_NEEDED:
                found.append(f"the witness on our side of {firewall} is silent as well")
            if view.is_own_fault:
                found.append(
                    f"every attempt through {firewall} ends by our own fault ({view.fault})"
                )
            if view.detour:
                found.append(
                    f"packets go round {firewall}: what it has to block answers ({view.detour})"
                )
        return "; ".join(found)

    @property
    def cause(self) -> Cause:
        """Why it is blind, in one word: a detour, or our own fault."""
        detours = any(view.detour for view in self._views.values())
        return Cause.PATH_BYPASSED if detours else Cause.PROBER_FAULT

    def hides(self, firewall: str) -> bool:
        """Whether nothing seen through this firewall proves anything."""
        view = self._views.get(firewall)
        return bool(self.self_test) or (view is not None and view.is_blind)

    def voids(self, firewall: str, began_at: float, verdict: Verdict) -> bool:
        """Whether a verdict through this firewall is none: it was not seen, or not through it."""
        if self.vouches(firewall, began_at) or verdict.outcome is Outcome.INCONCLUSIVE:
            return False
        view = self._views.get(firewall)
        return verdict.failed or (view is not None and bool(view.detour))

    def vouches(self, firewall: str, began_at: float) -> bool:
        """Whether an attempt that began then may speak of what is beyond our own side."""
        view = self._views.get(firewall)
        return not self.hides(firewall) and (view is None or began_at >= view.seen_since)

    def is_pending(self, now: float) -> bool:
        """Whether a witness was asked and has not answered yet, or another address of ours."""
        return self.quarantines.is_pending or any(
            view.asked_at is not None and 0 <= now - view.asked_at < PENDING_S
            for view in self._views.values()
        )

    def ask(self, firewall: str, now: float) -> None:
        """The witness of a firewall is being asked."""
        view = self._views.setdefault(firewall, _View())
        if not view.silences:
            view.asked_at = now

    def counted(self, path: Path, evidence: Evidence, verdict: Verdict, now: float) -> Verdict:
        """Return what a scheduled attempt counts for: nothing where it was not really seen."""
        if self.voids(path.firewall.id, evidence.started_at, verdict):
            why = f"not counted, the prober is blind: {verdict.why}"
            verdict = Verdict(Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SELF, why)
        return self.quarantines.counted(path, evidence, verdict, now)

    def tried(self, row: Row, evidence: Evidence, verdict: Verdict) -> None:
        """Take a row of the battery, for what it tells of whether we see."""
        if row == "witness":
            self.witness(evidence.firewall, verdict, evidence.started_at)
        elif row == "must_block":
            self.must_block(evidence.firewall, verdict, evidence.started_at)
        self.quarantines.tried(row, evidence, verdict)

    def asks(self, firewall: str) -> Row | None:
        """The row of the battery that is to be tried again and again for now, if there is one."""
        if self.hides(firewall):
            return "witness"
        return "second_source" if self.quarantines.asks(firewall) else None

    def must_block(self, firewall: str, verdict: Verdict, at: float) -> None:
        """What came of asking for what a firewall has to block: one answer shows a detour."""
        view = self._views.setdefault(firewall, _View())
        outcome = outcome_of("must_block", verdict)
        if outcome is Outcome.INCONCLUSIVE:
            return
        is_blocked = outcome is Outcome.FAIL
        if view.detour and is_blocked:
            view.seen_since = at
        view.detour = "" if is_blocked else verdict.why

    def witness(self, firewall: str, verdict: Verdict, at: float) -> None:
        """What the witness had to say: any answer at all shows that our own side works."""
        view = self._views.setdefault(firewall, _View())
        if verdict.outcome is Outcome.INCONCLUSIVE:
            return
        if not verdict.failed and view.silences >= WITNESS_NEEDED:
            view.seen_since = at
        view.silences = view.silences + 1 if verdict.failed else 0
        if not verdict.failed or view.silences >= WITNESS_NEEDED:
            view.asked_at = None

    def attempt(self, firewall: str, verdict: Verdict, at: float) -> None:
        """Count faults of our own; anything else shows that we see."""
        view = self._views.get(firewall) or self._views.setdefault(firewall, _View())
        if verdict.outcome is not Outcome.INCONCLUSIVE or verdict.cause is not Cause.PROBER_FAULT:
            view.faults = 0
            return
        if not view.faults:
            view.fault_since, view.fault = at, verdict.why
        view.faults += 1
        view.last_fault_at = at
