"""Whether a firewall blocks an address of ours as an attacker's, and how we bear it (layer L1).

A flood list blocks whoever sends too much, for some minutes. It looks like any block of our
address, but no caller is concerned, and the remedy is to send less. Three things together tell it:
nothing from the address gets through any more, another of our addresses passes, and shortly before
the first silence we had sent nearly all that ``limits`` allow. What came after it is no cause: it
is what we did to find out. Then the address sees nothing, so its failures count for no PSAP; the
firewall has a ticket, and we send half as often. Whatever is not so, or no longer, counts as any
failure does. Moments are Unix seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from psapwatch.battery import SILENT, Row, Signature, in_words, outcome_of, tell_apart
from psapwatch.call_findings import Finding
from psapwatch.endpoint import REFERENCE, Path
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.look import Ground
from psapwatch.schedule import MESSAGES_PER_ATTEMPT
from psapwatch.tried import NEEDED
from psapwatch.variants import QUARANTINE
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from psapwatch.wanted import Wanted, of_firewall

FLOOD_SHARE: Final = 0.75
"""From this share of ``messages_per_second`` on, a second of ours may be taken for a flood."""
BEFORE_S: Final = 10.0
"""The busiest second is looked for so long before the first silence."""
SENT_MAX: Final = 2_048
"""Attempts remembered of an address: of those seconds and a call's patience, at 100 a second."""
HOLD_S: Final = 2.0
"""So long nobody is told while it is open whether another address passes."""
LOOKED_S: Final = 20.0
"""Another address has passed within so long; else nobody knows what is behind the firewall."""
LIFTS_WITHIN_S: Final = 360.0
"""Flood lists mostly block for up to five minutes; what lasts longer is for a human to lift."""
SLOW_S: Final = 3_600.0
"""We go on sending half as often for so long after it was lifted, then as before at once. To find
out whether the limit still stands costs minutes of sight, however slowly we come near to it."""

Phase = Literal["well", "suspect", "known", "not"]
"""Passing; silent, and it is open why; quarantined; silent for another reason."""


@dataclass(slots=True)
class _Address:
    """One of our addresses, as seen through one firewall."""

    phase: Phase = "well"
    passed_at: float = 0.0
    silent_since: float = 0.0
    silences: int = 0
    """In a row: none of them began before something passed."""
    suspected_at: float = 0.0
    busiest: int = 0
    """Messages in the busiest second before the first silence."""
    path: Path | None = None
    """The latest that was silent."""
    dark_until: float = 0.0
    """What began before then may have met a quarantine that is lifted by now."""
    slow_until: float = 0.0
    is_slow: bool = False
    sent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SENT_MAX))
    others: deque[tuple[Evidence, Outcome]] = field(default_factory=lambda: deque(maxlen=NEEDED))
    """What our other addresses came to, the newest last."""

    def passes(self, at: float, now: float) -> None:
        """Take that an attempt which began then got through."""
        self.passed_at = max(self.passed_at, at)
        if self.silences and at >= self.silent_since:
            self.dark_until = now if self.phase == "known" else self.dark_until
            self.phase, self.silences = "well", 0

    def falls_silent(self, path: Path, source: str, at: float, now: float) -> None:
        """Take that an attempt which began then was not answered."""
        if at <= self.passed_at:
            return
        self.silent_since = min(self.silent_since, at) if self.silences else at
        self.silences, self.path = self.silences + 1, path
        if self.phase == "well" and self.silences >= NEEDED:
            self.busiest = self._busiest_second()
            is_flood = self.busiest >= FLOOD_SHARE * path.firewall.limits.messages_per_second
            self.phase = "suspect" if is_flood and _has_another(path, source) else "not"
            self.suspected_at = now

    def _busiest_second(self) -> int:
        """How many messages we sent in the busiest second before the silence began."""
        begin, end = self.silent_since - BEFORE_S, self.silent_since
        sent = sorted(each for each in self.sent if begin <= each[0] < end)
        most = total = first = 0
        for at, messages in sent:
            total += messages
            while sent[first][0] <= at - 1.0:
                total -= sent[first][1]
                first += 1
            most = max(most, total)
        return most

    def signature(self) -> Signature | None:
        """What the rows that are known by now name together."""
        others = [came for each, came in self.others if each.started_at >= self.silent_since]
        outcomes: dict[Row, Outcome] = {"options": Outcome.FAIL, "own_rate": Outcome.PASS}
        if Outcome.FAIL in others or len(others) >= NEEDED:
            is_blocked = Outcome.FAIL in others
            outcomes["second_source"] = Outcome.FAIL if is_blocked else Outcome.PASS
        return tell_apart(outcomes)

    def judge(self, now: float, is_told: Callable[[Path], bool]) -> bool:
        """Decide what is open; return whether it has become known just now."""
        found = self.signature()
        is_named = found is not None and found.cause is Cause.PROBER_QUARANTINED
        before = self.phase
        if before == "suspect":
            is_open = 0.0 <= now - self.suspected_at < HOLD_S
            if not is_named:
                self.phase = "suspect" if is_open else "not"
            else:
                self.phase = "not" if self.path and is_told(self.path) else "known"
        elif before == "known":
            is_lasting = 0.0 <= now - self.silent_since < LIFTS_WITHIN_S
            is_looked = now - self.others[-1][0].started_at < LOOKED_S
            self.phase = "known" if is_named and is_lasting and is_looked else "not"
        if self.phase == "known":
            self.slow_until = now + SLOW_S
        return self.phase == "known" and before != "known"


