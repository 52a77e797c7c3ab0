"""The open incidents: what to open, change, merge and close, and in what words (layer L1).

One failure, one page: identity is alertname + vantage + scope + member, never the cause. A bigger
domain takes the smaller ones' incidents in. An incident closes after ``rise`` passes and a clean
while; flapping meanwhile is one incident with a count. Moments are Unix seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from psapwatch.detection import Standing, State
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path
from psapwatch.fault_domain import FaultDomain, Member, Scope, explain, scopes_of
from psapwatch.incident import Incident, Notice, Severity, Status
from psapwatch.verdict import Cause
from psapwatch.wording import summary_of

SETTLE_S: Final = 5.0
"""A PSAP's own incident waits this long for its neighbours, so that a firewall is told once."""
SICK_SHARE: Final = 0.1
"""A domain is well again when no more than this share of its tested members fails."""
CLOSED_MAX: Final = 200
"""Identities remembered after closing, so that a flapping one keeps its first id."""
CERTIFICATE_TICKET_S: Final = 30 * 86_400.0

Standings = Mapping[tuple[str, str], Mapping[str, Standing]]
"""(path key, check name) -> leg -> standing."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the casebook judges over: the paths, the checks, and who runs what."""

    vantage: str
    runs: tuple[tuple[Path, Check], ...]
    clean_s: float = 300.0


@dataclass(slots=True)
class _Open:
    incident: Incident
    last_sick_at: float
    is_sick: bool = True


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An incident that the present standings ask for."""

    alertname: str
    severity: Severity
    scope: str
    member: str
    psap: str
    firewall: str
    since: float
    affected: tuple[str, ...]
    unaffected: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """One review's view of the standings: the best leg of each path, by kind of check."""

    now: float
    best: dict[tuple[str, str], Standing] = field(default_factory=dict)
    members: dict[str, list[Member]] = field(default_factory=dict)


