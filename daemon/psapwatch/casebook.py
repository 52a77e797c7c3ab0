"""The open incidents: what to open, change, merge and close (layer L1).

One failure, one page: identity is alertname + vantage + scope + member, never the cause. A bigger
domain takes the smaller ones' incidents in. An incident closes after ``rise`` passes and a clean
while; flapping meanwhile is one incident with a count. Moments are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from psapwatch.announced import Change, quoted
from psapwatch.described import SMALL, described, kinds_of, members_now
from psapwatch.endpoint import Path
from psapwatch.escalation import gives_way, is_nearly_as_much
from psapwatch.fault_domain import Scope, scopes_of
from psapwatch.incident import Incident, Notice
from psapwatch.look import Ground, Look, Muted, Standings, look_at
from psapwatch.pooled import Pools
from psapwatch.tried import Tried
from psapwatch.variants import (
    NAMES,
    OURS_ALONE,
    PASSING,
    wanted_names,
    wanted_rewrites,
    wanted_variants,
)
from psapwatch.verdict import Cause
from psapwatch.wanted import Wanted, wanted_domains, wanted_losses, wanted_psaps

SICK_SHARE: Final = 0.1
"""A domain is well again when no more than this share of its tested members fails."""

_FOLLOWED: Final = frozenset({"CallsBlocked", "CallsDegraded", "RedundancyLost", "Misrouted"})
"""Alerts whose life follows the standings; the others are withdrawn by whoever reported them."""
Identity = tuple[str, str, str, str]


@dataclass(slots=True)
class _Open:
    incident: Incident
    last_sick_at: float
    is_sick: bool = True


class Casebook:
    """Keeps the open incidents; ``review`` is called after attempts and every second."""

    def __init__(self, ground: Ground, new_id: Callable[[], str]) -> None:
        self.ground = ground
        self.tried = Tried()
        """What the battery has found out, for the causes of what is open."""
        self._changes: tuple[Change, ...] = ()
        self._new_id = new_id
        self._open: dict[Identity, _Open] = {}
        self._big: tuple[Scope, ...] = ()
        """The scopes of open incidents that take smaller ones in."""
        self._covering: dict[tuple[str, str], tuple[Scope, ...]] = {}
        """Path key and leg -> those that explain it; asked of every failing path in each review."""
        self._over: dict[Scope, float] = {}
        """When each bigger thing whose incident has closed was last sick."""

    def adopt(self, incidents: Iterable[Incident], now: float) -> None:
        """Take over the incidents that were open when the daemon stopped: no second page."""
        for incident in incidents:
            self._open[incident.identity] = _Open(incident, now)
        self._note_scopes()

    def stand_on(self, ground: Ground) -> None:
        """Judge over another configuration from now on."""
        self.ground = ground
        self._covering.clear()

    def quote(self, changes: tuple[Change, ...]) -> None:
        """Quote these changes from now on, also in what is open."""
        self._changes = changes

    @property
    def open(self) -> tuple[Incident, ...]:
        """The open incidents, oldest first."""
        found = (each.incident for each in self._open.values())
        return tuple(sorted(found, key=lambda incident: (incident.opened_at, incident.id)))

    @property
    def is_open(self) -> bool:
        """Whether any incident is open."""
        return bool(self._open)

    def covering(self, path: Path, leg: str = "") -> tuple[Scope, ...]:
        """The bigger scopes with an open incident that explain this path, or one leg of it."""
        if not self._big:
            return ()
        found = self._covering.get((path.key, leg))
        if found is None:
            scopes = self.ground.scopes_at(path, leg)
            found = tuple(scope for scope in self._big if scope in scopes)
            self._covering[path.key, leg] = found
        return found

    def is_covered(self, path: Path) -> bool:
        """Whether an open incident of a bigger scope already explains this path."""
        return bool(self.covering(path))

    def is_explained(self, path: Path, at: float) -> bool:
        """Whether a bigger incident explains a failure of ``at``, also one that is closed by now.

        Only an attempt made after the bigger thing was well again can say that a path is not.
        """
        if self.is_covered(path):
            return True
        scopes = self.ground.scopes.get(path.key) or scopes_of(path)
        return bool(self._over) and any(at <= self._over.get(scope, 0.0) for scope in scopes)

    @property
    def _unresolved(self) -> tuple[Scope, ...]:
        """The domains of open incidents whose names do not resolve."""
        found = (each.incident for each in self._open.values())
        return tuple(
            (each.scope, each.member) for each in found if each.evidence.get("kind") == NAMES
        )

    def is_in_block(self, path: Path) -> bool:
        """Whether a total block of something bigger that this path belongs to is open."""
        scopes = self.covering(path)
        return any(
            each.incident.alertname == "CallsBlocked"
            and (each.incident.scope, each.incident.member) in scopes
            for each in self._open.values()
        )

    def acknowledge(self, incident_id: str, by: str, now: float) -> Notice | None:
        """Note who has seen it."""
        for each in self._open.values():
            if each.incident.id == incident_id:
                each.incident = replace(each.incident, acknowledged=by, changed_at=now)
                return Notice("changed", each.incident, now)
        return None

    def report(self, wanted: Incident, now: float) -> Notice | None:
        """Open an incident that one attempt alone calls for (unsafe answer, certificate ...)."""
        known = self._open.get(wanted.identity)
        if known is not None:
            known.last_sick_at, before = now, known.incident
            if (before.cause, before.evidence) == (wanted.cause, wanted.evidence):
                return None
            known.incident = replace(
                before,
                cause=wanted.cause,
                summary=wanted.summary,
                evidence=wanted.evidence,
                changed_at=now,
            )
            return Notice("changed", known.incident, now)
        return self._begin(replace(wanted, id=self._new_id(), opened_at=now, changed_at=now), now)

    def withdraw(self, identity: Identity, now: float) -> Notice | None:
        """Close an incident that a human or a later attempt ended."""
        known = self._open.get(identity)
        return None if known is None else self._close(known, now)

    def review(
        self,
        standings: Standings,
        pools: Pools,
        now: float,
        *,
        muted: Muted = lambda _path: False,
        also: Iterable[Wanted] = (),
    ) -> list[Notice]:
        """Compare standings, pools and what is wanted ``also`` with what is open: return news."""
        ground = self.ground
        self._forget_what_lies_ahead(now)
        look = look_at(ground, standings, now, muted, self.is_explained)
        notices: list[Notice] = []
        variants = [
            *also,
            *wanted_variants(ground, standings, now),
            *wanted_rewrites(ground, standings),
            *wanted_names(ground, standings, self._unresolved, now),
        ]
        asked = {(each.member, each.evidence["kind"]) for each in variants}
        for wanted in (
            *wanted_domains(ground, look, pools),
            *wanted_losses(ground, look, pools),
            *variants,
        ):
            notices += self._want(wanted, look)
        if notices:
            pools.explained_by(self._big)
        pools.told(self._told_paths())
        for wanted in wanted_psaps(ground, look, pools, self.is_explained):
            notices += self._want(wanted, look)
        for known in list(self._open.values()):
            incident = known.incident
            is_asked = (incident.member, incident.evidence.get("kind")) in asked
            notices += self._follow(known, look, pools, is_asked=is_asked)
        return notices

    def _told_paths(self) -> set[str]:
        """Paths whose failure an open incident tells: nothing about it is open any more."""
        found = (each.incident for each in self._open.values())
        return {key for each in found if each.alertname in _FOLLOWED for key in each.affected}

    def _forget_what_lies_ahead(self, now: float) -> None:
        """A clock that was stepped back neither explains a failure of now nor keeps one open."""
        self._over = {scope: at for scope, at in self._over.items() if at <= now}
        for known in self._open.values():
            known.last_sick_at = min(known.last_sick_at, now)

    def _want(self, wanted: Wanted, look: Look) -> list[Notice]:
        """Open what is not open yet; a bigger incident takes the smaller ones in."""
        vantage = self.ground.vantage
        known = self._open.get((wanted.alertname, vantage, wanted.scope, wanted.member))
        if known is not None and not gives_way(known.incident, wanted):
            return []
        if self._is_told(wanted):
            return []
        incident = Incident(
            id=self._new_id(),
            alertname=wanted.alertname,
            severity=wanted.severity,
            vantage=vantage,
            scope=wanted.scope,
            member=wanted.member,
            psap=wanted.psap,
            firewall=wanted.firewall,
            cause=wanted.cause,
            summary="",
            opened_at=look.now,
            first_failure_at=wanted.since,
            changed_at=look.now,
            started_after=quoted(self._changes, wanted.since),
            affected=wanted.affected,
            unaffected=wanted.unaffected,
            untested=wanted.untested,
            evidence=dict(wanted.evidence),
        )
        gone = [] if known is None else [self._close(known, look.now)]
        opened = self._begin(described(self.ground, incident, look, self.tried), look.now)
        return [*gone, opened, *self._take_in(opened.incident, look.now)]

    def _is_told(self, wanted: Wanted) -> bool:
        """Whether what is open already says more, or has paged for nearly as much."""
        if wanted.alertname == "CallsBlocked":
            same = ("CallsDegraded", self.ground.vantage, wanted.scope, wanted.member)
            paged = self._open.get(same)
            return paged is not None and is_nearly_as_much(paged.incident, wanted)
        scope = (wanted.scope, wanted.member)
        blocked = (
            (each.incident.scope, each.incident.member)
            for each in self._open.values()
            if each.incident.alertname == "CallsBlocked"
        )
        return wanted.alertname == "CallsDegraded" and any(
            other == scope
            or (other[0] not in SMALL and self.ground.inside(other) & self.ground.inside(scope))
            for other in blocked
        )

    def _begin(self, incident: Incident, now: float) -> Notice:
        self._open[incident.identity] = _Open(incident, now)
        self._note_scopes()
        return Notice("open", incident, now)

    def _take_in(self, bigger: Incident, now: float) -> list[Notice]:
        """Close the incidents that a bigger one explains, as merged into it."""
        notices = []
        for each in list(self._open.values()):
            if each.incident is not bigger and self._explains(bigger, each.incident):
                each.incident = replace(each.incident, merged_into=bigger.id)
                notices.append(self._close(each, now))
        return notices

    def _explains(self, bigger: Incident, smaller: Incident) -> bool:
        if bigger.evidence.get("kind") in OURS_ALONE:
            return False
        if smaller.alertname == "CallsDegraded" and bigger.alertname == "CallsBlocked":
            return (smaller.scope, smaller.member) == (bigger.scope, bigger.member)
        if smaller.scope not in SMALL or smaller.alertname not in _FOLLOWED:
            return False
        if bigger.scope in SMALL:
            return smaller.alertname == "RedundancyLost" and smaller.psap == bigger.member
        scope = (bigger.scope, bigger.member)
        return all(scope in self.ground.scopes.get(key, ()) for key in smaller.affected)

    def _follow(self, known: _Open, look: Look, pools: Pools, *, is_asked: bool) -> list[Notice]:
        """Bring one open incident up to date: it grows, flaps, is refined, or closes."""
        incident = known.incident
        if incident.alertname not in _FOLLOWED:
            return []
        failing, passing, untested = members_now(self.ground, incident, look, pools)
        changed = incident
        is_sick = is_asked or pools.is_sick((incident.scope, incident.member), kinds_of(incident))
        if incident.alertname != "CallsDegraded" or "loss" not in incident.evidence:
            is_sick = is_sick or len(failing) > SICK_SHARE * (len(failing) + len(passing))
        if is_sick:
            known.last_sick_at = look.now
            if _explains_paths(incident):  # small ones say from the first which paths are left
                affected = tuple(sorted({*incident.affected, *failing}))
                changed = replace(
                    incident, affected=affected, unaffected=passing, untested=untested
                )
            since = quoted(self._changes, incident.first_failure_at)
            changed = replace(changed, started_after=since)
            if incident.evidence.get("kind") not in PASSING:  # whose cause is no failure's
                changed = described(self.ground, changed, look, self.tried)
        if is_sick != known.is_sick:
            known.is_sick = is_sick
            changed = replace(changed, changes=incident.changes + 1)
        elif not is_sick and look.now - known.last_sick_at >= self.ground.clean_s:
            return [self._close(known, look.now)]
        known.incident = changed
        if _told(changed) == _told(incident):
            return []
        known.incident = replace(changed, changed_at=look.now)
        return [Notice("changed", known.incident, look.now)]

    def _close(self, known: _Open, now: float) -> Notice:
        del self._open[known.incident.identity]
        self._note_scopes()
        if _explains_paths(known.incident):
            self._over[known.incident.scope, known.incident.member] = known.last_sick_at
        return Notice("closed", replace(known.incident, closed_at=now, changed_at=now), now)

    def _note_scopes(self) -> None:
        found = (each.incident for each in self._open.values())
        self._big = tuple((each.scope, each.member) for each in found if _explains_paths(each))
        self._covering.clear()


def _explains_paths(incident: Incident) -> bool:
    """Whether an incident is of something bigger that explains failures of paths to PSAPs."""
    return incident.scope not in SMALL and incident.evidence.get("kind") not in OURS_ALONE


def _told(incident: Incident) -> tuple[Cause, int, int, tuple[str, ...]]:
    """What is worth telling again while an incident is open: a list that has doubled is."""
    size = len(incident.affected).bit_length()
    return incident.cause, size, incident.changes, incident.started_after