class Quarantines:
    """Told of every attempt, it knows which of our addresses are quarantined where."""

    def __init__(self) -> None:
        self._addresses: dict[tuple[str, str], _Address] = {}

    def counted(self, path: Path, evidence: Evidence, verdict: Verdict, now: float) -> Verdict:
        """Take a scheduled attempt; return what it counts for: a failure in quarantine for none."""
        address = self._sent(evidence)
        if verdict.passed:
            address.passes(evidence.started_at, now)
        elif verdict.failed and verdict.cause is Cause.CALLS_BLOCKED:
            address.falls_silent(path, evidence.source, evidence.started_at, now)
        is_dark = address.phase == "known" or evidence.started_at < address.dark_until <= now
        if not (is_dark and verdict.failed and verdict.cause in SILENT):
            return verdict
        why = f"not counted, {evidence.source} is quarantined at {evidence.firewall}: {verdict.why}"
        return Verdict(Outcome.INCONCLUSIVE, Cause.PROBER_QUARANTINED, Plane.SELF, why)

    def tried(self, row: Row, evidence: Evidence, verdict: Verdict) -> None:
        """Take an attempt of the battery."""
        if row == "witness":
            return  # it goes through no firewall
        self._sent(evidence)
        outcome = outcome_of(row, verdict)
        if row != "second_source" or outcome is Outcome.INCONCLUSIVE:
            return
        for (firewall, source), address in self._addresses.items():
            if firewall == evidence.firewall and source != evidence.source:
                address.others.append((evidence, outcome))

    def review(
        self, now: float, is_told: Callable[[Path], bool]
    ) -> Iterator[tuple[Path, float, list[tuple[Row, Evidence]]]]:
        """Decide what is open; yields a path, since when, and rows for each address known anew.

        ``is_told``: whether a block that this path belongs to is told of already: then it stays so.
        """
        for (_firewall, source), address in self._addresses.items():
            address.is_slow = 0.0 < address.slow_until - now <= SLOW_S
            if address.phase in ("suspect", "known") and address.judge(now, is_told):
                path = address.path
                assert path is not None, "it fell silent on some path"
                asked = [each for each, _came in address.others if each.psap == REFERENCE]
                rows: list[tuple[Row, Evidence]] = [("second_source", each) for each in asked]
                rows.append(("own_rate", _own_rate(path, source, address)))
                yield path, address.silent_since, rows

    @property
    def is_pending(self) -> bool:
        """Whether it is open, for a moment, why an address is silent."""
        return any(each.phase == "suspect" for each in self._addresses.values())

    def asks(self, firewall: str) -> bool:
        """Whether it matters now what passes through this firewall from our other addresses."""
        return any(
            of == firewall and each.phase in ("suspect", "known")
            for (of, _source), each in self._addresses.items()
        )

    def hides(self, path: Path) -> bool:
        """Whether nothing that fails on this path proves anything."""
        address = self._addresses.get((path.firewall.id, path.leaves_from.address))
        return address is not None and address.phase == "known"

    def thins(self, path: Path) -> bool:
        """Whether to leave out every second attempt on this path."""
        address = self._addresses.get((path.firewall.id, path.leaves_from.address))
        return address is not None and address.is_slow

    def wanted(self, ground: Ground) -> list[Wanted]:
        """One ticket for each firewall that has an address of ours in quarantine."""
        return [
            of_firewall(
                firewall,
                "ticket",
                address.silent_since,
                {
                    "kind": QUARANTINE,
                    "source": source,
                    "busiest_second": address.busiest,
                    "because": in_words(found),
                },
                cause=found.cause,
                untested=tuple(
                    sorted(
                        ground.inside(("firewall", firewall)) & ground.inside(("source", source))
                    )
                ),
            )
            for (firewall, source), address in self._addresses.items()
            if address.phase == "known" and (found := address.signature()) is not None
        ]

    def _sent(self, evidence: Evidence) -> _Address:
        """The address that an attempt left from, which has sent its messages by now."""
        key = (evidence.firewall, evidence.source)
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = _Address()
        address.sent.append((evidence.started_at, MESSAGES_PER_ATTEMPT.get(evidence.probe, 0)))
        return address


def _has_another(path: Path, used: str) -> bool:
    """Whether another address of the same family leads through the firewall: else none can tell."""
    return any(
        each.address != used and (":" in each.address) == (":" in used)
        for each in path.firewall.sources
    )


def own_rate(evidence: Evidence) -> Finding | None:
    """What we had sent by then, where evidence has that: did it come near to a flood?"""
    seen = evidence.first(Kind.OWN_RATE)
    if seen is None:
        return None
    messages, limit = float(seen.get("messages") or 0.0), float(seen.get("limit") or 0.0)
    why = f"{messages:.0f} messages in one second; limits allow {limit:.0f}"
    outcome = Outcome.PASS if messages >= FLOOD_SHARE * limit else Outcome.INCONCLUSIVE
    return outcome, Cause.NONE, Plane.SELF, why


def _own_rate(path: Path, source: str, address: _Address) -> Evidence:
    """What we sent before the silence, kept as a row of the battery."""
    since, limit = address.silent_since, path.firewall.limits.messages_per_second
    seen = Observation(Kind.OWN_RATE, 0.0, {"messages": address.busiest, "limit": limit})
    return Evidence(
        attempt_id=f"own-rate-{source}-{since:.3f}",
        psap=path.psap.id,
        path=path.id,
        firewall=path.firewall.id,
        transport=path.transport,
        check="battery",
        probe="own_rate",
        leg="",
        source=source,
        call_id="",
        started_at=since,
        duration_s=0.0,
        observations=(seen,),
    )
