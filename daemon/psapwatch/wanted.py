"""Which incidents the present standings ask for: domains first, then what they leave (layer L1).

Pure functions of a ``Look``; ``casebook`` compares the outcome with what is open already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from psapwatch.battery import is_variant
from psapwatch.detection import FAILING, WORST_LAST, Standing, State
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path
from psapwatch.fault_domain import FaultDomain, Member, Scope, explain, scopes_of
from psapwatch.incident import Severity
from psapwatch.pooled import Finding, Pools
from psapwatch.verdict import Cause

SETTLE_S: Final = 5.0
"""A PSAP's own incident waits this long for its neighbours, so that a firewall is told once."""

PATIENCE_S: Final = 45.0
"""... and this long while it is open whether the firewall loses calls."""
TOTAL_LOSS: Final = 0.9
"""A share of failures from which a domain's calls count as blocked."""

StandingKind = Literal["call", "options", "kept"]
Standings = Mapping[tuple[str, str], Mapping[str, Standing]]
"""(path key, check name) -> leg -> standing."""
Muted = Callable[[Path], bool]


class Run(NamedTuple):
    """One check on one path, under the names that standings and looks have for it."""

    path: Path
    of_check: tuple[str, str]
    of_kind: tuple[str, str]
    is_plain: bool
    """Whether it asks what callers ask, and nothing of our own responder alone."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is judged over: the paths with their checks, and how long "clean" lasts."""

    vantage: str
    runs: tuple[tuple[Path, Check], ...]
    clean_s: float = 300.0
    paths: Mapping[str, Path] = field(init=False)
    scopes: Mapping[str, frozenset[Scope]] = field(init=False)
    rows: tuple[Run, ...] = field(init=False)
    """The runs as a review walks them, several times a second: nothing is worked out again."""
    variants: tuple[tuple[Path, Check], ...] = field(init=False)
    """Checks that ask our own responders what no PSAP is asked."""
    _ours: frozenset[str] = field(init=False)
    _inside: Mapping[Scope, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        paths = {path.key: path for path, _check in self.runs}
        ours = frozenset(key for key, path in paths.items() if path.psap.id in (REFERENCE, CONTROL))
        scopes = {key: scopes_of(path) for key, path in paths.items()}
        inside: dict[Scope, set[str]] = {}
        for key in paths.keys() - ours:
            for scope in scopes[key]:
                inside.setdefault(scope, set()).add(key)
        rows = tuple(
            Run(
                path,
                (path.key, check.name),
                (path.key, standing_kind(check)),
                not is_variant(path, check),
            )
            for path, check in self.runs
        )
        for name, value in (
            ("paths", paths),
            ("scopes", scopes),
            ("rows", rows),
            ("variants", tuple(run for run in self.runs if is_variant(*run))),
            ("_ours", ours),
            ("_inside", {scope: frozenset(keys) for scope, keys in inside.items()}),
        ):
            object.__setattr__(self, name, value)

    def is_ours(self, key: str) -> bool:
        """Whether a path leads to a responder of our own."""
        return key in self._ours

    def inside(self, scope: Scope) -> frozenset[str]:
        """The paths to PSAPs that a domain holds."""
        return self._inside.get(scope, frozenset())


@dataclass(frozen=True, slots=True)
class Look:
    """One review's view of the standings: the best leg of each path, by kind of check."""

    now: float
    best: Mapping[tuple[str, str], Standing]
    """(path key, ``call``, ``options`` or ``kept``) -> the worst of such checks."""
    members: Mapping[str, Sequence[Member]]
    muted: frozenset[str] = frozenset()
    """Failing paths that a maintenance window names."""


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


def standing_kind(check: Check) -> StandingKind:
    """What a check's standings speak of; old flows are judged apart from new ones."""
    return "call" if check.is_call else "kept" if check.flow == "kept" else "options"


def look_at(
    ground: Ground, standings: Standings, now: float, muted: Muted, is_covered: Muted
) -> Look:
    """Reduce the standings to what a review needs; failing paths that are muted do not count."""
    best: dict[tuple[str, str], Standing] = {}
    members: dict[str, list[Member]] = {}
    named: set[str] = set()
    for path, of_check, of_kind, _is_plain in ground.rows:
        legs = standings.get(of_check)
        if not legs:
            continue
        if len(legs) == 1:
            (leg,) = legs.values()
        else:
            leg = min(legs.values(), key=_leg_badness)
        known = best.get(of_kind)
        best[of_kind] = leg if known is None else max(known, leg, key=_badness)
        key, kind = of_kind
        is_failing = leg.state in FAILING
        if is_failing and muted(path):
            named.add(key)
        elif not ground.is_ours(key):
            members.setdefault(kind, []).append(
                Member(
                    key,
                    ground.scopes[key],
                    leg.failing_since,
                    leg.last_at,
                    is_failing,
                    is_failing and is_covered(path),
                )
            )
    return Look(now, best, members, frozenset(named))


def wanted_domains(ground: Ground, look: Look) -> list[Wanted]:
    """One incident for each bigger thing that explains failing paths."""
    found: dict[Scope, dict[str, FaultDomain]] = {}
    for kind, members in look.members.items():
        for domain in explain(members, look.now):
            if domain.scope != "psap":
                found.setdefault((domain.scope, domain.member), {})[kind] = domain
    return [
        _of_domain(ground, look, scope, kinds)
        for scope, kinds in found.items()
        if kinds.keys() != {"kept"} or _new_flows_pass(look, scope, kinds["kept"].since)
    ]


def wanted_losses(ground: Ground, look: Look, pools: Pools) -> list[Wanted]:
    """Incidents for domains that lose a part of their calls or packets.

    A domain that loses all OPTIONS while calls pass has its ticket from ``wanted_domains``.
    """
    return [
        _of_finding(ground, look, finding, severity)
        for finding in pools.findings()
        if (severity := finding.severity) is not None
        and not (
            finding.kind == "options"
            and finding.loss >= TOTAL_LOSS
            and _passes(look, "call", finding.scope, finding.since)
        )
        and (finding.kind != "kept" or _new_flows_pass(look, finding.scope, finding.since))
    ]


def wanted_psaps(
    ground: Ground, look: Look, pools: Pools, is_explained: Callable[[Path, float], bool]
) -> list[Wanted]:
    """Incidents for PSAPs with a path that is down and that no bigger incident explains.

    A path whose last attempt passed is on its way up: the end of an outage is no new failure.
    While it is open whether several paths fail for one reason they wait, ``PATIENCE_S`` at most.
    """
    down: dict[str, dict[str, str]] = {}
    for (key, kind), standing in look.best.items():
        since = standing.failing_since
        if kind == "kept":
            continue  # one PSAP's old flow is no reason to wake anybody: new ones are judged
        if standing.state is not State.DOWN or not standing.last_failed or since is None:
            continue
        if ground.is_ours(key) or is_explained(ground.paths[key], standing.last_at):
            continue
        waits = any(pools.is_shared(scope) for scope in ground.scopes[key])
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


def _of_finding(ground: Ground, look: Look, finding: Finding, severity: Severity) -> Wanted:
    is_total = finding.kind in ("call", "options") and finding.loss >= TOTAL_LOSS
    inside = ground.inside(finding.scope)
    failing = {key for (key, _kind), leg in look.best.items() if key in inside and leg.is_failing}
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
    """``CallsBlocked`` when every path of the PSAP is down, else ``RedundancyLost`` for each."""
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
    return [
        Wanted(
            "Misrouted" if causes == {Cause.MISROUTED} else "CallsBlocked",
            "page",
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


_RANK: Final = {state: rank for rank, state in enumerate(WORST_LAST)}


def _badness(standing: Standing) -> int:
    return _RANK[standing.state]


def _leg_badness(standing: Standing) -> tuple[bool, bool]:
    return standing.is_failing, standing.state is State.UNKNOWN
