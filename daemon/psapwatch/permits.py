"""Whether a PSAP may be called now: consent, commissioning, floor, turns, stops, holds, back-off.

Nothing here is convenience: a test call that may not be placed is not placed (detection.md 7). The
ledger checks stops and floor once more at the commit, because commands write there too. ``now`` is
loop seconds, ``wall`` Unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from psapwatch.call_findings import answerer, slug
from psapwatch.endpoint import CONTROL, REFERENCE, Path, Psap
from psapwatch.evidence import Evidence, Kind
from psapwatch.schedule import wait_for_turn_s
from psapwatch.store.decisions import Stop
from psapwatch.store.ledger import EVERYWHERE
from psapwatch.store.store import Store
from psapwatch.verdict import Cause, Verdict

HOLD_S: Final = 600.0
"""After an unsafe answer no PSAP behind that firewall is called for this long ..."""
HOLD_PACE_S: Final = 60.0
"""... and then one call a minute, until a human has resumed whoever answered so."""
SECOND_UNSAFE_S: Final = 86_400.0
"""A second PSAP answering unsafely within this stops all test calls of the vantage."""
YIELD_S: Final = 1.0
"""Who is not first in line for a floor asks again after this."""
CLAIM_S: Final = 2 * YIELD_S
"""A claim to a free floor that is not used within this was given up."""
BACK_OFF_MAX_S: Final = 3_600.0
"""How far our own doubling goes; who asks for longer is left alone for longer ..."""
ASKED_MAX_S: Final = 86_400.0
"""... up to a day: nobody is to be left unwatched for ever by one number."""
BACK_OFF_CODES: Final = frozenset({486, 488, 600})
"""Whoever says these need not name a time; any refusal may (RFC 3261 20.33). A 503 that names none
is a 500 (21.5.4): an element on the way says it in an outage, and every call foregone would hide
the recovery."""
_RETRY_AFTER: Final = re.compile(r"\s*([0-9]{1,10})(?:[\s;(].*)?", re.DOTALL)
"""Delta-seconds, below 2**32 as elsewhere in SIP, then perhaps a comment and parameters."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A named decision: go now, wait so many seconds, or not at all for this round."""

    reason: str
    wait_s: float = 0.0
    granted: bool = False


