"""What a review looks at: the ground of all paths, and how they stand at one moment (layer L1).

``Ground`` is worked out once a configuration, ``Look`` anew in each review; ``wanted`` draws from
both which incidents they ask for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from psapwatch.battery import is_variant
from psapwatch.detection import FAILING, WORST_LAST, Standing, State
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path
from psapwatch.fault_domain import Member, Scope, family_of, scopes_of

StandingKind = Literal["call", "options", "kept"]
Standings = Mapping[tuple[str, str], Mapping[str, Standing]]
"""(path key, check name) -> leg -> standing."""
Muted = Callable[[Path], bool]


class Run(NamedTuple):
    """One check on one path, under the names that standings and looks have for it."""

    path: Path
    of_check: tuple[str, str]
    of_kind: tuple[str, StandingKind]
    is_plain: bool
    """Whether it asks what callers ask, and nothing of our own responder alone."""
    is_ours: bool
    """Whether the path leads to a responder of our own."""
    scopes: frozenset[Scope]


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
                path.key in ours,
                scopes[path.key],
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

    def scopes_at(self, path: Path, leg: str = "") -> frozenset[Scope]:
        """What a path, or one leg of it, belongs to."""
        known = self.scopes.get(path.key)
        return known if known is not None and family_of(leg) == "4" else scopes_of(path, leg)

    def inside(self, scope: Scope) -> frozenset[str]:
        """The paths to PSAPs that a domain holds."""
        return self._inside.get(scope, frozenset())


@dataclass(frozen=True, slots=True)
class Look:
    """One review's view of the standings: the best leg of each path, by kind of check."""

    now: float
    best: Mapping[tuple[str, str], Standing]
    """(path key, ``call``, ``options`` or ``kept``) -> the worst of such checks."""
    members: Mapping[StandingKind, Sequence[Member]]
    muted: frozenset[str] = frozenset()
    """Failing paths that a maintenance window names."""
    families: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """IP family -> path key -> whether a leg of that family fails; of paths with several legs."""


def standing_kind(check: Check) -> StandingKind:
    """What a check's standings speak of; old flows are judged apart from new ones."""
    return "call" if check.is_call else "kept" if check.flow == "kept" else "options"


def look_at(
    ground: Ground,
    standings: Standings,
    now: float,
    muted: Muted,
    is_explained: Callable[[Path, float], bool],
) -> Look:
    """Reduce the standings to what a review needs; failing paths that are muted do not count."""
    best: dict[tuple[str, str], Standing] = {}
    members: dict[StandingKind, list[Member]] = defaultdict(list)
    families: dict[str, dict[str, bool]] = {}
    named: set[str] = set()
    for path, of_check, of_kind, _is_plain, is_ours, scopes in ground.rows:
        legs = standings.get(of_check)
        if not legs:
            continue
        if len(legs) == 1:
            (leg,) = legs.values()
        else:
            leg = min(legs.values(), key=_leg_badness)
            for name, each in legs.items():
                found = families.setdefault(family_of(name), {})
                found[path.key] = found.get(path.key, False) or each.is_failing
        known = best.get(of_kind)
        best[of_kind] = leg if known is None else max(known, leg, key=_badness)
        key, kind = of_kind
        is_failing = leg.state in FAILING
        if is_failing and muted(path):
            named.add(key)
        elif not is_ours:
            members[kind].append(
                Member(
                    key,
                    scopes,
                    leg.failing_since,
                    leg.last_at,
                    is_failing,
                    is_failing and (not leg.last_failed or is_explained(path, seen_at(leg, now))),
                )
            )
    if named:  # what fails under a window says nothing, whatever it was asked
        members = {
            kind: [member for member in found if member.key not in named]
            for kind, found in members.items()
        }
    return Look(now, best, members, frozenset(named), families)


def seen_at(standing: Standing, now: float) -> float:
    """When its newest attempt began.

    What seems to lie ahead was seen before the clock was stepped back: before all that is over.
    """
    return standing.last_at if standing.last_at <= now else 0.0


def held_by(ground: Ground, look: Look, scope: Scope) -> AbstractSet[str]:
    """The paths to PSAPs that a domain holds; which have legs of a family only attempts show."""
    if scope[0] == "family" and scope[1] in look.families:
        return {key for key in look.families[scope[1]] if not ground.is_ours(key)}
    return ground.inside(scope)


def other_family_passes(look: Look, scope: Scope) -> bool:
    """Whether paths that lost their legs of one IP family have legs of the other one that pass."""
    kind, member = scope
    if kind != "family" or member not in look.families:
        return False
    others = [legs for family, legs in look.families.items() if family != member]
    return any(legs and not any(legs.values()) for legs in others)


_RANK: Final = {state: rank for rank, state in enumerate(WORST_LAST)}


def _badness(standing: Standing) -> int:
    return _RANK[standing.state]


def _leg_badness(standing: Standing) -> tuple[bool, bool]:
    return standing.is_failing, standing.state is State.UNKNOWN