class Casebook:
    """Keeps the open incidents; ``review`` is called after attempts and every second."""

    def __init__(self, ground: Ground, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._open: dict[tuple[str, str, str, str], _Open] = {}
        self.rebase(ground)

    def rebase(self, ground: Ground) -> None:
        """Judge over another configuration; open incidents stay."""
        self._ground = ground
        self._paths = {path.key: path for path, _check in ground.runs}
        self._scopes = {path.key: scopes_of(path) for path, _check in ground.runs}

    def adopt(self, incidents: Iterable[Incident], now: float) -> None:
        """Take over the incidents that were open when the daemon stopped: no second page."""
        for incident in incidents:
            self._open[incident.identity] = _Open(incident, now)

    @property
    def open(self) -> tuple[Incident, ...]:
        """The open incidents, oldest first."""
        return tuple(
            sorted((each.incident for each in self._open.values()), key=lambda i: (i.opened_at, i.id))
        )

    def is_covered(self, path: Path) -> bool:
        """Whether an open incident of a bigger scope already explains this path."""
        scopes = self._scopes.get(path.key) or scopes_of(path)
        return any(
            (each.incident.scope, each.incident.member) in scopes
            for each in self._open.values()
            if each.incident.scope not in ("psap", "path")
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
            known.last_sick_at = now
            return None
        incident = replace(wanted, id=self._new_id(), opened_at=now, changed_at=now)
        self._open[incident.identity] = _Open(incident, now)
        return Notice("open", incident, now)

    def withdraw(self, identity: tuple[str, str, str, str], now: float) -> Notice | None:
        """Close an incident that a human or a later attempt ended."""
        known = self._open.pop(identity, None)
        return None if known is None else self._close(known, now)

    def review(
        self, standings: Standings, now: float, *, muted: Callable[[Path], bool] = lambda _path: False
    ) -> list[Notice]:
        """Compare the standings with the open incidents and return what to tell."""
        if not self._open and not any(
            leg.is_failing for legs in standings.values() for leg in legs.values()
        ):
            return []
        look = self._look(standings, now, muted)
        notices: list[Notice] = []
        for wanted in self._domains(look, now):
            notices += self._want(wanted, look, now)
        for wanted in self._psaps(look, now):
            notices += self._want(wanted, look, now)
        for known in list(self._open.values()):
            notices += self._follow(known, look, now)
        return notices

    # ---- what the standings ask for

    def _look(self, standings: Standings, now: float, muted: Callable[[Path], bool]) -> _Look:
        look = _Look(now)
        for path, check in self._ground.runs:
            legs = standings.get((path.key, check.name))
            if not legs:
                continue
            best = min(legs.values(), key=lambda leg: (leg.is_failing, leg.state is State.UNKNOWN))
            kind = "call" if check.is_call else "options"
            key = (path.key, kind)
            look.best[key] = _worse(look.best.get(key), best)
            if path.psap.id in (REFERENCE, CONTROL) or (best.is_failing and muted(path)):
                continue
            look.members.setdefault(kind, []).append(
                Member(
                    path.key, self._scopes[path.key], best.failing_since, best.last_at, best.is_failing
                )
            )
        return look

    def _domains(self, look: _Look, now: float) -> list[_Wanted]:
        found: dict[Scope, dict[str, FaultDomain]] = {}
        for kind, members in look.members.items():
            for domain in explain(members, now):
                if domain.scope != "psap":
                    found.setdefault((domain.scope, domain.member), {})[kind] = domain
        return [self._of_domain(scope, kinds, look) for scope, kinds in found.items()]

    def _of_domain(self, scope: Scope, kinds: Mapping[str, FaultDomain], look: _Look) -> _Wanted:
        domain = kinds.get("call") or kinds["options"]
        calls_pass = "call" not in kinds and any(
            not each.is_failing and each.last_at > domain.since and scope in each.scopes
            for each in look.members.get("call", ())
        )
        firewalls = {self._paths[key].firewall.id for key in domain.failing}
        return _Wanted(
            alertname="CallsDegraded" if calls_pass else "CallsBlocked",
            severity="ticket" if calls_pass else "page",
            scope=scope[0],
            member=scope[1],
            psap="",
            firewall=next(iter(firewalls)) if len(firewalls) == 1 else "",
            since=min(each.since for each in kinds.values()),
            affected=domain.failing,
            unaffected=domain.passing,
            untested=domain.untested,
            kinds=tuple(sorted(kinds)),
        )

    def _psaps(self, look: _Look, now: float) -> list[_Wanted]:
        """PSAPs with a path that is down and that no bigger incident explains."""
        down: dict[str, list[str]] = {}
        for (key, kind), standing in look.best.items():
            path = self._paths[key]
            since = standing.failing_since
            if (
                standing.state is State.DOWN
                and path.psap.id not in (REFERENCE, CONTROL)
                and since is not None
                and now >= since + SETTLE_S
                and not self.is_covered(path)
            ):
                down.setdefault(path.psap.id, []).append(f"{key}\n{kind}")
        return [wanted for psap, keys in down.items() for wanted in self._of_psap(psap, keys, look)]

    def _of_psap(self, psap: str, down: Sequence[str], look: _Look) -> list[_Wanted]:
        kinds = {key: kind for key, _nl, kind in (each.partition("\n") for each in sorted(down))}
        all_paths = sorted({path.key for path, _check in self._ground.runs if path.psap.id == psap})
        alive = [key for key in all_paths if key not in kinds]
        wanted = []
        if not alive:
            firewalls = {self._paths[key].firewall.id for key in all_paths}
            causes = {look.best[key, kind].cause for key, kind in kinds.items()}
            name = "Misrouted" if causes == {Cause.MISROUTED} else "CallsBlocked"
            firewall = next(iter(firewalls)) if len(firewalls) == 1 else ""
            since = min(look.best[key, kind].failing_since or look.now for key, kind in kinds.items())
            wanted.append(
                _Wanted(
                    name, "page", "psap", psap, psap, firewall, since, tuple(all_paths), kinds=tuple(sorted(set(kinds.values())))
                )
            )
        else:
            for key, kind in kinds.items():
                since = look.best[key, kind].failing_since or look.now
                firewall = self._paths[key].firewall.id
                wanted.append(
                    _Wanted("RedundancyLost", "ticket", "path", key, psap, firewall, since, (key,), tuple(alive), kinds=(kind,))
                )
        return wanted

    # ---- opening, following, closing

    def _want(self, wanted: _Wanted, look: _Look, now: float) -> list[Notice]:
        identity = (wanted.alertname, self._ground.vantage, wanted.scope, wanted.member)
        known = self._open.get(identity)
        if known is not None:
            return []
        incident = self._described(
            Incident(
                id=self._new_id(),
                alertname=wanted.alertname,
                severity=wanted.severity,
                vantage=self._ground.vantage,
                scope=wanted.scope,
                member=wanted.member,
                psap=wanted.psap,
                firewall=wanted.firewall,
                cause=Cause.UNKNOWN,
                summary="",
                opened_at=now,
                first_failure_at=wanted.since,
                changed_at=now,
                affected=wanted.affected,
                unaffected=wanted.unaffected,
                untested=wanted.untested,
            ),
            look,
        )
        self._open[identity] = _Open(incident, now)
        return [Notice("open", incident, now), *self._take_in(incident, now)]

    def _take_in(self, bigger: Incident, now: float) -> list[Notice]:
        """Close the incidents that a bigger one explains, as merged into it."""
        if bigger.scope in ("psap", "path"):
            smaller = [
                each
                for each in self._open.values()
                if bigger.scope == "psap"
                and each.incident.alertname == "RedundancyLost"
                and each.incident.psap == bigger.psap
            ]
        else:
            scope = (bigger.scope, bigger.member)
            smaller = [
                each
                for each in self._open.values()
                if each.incident.scope in ("psap", "path")
                and each.incident.alertname in ("CallsBlocked", "RedundancyLost")
                and all(scope in self._scopes.get(key, ()) for key in each.incident.affected)
            ]
        notices = []
        for each in smaller:
            each.incident = replace(each.incident, merged_into=bigger.id)
            del self._open[each.incident.identity]
            notices.append(self._close(each, now))
        return notices

    def _follow(self, known: _Open, look: _Look, now: float) -> list[Notice]:
        incident = known.incident
        if incident.alertname not in ("CallsBlocked", "CallsDegraded", "RedundancyLost", "Misrouted"):
            return []
        failing, passing, untested = self._members_now(incident, look)
        sick = len(failing) > SICK_SHARE * (len(failing) + len(passing))
        status: Status = "changed"
        changed = replace(incident)
        if sick:
            known.last_sick_at = now
            grown = tuple(sorted({*incident.affected, *failing}))
            changed = self._described(
                replace(incident, affected=grown, unaffected=passing, untested=untested), look
            )
        if sick != known.is_sick:
            known.is_sick = sick
            changed = replace(changed, changes=incident.changes + 1, changed_at=now)
        elif not sick and now - known.last_sick_at >= self._ground.clean_s:
            del self._open[incident.identity]
            return [self._close(known, now)]
        if changed == incident:
            return []
        told = (changed.cause, len(changed.affected), changed.changes)
        before = (incident.cause, len(incident.affected), incident.changes)
        known.incident = changed if told == before else replace(changed, changed_at=now)
        return [] if told == before else [Notice(status, known.incident, now)]

    def _close(self, known: _Open, now: float) -> Notice:
        known.incident = replace(known.incident, closed_at=now, changed_at=now)
        return Notice("closed", known.incident, now)

    def _members_now(
        self, incident: Incident, look: _Look
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Failing, passing and untested path keys of an incident's domain, as they stand now."""
        inside = self._inside(incident)
        states: dict[str, list[Standing]] = {}
        for (key, _kind), standing in look.best.items():
            if key in inside:
                states.setdefault(key, []).append(standing)
        failing = {key for key, found in states.items() if any(each.is_failing for each in found)}
        passing = {
            key
            for key, found in states.items()
            if key not in failing and any(each.last_at > incident.first_failure_at for each in found)
        }
        return tuple(sorted(failing)), tuple(sorted(passing)), tuple(sorted(inside - failing - passing))

    def _inside(self, incident: Incident) -> set[str]:
        """The configured paths to PSAPs that an incident speaks of."""
        if incident.scope in ("psap", "path"):
            return {key for key in incident.affected if key in self._paths}
        scope = (incident.scope, incident.member)
        return {
            key
            for key, scopes in self._scopes.items()
            if scope in scopes and self._paths[key].psap.id not in (REFERENCE, CONTROL)
        }

    def _described(self, incident: Incident, look: _Look) -> Incident:
        """The incident with its cause, its last pass and its sentence from the present standings."""
        inside = self._inside(incident)
        by_kind: dict[str, list[Standing]] = {}
        for (key, kind), standing in look.best.items():
            if key in inside:
                by_kind.setdefault(kind, []).append(standing)
        cause = common_cause(by_kind, incident.first_failure_at)
        passes = [leg.last_pass_at for found in by_kind.values() for leg in found if leg.last_pass_at]
        behind = {self._paths[key].psap.id for key in inside}
        changed = replace(
            incident,
            cause=incident.cause if cause is Cause.UNKNOWN else cause,
            last_pass_at=max(passes, default=None),
        )
        return replace(changed, summary=summary_of(changed, by_kind, len(behind)))


def _worse(known: Standing | None, new: Standing) -> Standing:
    """The worse of two checks of one kind on a path."""
    if known is None:
        return new
    rank = (State.UNKNOWN, State.UP, State.DEGRADED, State.SUSPECT, State.DOWN)
    return max(known, new, key=lambda standing: rank.index(standing.state))


def common_cause(by_kind: Mapping[str, Sequence[Standing]], since: float) -> Cause:
    """The cause that most failing standings name; silent calls beside passing OPTIONS are a pattern.

    One attempt alone never says ``invite_blocked``: it takes OPTIONS of the same domain that pass
    after the calls began to fail. ICMP is rate-limited: one prohibition explains much silence.
    """
    failing = [leg for found in by_kind.values() for leg in found if leg.is_failing]
    if not failing:
        return Cause.UNKNOWN
    named = Counter(leg.cause for leg in failing)
    cause = named.most_common(1)[0][0]
    if cause is Cause.CALLS_BLOCKED and Cause.EXPLICIT_REJECT in named:
        return Cause.EXPLICIT_REJECT
    options = by_kind.get("options", ())
    passing = sum(not leg.is_failing and leg.last_at > since for leg in options)
    calls_only = not any(leg.is_failing for leg in options)
    if cause is Cause.CALLS_BLOCKED and passing and calls_only:
        return Cause.INVITE_BLOCKED
    return cause