GO: Final = Permit("go", granted=True)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A path's place in the line for a PSAP's floor, in wall seconds."""

    since: float
    until: float

    def holds(self, wall: float, spacing_s: float) -> bool:
        """Whether it is still good; a clock that was stepped back does not prolong it."""
        return 0 < self.until - wall <= spacing_s + CLAIM_S


class Permits:
    """Says yes or no to each call, and remembers what calls have led to."""

    def __init__(self, store: Store) -> None:
        self.supervised = False
        """Lifts one rule, that a PSAP must be commissioned: for the supervised first call."""
        self._store = store
        self._busy: dict[str, frozenset[str]] = {}  # path key -> PSAPs that its call may reach
        self._back_off: dict[str, tuple[float, float]] = {}  # psap -> (until wall, last length)
        self._held: dict[str, float] = {}  # firewall -> wall time of the last unsafe answer
        self._held_for: dict[str, set[str]] = {}  # firewall -> PSAPs that answered unsafely
        self._held_last: dict[str, float] = {}
        self._taken_up: dict[str, float] = {}  # psap -> time of its stop whose hold was taken up
        self._unsafe: dict[str, float] = {}  # psap -> wall time
        self._named: dict[str, tuple[Psap, ...]] = {}  # name in an answer -> who bears it
        self._instead: dict[
            str, tuple[Psap, ...]
        ] = {}  # path key -> who answers in place of its PSAP
        self._lines: dict[str, dict[str, _Claim]] = {}  # psap -> path key -> its claim to the floor

    def know(self, psaps: Iterable[Psap]) -> None:
        """Take over who is watched, so that one who answers for another is known by name.

        Who answered instead stays known over a reload: a call reaches them as before.
        """
        known = {psap.id: psap for psap in psaps}
        self._named = {}
        for psap in known.values():
            for name in _names(psap):
                self._named[name] = (*self._named.get(name, ()), psap)
        still = {
            key: tuple(known[each.id] for each in others if each.id in known)
            for key, others in self._instead.items()
        }
        self._instead = {key: others for key, others in still.items() if others}

    async def recall(self, psaps: Iterable[Psap], wall: float) -> None:
        """Take up the back-off that PSAPs had asked for before a restart, from their last calls.

        What a clock that ran ahead has written says nothing of when.
        """
        known = {psap.id: psap for psap in psaps}
        for evidence, verdict in await self._store.last_calls(wall - ASKED_MAX_S, wall):
            if evidence.psap in known:
                over_at = min(wall, evidence.started_at + evidence.duration_s)
                self._mind(known[evidence.psap], evidence, verdict, over_at)

    def ask(self, path: Path, wall: float) -> Permit:
        """Decide about one call on ``path`` at this moment."""
        for rule in (self._forever, self._passing, self._spacing):
            permit = rule(path, wall)
            if permit is not None:
                return permit
        return GO

    def enter(self, path: Path, wall: float) -> None:
        """A call to this PSAP begins: one at a time."""
        reached = self._reached(path)
        self._busy[path.key] = frozenset(psap.id for psap in reached)
        for psap in reached:
            self._lines.get(psap.id, {}).pop(path.key, None)
        if path.firewall.id in self._held:
            self._held_last[path.firewall.id] = wall

    def leave(self, path: Path) -> None:
        """The call to this PSAP has ended or was given up."""
        self._busy.pop(path.key, None)

    def learn(self, path: Path, evidence: Evidence, verdict: Verdict, wall: float) -> list[Stop]:
        """Draw the consequences of one call; returns the stops that a human has to hear of."""
        self._learn_who_answers(path, evidence, wall)
        if verdict.cause is Cause.UNSAFE_ANSWER:
            return self.unsafe(path, verdict.why, wall)
        self._mind(path.psap, evidence, verdict, wall)
        return []

    def _mind(self, psap: Psap, evidence: Evidence, verdict: Verdict, wall: float) -> None:
        """Back off where a call was refused, and no longer where one has passed."""
        final = evidence.last(Kind.RESPONSE)
        code = int(final.get("code") or 0) if final else 0
        asked_s = _asked_s(str(final.get("retry_after") or "")) if final and code >= 300 else None
        if code in BACK_OFF_CODES or asked_s is not None:
            _until, before = self._back_off.get(psap.id, (0.0, 0.0))
            spacing = psap.agreement.spacing_s if psap.agreement else 0.0
            ours_s = min(BACK_OFF_MAX_S, 2 * max(before, spacing)) if code in BACK_OFF_CODES else 0
            length = max(ours_s, asked_s or 0.0)
            self._back_off[psap.id] = (wall + length, length)
        elif verdict.passed:
            self._back_off.pop(psap.id, None)

    def _forever(self, path: Path, wall: float) -> Permit | None:
        """What no waiting changes."""
        if path.psap.id in (REFERENCE, CONTROL):
            return GO
        if path.kind == "legacy_gateway":
            return Permit("legacy_gateway: a call would ring a trunk")
        agreement = path.psap.agreement
        if agreement is None:
            return Permit("no recorded consent")
        commissioned = agreement.commissioned or self._store.decisions.is_commissioned(
            path.key, path.target
        )
        if not (commissioned or self.supervised):
            return Permit("not commissioned: a supervised first call comes first")
        stops = self._store.decisions.stops
        for psap in (EVERYWHERE, *(each.id for each in self._reached(path))):
            if psap in stops:
                return Permit(f"stopped by {stops[psap].by}: {stops[psap].why}")
        if why := self._stop_for_strangers(path, self._instead.get(path.key, ()), wall):
            del self._instead[path.key]  # a reload took their consent; whoever resumes knows of it
            return Permit(why)
        return None

    def _passing(self, path: Path, wall: float) -> Permit | None:
        """What passes by itself."""
        for psap in self._reached(path):
            if any(psap.id in reached for reached in self._busy.values()):
                return Permit("one call at a time", 1.0)
            until, length = self._back_off.get(psap.id, (0.0, 0.0))
            if wall < until:
                until = min(until, wall + length)  # a clock that was stepped back: once more
                self._back_off[psap.id] = (until, length)
                return Permit("backing off as the PSAP asked", until - wall)
        return self._hold(path.firewall.id, wall)

    def _hold(self, firewall: str, wall: float) -> Permit | None:
        """The hold after an unsafe answer, and the slower pace after it.

        The hold always lasts its time. The pace ends when no PSAP that answered unsafely is
        stopped any more: a human has looked at each and takes calls for safe again.
        """
        self._take_up(firewall)
        if firewall not in self._held:
            return None
        # From before a clock was stepped back: it lasts once more, and not until that time is here.
        held_at = self._held[firewall] = min(wall, self._held[firewall])
        last_at = self._held_last[firewall] = min(wall, self._held_last.get(firewall, held_at))
        still = self._held_for[firewall] & self._store.decisions.stops.keys()
        if wall >= held_at + HOLD_S and not still:
            del self._held[firewall], self._held_for[firewall]
            return None
        free_at = max(held_at + HOLD_S, last_at + HOLD_PACE_S)
        return Permit("held after an unsafe answer", free_at - wall) if wall < free_at else None

    def _take_up(self, firewall: str) -> None:
        """Take up the holds on record: begun just now, before a restart, or by a command's call."""
        for stop in self._store.decisions.stops.values():
            is_known = self._taken_up.get(stop.psap) == stop.at
            if stop.reason == "unsafe" and stop.firewall == firewall and not is_known:
                self._taken_up[stop.psap] = stop.at
                self._held[firewall] = max(stop.at, self._held.get(firewall, stop.at))
                self._held_for.setdefault(firewall, set()).add(stop.psap)

    def _spacing(self, path: Path, wall: float) -> Permit | None:
        """The floor over all paths and checks of this vantage, and the vantages' turns."""
        for psap in self._reached(path):
            if psap.agreement is None:
                continue
            permit = self._in_line(path, psap.id, psap.agreement.spacing_s, wall)
            if permit is not None:
                return permit
            turn = wait_for_turn_s(psap.agreement, wall)
            if turn > 0:
                return Permit("another vantage's turn", turn)
        return None

    def _in_line(self, path: Path, psap: str, spacing_s: float, wall: float) -> Permit | None:
        """The floor of a PSAP; when it is free, the path that has waited longest goes first.

        Without a line the path that is due the moment the floor is free would always be first, and
        the PSAP's other paths would never be called.
        """
        line = self._lines.setdefault(psap, {})
        mine = line.get(path.key)
        since = mine.since if mine is not None and mine.holds(wall, spacing_s) else wall
        ago_s = self._store.called_ago_s(psap, wall)
        if ago_s is not None and ago_s < spacing_s:
            line[path.key] = _Claim(since, wall + spacing_s - ago_s + CLAIM_S)
            return Permit("called too recently", spacing_s - ago_s)
        if any(each.since < since and each.holds(wall, spacing_s) for each in line.values()):
            line[path.key] = _Claim(since, wall + CLAIM_S)
            return Permit("another path's turn", YIELD_S)
        return None

    def _reached(self, path: Path) -> tuple[Psap, ...]:
        """Whom a call on this path may reach: its PSAP, and who answered in its place last."""
        return (path.psap, *self._instead.get(path.key, ()))

    def _learn_who_answers(self, path: Path, evidence: Evidence, wall: float) -> None:
        """Charge the floor of whoever answers for another, and mind it from now on.

        Whoever has not agreed to test calls is not to get another one: the path is stopped.
        """
        name = answerer(evidence)
        if not name or path.psap.id in (REFERENCE, CONTROL):
            return
        before = self._instead.pop(path.key, ())
        others = self._named.get(name, ()) if name not in _names(path.psap) else ()
        if not self._stop_for_strangers(path, others, wall) and others:
            self._instead[path.key] = others
        for psap in others:
            self._store.charge(psap.id, wall)
            if not before and psap.agreement:  # a second call is to confirm it: first in line
                until = wall + psap.agreement.spacing_s + CLAIM_S
                self._lines.setdefault(psap.id, {})[path.key] = _Claim(0.0, until)

    def _stop_for_strangers(self, path: Path, others: tuple[Psap, ...], wall: float) -> str:
        """Stop a path where one of those who answer in its PSAP's place gave no consent: why."""
        strangers = ", ".join(psap.id for psap in others if psap.agreement is None)
        if not strangers:
            return ""
        why = f"calls are answered by {strangers}, without consent to test calls"
        self._store.decisions.stop(Stop(path.psap.id, "misrouted", why, "psapwatch", wall))
        return why

    def unsafe(self, path: Path, why: str, wall: float) -> list[Stop]:
        """Stop this PSAP and hold its firewall; a second PSAP within a day stops everything."""
        psap = path.psap.id
        recent = {who for who, at in self._unsafe.items() if wall - at < SECOND_UNSAFE_S}
        recent |= {  # met before a restart, or by another process
            who
            for who, stop in self._store.decisions.stops.items()
            if stop.reason == "unsafe" and who != EVERYWHERE and wall - stop.at < SECOND_UNSAFE_S
        }
        self._unsafe[psap] = wall
        stops = [Stop(psap, "unsafe", why, "psapwatch", wall, path.firewall.id)]
        if recent - {psap}:
            said = f"{psap} and {', '.join(sorted(recent - {psap}))} answered unsafely within a day"
            stops.append(Stop(EVERYWHERE, "unsafe", said, "psapwatch", wall))
        for stop in stops:
            self._store.decisions.stop(stop)
        self._take_up(path.firewall.id)
        return stops


def spacing_of(path: Path) -> float:
    """The floor that the ledger enforces for a path; 0 for responders of our own."""
    if path.psap.id in (REFERENCE, CONTROL) or path.psap.agreement is None:
        return 0.0
    return path.psap.agreement.spacing_s


def _asked_s(retry_after: str) -> float | None:
    """The seconds that a Retry-After asks for (RFC 3261 20.33); None when it is none.

    Whatever Python takes for a digit besides 0 to 9 is none here: a stranger has written it.
    """
    found = _RETRY_AFTER.fullmatch(retry_after)
    return min(ASKED_MAX_S, float(found[1])) if found else None


def _names(psap: Psap) -> frozenset[str]:
    """The names by which a PSAP may answer."""
    return frozenset(filter(None, map(slug, (psap.expected_name or "", psap.name))))
