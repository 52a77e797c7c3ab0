"""Whether a PSAP may be called now: consent, commissioning, floor, turns, stops, holds, back-off.

Nothing here is convenience: a test call that may not be placed is not placed (detection.md 7). The
ledger checks stops and floor once more at the commit, because commands write there too. ``now`` is
loop seconds, ``wall`` Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import CONTROL, REFERENCE, Path
from psapwatch.evidence import Evidence, Kind
from psapwatch.schedule import call_spacing_s, wait_for_turn_s
from psapwatch.store.decisions import Stop
from psapwatch.store.ledger import EVERYWHERE
from psapwatch.store.store import Store
from psapwatch.verdict import Cause, Verdict

HOLD_S: Final = 600.0
"""After an unsafe answer no PSAP behind that firewall is called for this long ..."""
HOLD_PACE_S: Final = 60.0
"""... and then one call a minute."""
SECOND_UNSAFE_S: Final = 86_400.0
"""A second PSAP answering unsafely within this stops all test calls of the vantage."""
BACK_OFF_MAX_S: Final = 3_600.0
BACK_OFF_CODES: Final = frozenset({486, 488, 600})
"""Whoever says these need not name a time. A 503 that names none is a 500 (RFC 3261 21.5.4): an
element on the way says it in an outage, and every call foregone would hide the recovery."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A named decision: go now, wait so many seconds, or not at all for this round."""

    reason: str
    wait_s: float = 0.0
    granted: bool = False


GO: Final = Permit("go", granted=True)


class Permits:
    """Says yes or no to each call, and remembers what calls have led to."""

    def __init__(self, store: Store) -> None:
        self.supervised = False
        """Lifts one rule, that a PSAP must be commissioned: for the supervised first call."""
        self._store = store
        self._busy: set[str] = set()
        self._back_off: dict[str, tuple[float, float]] = {}  # psap -> (until wall, last length)
        self._held: dict[str, float] = {}  # firewall -> wall time of the last unsafe answer
        self._held_last: dict[str, float] = {}
        self._unsafe: dict[str, float] = {}  # psap -> wall time

    def ask(self, path: Path, wall: float) -> Permit:
        """Decide about one call on ``path`` at this moment."""
        for rule in (self._forever, self._passing, self._spacing):
            permit = rule(path, wall)
            if permit is not None:
                return permit
        return GO

    def enter(self, path: Path, wall: float) -> None:
        """A call to this PSAP begins: one at a time."""
        self._busy.add(_whom(path))
        if path.firewall.id in self._held:
            self._held_last[path.firewall.id] = wall

    def leave(self, path: Path) -> None:
        """The call to this PSAP has ended or was given up."""
        self._busy.discard(_whom(path))

    def learn(self, path: Path, evidence: Evidence, verdict: Verdict, wall: float) -> list[Stop]:
        """Draw the consequences of one call; returns the stops that it led to."""
        if verdict.cause is Cause.UNSAFE_ANSWER:
            return self.unsafe(path, verdict.why, wall)
        final = evidence.last(Kind.RESPONSE)
        code = final["code"] if final else 0
        asked = str(final.get("retry_after") or "") if final else ""
        asked = asked.split(";")[0].strip().split(" ")[0]
        if code in BACK_OFF_CODES or (code == 503 and asked.isdigit()):
            _until, before = self._back_off.get(path.psap.id, (0.0, 0.0))
            spacing = call_spacing_s(path.psap.agreement) if path.psap.agreement else 0.0
            length = min(
                BACK_OFF_MAX_S,
                max(2 * max(before, spacing), float(asked) if asked.isdigit() else 0.0),
            )
            self._back_off[path.psap.id] = (wall + length, length)
        elif verdict.passed:
            self._back_off.pop(path.psap.id, None)
        return []

    def _forever(self, path: Path, wall: float) -> Permit | None:
        """What no waiting changes."""
        del wall
        if path.psap.id in (REFERENCE, CONTROL):
            return GO
        if path.kind == "legacy_gateway":
            return Permit("legacy_gateway: a call would ring a trunk")
        agreement = path.psap.agreement
        if agreement is None:
            return Permit("no recorded consent")
        commissioned = agreement.commissioned or self._store.decisions.is_commissioned(
            path.key, target_of(path)
        )
        if not (commissioned or self.supervised):
            return Permit("not commissioned: a supervised first call comes first")
        stops = self._store.decisions.stops
        stop = stops.get(EVERYWHERE) or stops.get(path.psap.id)
        return Permit(f"stopped by {stop.by}: {stop.why}") if stop else None

    def _passing(self, path: Path, wall: float) -> Permit | None:
        """What passes by itself."""
        if _whom(path) in self._busy:
            return Permit("one call at a time", 1.0)
        until, _length = self._back_off.get(path.psap.id, (0.0, 0.0))
        if wall < until:
            return Permit("backing off as the PSAP asked", until - wall)
        held_at = self._held.get(path.firewall.id)
        if held_at is not None:
            free_at = max(
                held_at + HOLD_S, self._held_last.get(path.firewall.id, 0.0) + HOLD_PACE_S
            )
            if wall < free_at:
                return Permit("held after an unsafe answer", free_at - wall)
        return None

    def _spacing(self, path: Path, wall: float) -> Permit | None:
        """The floor over all paths and checks of this vantage, and the vantages' turns."""
        agreement = path.psap.agreement
        if agreement is None:
            return None
        last = self._store.last_call_at(path.psap.id)
        spacing = call_spacing_s(agreement)
        if last is not None and 0 <= wall - last < spacing:
            return Permit("called too recently", last + spacing - wall)
        turn = wait_for_turn_s(agreement, wall)
        return Permit("another vantage's turn", turn) if turn > 0 else None

    def unsafe(self, path: Path, why: str, wall: float) -> list[Stop]:
        """Stop this PSAP and hold its firewall; a second PSAP within a day stops everything."""
        psap = path.psap.id
        self._held[path.firewall.id] = wall
        self._held_last[path.firewall.id] = wall
        recent = {who for who, at in self._unsafe.items() if wall - at < SECOND_UNSAFE_S}
        self._unsafe[psap] = wall
        stops = [Stop(psap, "unsafe", why, "psapwatch", wall)]
        if recent - {psap}:
            said = f"{psap} and {', '.join(sorted(recent - {psap}))} answered unsafely within a day"
            stops.append(Stop(EVERYWHERE, "unsafe", said, "psapwatch", wall))
        for stop in stops:
            self._store.decisions.stop(stop)
        return stops


def spacing_of(path: Path) -> float:
    """The floor that the ledger enforces for a path; 0 for responders of our own."""
    if path.psap.id in (REFERENCE, CONTROL) or path.psap.agreement is None:
        return 0.0
    return call_spacing_s(path.psap.agreement)


def target_of(path: Path) -> str:
    """What was commissioned: another URI or next hop needs another supervised call."""
    return f"{path.next_hop or ''} {path.uri}".strip()


def _whom(path: Path) -> str:
    """Who is called one at a time; each responder of our own is somebody else."""
    return path.key if path.psap.id in (REFERENCE, CONTROL) else path.psap.id
