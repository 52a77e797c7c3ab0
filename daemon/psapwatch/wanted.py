"""Which incidents the present standings ask for: domains first, then what they leave (layer L1).

Pure functions of a ``look.Look``; ``casebook`` compares the outcome with what is open already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from psapwatch.detection import State
from psapwatch.endpoint import Path
from psapwatch.fault_domain import FaultDomain, Scope, explain
from psapwatch.incident import Severity
from psapwatch.look import Ground, Look, StandingKind, held_by, other_family_passes, seen_at
from psapwatch.pooled import SURE, Finding, Pools
from psapwatch.verdict import Cause

SETTLE_S: Final = 5.0
"""A PSAP's own incident waits this long for its neighbours, so that a firewall is told once."""

PATIENCE_S: Final = 45.0
"""... and this long while it may be bad luck: one path's, or since its firewall loses calls."""
TOTAL_LOSS: Final = 0.9
"""A share of failures from which a domain's calls count as blocked."""

IN_A_ROW: Final = 4
"""A path that failed so often in a row waits no longer. Chance does that once in ten thousand times
where a tenth is lost, and what loses more is known by then; where half a percent fails at random,
two OPTIONS of one of 204 PSAPs fail in a row once an hour, four once in years."""


@dataclass(frozen=True, slots=True)
class Wanted:
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
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    """The numbers of a pooled finding."""
    cause: Cause = Cause.UNKNOWN
    """Where it is known from the first; otherwise the failures name it."""


def of_firewall(
    firewall: str,
    severity: Severity,
    since: float,
    evidence: Mapping[str, float | str],
    *,
    cause: Cause = Cause.UNKNOWN,
    untested: tuple[str, ...] = (),
) -> Wanted:
    """An incident of a firewall that no path of a PSAP shows: callers may not have met it yet."""
    return Wanted(
        *("CallsDegraded", severity, "firewall", firewall, "", firewall, since, ()),
        untested=untested,
        evidence=evidence,
        cause=cause,
    )


def wanted_domains(ground: Ground, look: Look, pools: Pools) -> list[Wanted]:
    """One incident for each bigger thing that explains failing paths."""
    found: dict[Scope, dict[str, FaultDomain]] = {}
    shares = shares_of(pools)
    for kind, members in look.members.items():
        for domain in explain(members, look.now):
            scope = (domain.scope, domain.member)
            legs = (look.best[key, kind] for key in domain.failing)
            failures = sum(min(leg.failures, IN_A_ROW) for leg in legs)
            is_luck = is_chance(pools.elsewhere(kind, scope), failures)
            is_luck = is_luck or is_chance(shares.get(scope, 1.0), len(domain.failing))
            if domain.scope != "psap" and not is_luck:
                found.setdefault(scope, {})[kind] = domain
    return [
        _of_domain(ground, look, scope, kinds)
        for scope, kinds in found.items()
        if (kinds.keys() != {"kept"} or _new_flows_pass(look, scope, kinds["kept"].since))
        and not _is_part(ground, look, scope, found)
    ]


def shares_of(pools: Pools) -> dict[Scope, float]:
    """The share that each sick domain loses, by that kind of attempt which loses least."""
    found: dict[Scope, float] = {}
    for finding in pools.findings():
        if finding.kind in ("call", "options") and finding.failures:
            found[finding.scope] = min(finding.loss, found.get(finding.scope, 1.0))
    return found


def is_chance(share: float, failures: int) -> bool:
    """Whether so many failures and no pass may be bad luck where this share is lost anyway."""
    return 0.0 < share < TOTAL_LOSS and -math.log(share) * failures < SURE


def _is_part(
    ground: Ground, look: Look, scope: Scope, found: Mapping[Scope, Mapping[str, FaultDomain]]
) -> bool:
    """Whether this is inside of something through which no call passes, as other checks show."""
    return any(
        kinds.keys() != {"kept"}
        and ground.inside(scope) < ground.inside(wider)
        and not any(_passes(look, "call", wider, domain.since) for domain in kinds.values())
        for wider, kinds in found.items()
    )


def wanted_losses(ground: Ground, look: Look, pools: Pools) -> list[Wanted]:
    """Incidents for domains that lose a part of their calls or packets.

    A domain that loses all OPTIONS while calls pass has its ticket from ``wanted_domains``.
    """
    shares = shares_of(pools)
    return [
        _of_finding(ground, look, finding, severity, shares.get(finding.scope, 1.0))
        for finding in pools.findings()
        if (severity := finding.severity) is not None
        and not (
            finding.kind == "options"
            and finding.loss >= TOTAL_LOSS
            and _passes(look, "call", finding.scope, finding.since)
        )
        and (finding.kind != "kept" or _new_flows_pass(look, finding.scope, finding.since))
        and not _is_cut_off(ground, look, finding)
    ]


def _is_cut_off(ground: Ground, look: Look, finding: Finding) -> bool:
    """Whether all that fails is dead behind one firewall of several: no share of it is lost.

    Those paths are told one by one, as redundancy that is lost (detection.md 4).
    """
    legs = [
        (ground.paths[key].firewall.id, leg)
        for key in held_by(ground, look, finding.scope) - look.muted
        if (leg := look.best.get((key, finding.kind))) is not None
    ]
    failing = {firewall for firewall, leg in legs if leg.is_failing}
    if len(failing) != 1 or failing == {firewall for firewall, _leg in legs}:
        return False
    return not any(
        firewall in failing and not leg.is_failing and leg.last_at > finding.since
        for firewall, leg in legs
    )


def wanted_psaps(
    ground: Ground, look: Look, pools: Pools, is_explained: Callable[[Path, float], bool]
) -> list[Wanted]:
    """Incidents for PSAPs with a path that is down and that no bigger incident explains.

    A path whose last attempt passed is on its way up: the end of an outage is no new failure.
    While it is open whether it is bad luck, or one reason for several, they wait, ``PATIENCE_S`` at
    most; calls, one in five minutes, are told after two.
    """
    down: dict[str, dict[str, str]] = {}
    for (key, kind), standing in look.best.items():
        since = standing.failing_since
        if kind == "kept":
            continue  # one PSAP's old flow is no reason to wake anybody: new ones are judged
        if standing.state is not State.DOWN or not standing.last_failed or since is None:
            continue
        if ground.is_ours(key) or is_explained(ground.paths[key], seen_at(standing, look.now)):
            continue
        is_sure = standing.failures >= IN_A_ROW
        waits = not is_sure and (kind == "options" or any(map(pools.is_shared, ground.scopes[key])))
        if look.now >= since + (PATIENCE_S if waits else SETTLE_S):
            down.setdefault(ground.paths[key].psap.id, {})[key] = kind
    return [
        want
        for psap, kinds in down.items()
        if kinds.keys() - look.muted  # beyond what was announced
        for want in _of_psap(ground, look, psap, kinds)
    ]


def _of_domain(
    ground: Ground, look: Look, scope: Scope, kinds: Mapping[str, FaultDomain]
) -> Wanted:
    """OPTIONS that fail while calls through the same thing pass are a ticket, not a page."""
    domain = kinds.get("call") or kinds.get("options") or kinds["kept"]
    is_old = kinds.keys() == {"kept"}
    calls_pass = is_old or ("call" not in kinds and _passes(look, "call", scope, domain.since))
    return Wanted(
        alertname="CallsDegraded" if calls_pass else "CallsBlocked",
        severity="ticket" if calls_pass else "page",
        scope=scope[0],
        member=scope[1],
        psap="",
        firewall=_only_firewall(ground, domain.failing),
        since=min(each.since for each in kinds.values()),
        affected=domain.failing,
        unaffected=domain.passing,
        untested=domain.untested,
        evidence={"kind": "kept"} if is_old else {},
    )


def _passes(look: Look, kind: StandingKind, scope: Scope, since: float) -> bool:
    """Whether an attempt of this kind through this domain has passed since it began to fail."""
    return any(
        not each.is_failing and each.last_at > since and scope in each.scopes
        for each in look.members.get(kind, ())
    )


def _new_flows_pass(look: Look, scope: Scope, since: float) -> bool:
    """Whether only old flows fail here: as long as nobody knows, they are no incident."""
    return _passes(look, "options", scope, since) or _passes(look, "call", scope, since)


def _of_finding(
    ground: Ground, look: Look, finding: Finding, severity: Severity, share: float
) -> Wanted:
    is_total = finding.kind in ("call", "options") and finding.loss >= TOTAL_LOSS
    is_total = is_total and not is_chance(share, finding.failures)
    is_one_leg = other_family_passes(look, finding.scope)
    if is_one_leg:  # who has lost one of two legs is still called over the other
        is_total, severity = False, "ticket"
    inside = held_by(ground, look, finding.scope)
    legs = look.families.get(finding.scope[1]) if finding.scope[0] == "family" else None
    if legs is not None:
        failing = {key for key, fails in legs.items() if fails}
    else:
        failing = {key for (key, _), leg in look.best.items() if key in inside and leg.is_failing}
    return Wanted(
        alertname="CallsBlocked" if is_total else "CallsDegraded",
        severity=severity,
        scope=finding.scope[0],
        member=finding.scope[1],
        psap="",
        firewall=_only_firewall(ground, sorted(inside)),
        since=finding.since,
        affected=tuple(sorted(failing)),
        evidence={
            "kind": finding.kind,
            "loss": round(finding.loss, 4),
            "samples": finding.samples,
            "failures": finding.failures,
        },
    )


def _of_psap(ground: Ground, look: Look, psap: str, kinds: Mapping[str, str]) -> list[Wanted]:
    """``CallsBlocked`` when every path of the PSAP is down, else ``RedundancyLost`` for each.

    Where only OPTIONS fail and calls have passed since, it is a ticket, as for a bigger domain.
    """
    keys = sorted(key for key, path in ground.paths.items() if path.psap.id == psap)
    alive = tuple(key for key in keys if key not in kinds)
    since = {key: look.best[key, kind].failing_since or look.now for key, kind in kinds.items()}
    if alive:
        return [
            Wanted(
                "RedundancyLost",
                "ticket",
                "path",
                key,
                psap,
                ground.paths[key].firewall.id,
                since[key],
                (key,),
                alive,
            )
            for key in kinds
            if key not in look.muted
        ]
    causes = {look.best[key, kind].cause for key, kind in kinds.items()}
    calls = [look.best.get((key, "call")) for key in kinds]
    onset = max(since.values())
    calls_pass = all(leg and not leg.is_failing and leg.last_at > onset for leg in calls)
    blocked = "CallsDegraded" if calls_pass else "CallsBlocked"
    return [
        Wanted(
            "Misrouted" if causes == {Cause.MISROUTED} else blocked,
            "ticket" if calls_pass else "page",
            "psap",
            psap,
            psap,
            _only_firewall(ground, keys),
            min(since.values()),
            tuple(keys),
        )
    ]


def _only_firewall(ground: Ground, keys: Sequence[str]) -> str:
    """The firewall of all these paths, if it is exactly one."""
    firewalls = {ground.paths[key].firewall.id for key in keys}
    return firewalls.pop() if len(firewalls) == 1 else ""
