"""Which one thing explains the failing paths: a firewall, an attribute, a transport, a vantage.

The smallest candidate that explains at least 90 % of the fresh failures while few of its sampled
members pass (detection.md 4); repeated on what stays unexplained, so that coincidences stay
separate. Pure (layer L1); moments are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import Path
from psapwatch.frozen import frozen

Scope = tuple[str, str]
"""A candidate: what kind of thing, and which one; ``("firewall", "fw-east")``."""

WINDOW_S: Final = 60.0
FAILING_MIN: Final = 3
SHARE_OF_SAMPLED_MIN: Final = 0.2
EXPLAINED_MIN: Final = 0.9
PASSING_MAX: Final = 0.1
"""Share of a candidate's members, sampled since the onset, that may pass ("few")."""
DOMAINS_MAX: Final = 8
"""Separate explanations looked for in one review."""

ORDER: Final = {
    name: rank
    for rank, name in enumerate(
        ("psap", "firewall", "attribute", "family", "transport", "source", "vantage")
    )
}
"""How equal sets of paths resolve (detection.md 4); any other scope is an attribute's name."""


@frozen
class Member:
    """One path as the search sees it: what it belongs to, and its latest sample."""

    key: str
    scopes: frozenset[Scope]
    failing_since: float | None
    last_at: float
    is_failing: bool
    is_explained: bool = False
    """Its failure is no news: a bigger incident explains it, also one that is closed by now, or
    its last attempt passed and it is on its way up."""


@dataclass(frozen=True, slots=True)
class FaultDomain:
    """One thing that explains failing paths; the lists hold path keys, sorted."""

    scope: str
    member: str
    since: float
    failing: tuple[str, ...]
    passing: tuple[str, ...]
    untested: tuple[str, ...]


def family_of(leg: str) -> str:
    """``4`` or ``6``: the IP family of a leg, as the scope names it."""
    return "6" if leg.startswith("[") else "4"


def scopes_of(path: Path, leg: str = "") -> frozenset[Scope]:
    """Everything that a path, or one leg of it, shares with others."""
    attributes = dict(path.psap.attributes) | dict(path.attributes)
    return frozenset(
        {
            ("psap", path.psap.id),
            ("firewall", path.firewall.id),
            ("transport", path.transport),
            ("family", family_of(leg)),
            ("source", path.leaves_from.address),
            ("vantage", path.vantage),
            *attributes.items(),
        }
    )


def explain(members: Sequence[Member], now: float) -> tuple[FaultDomain, ...]:
    """Return the domains in which a total block began within the last minute.

    Only failures that began within ``WINDOW_S`` count, so that a chronic one poisons nothing.
    """
    fresh = [each for each in members if _is_fresh(each, now)]
    if len(fresh) < FAILING_MIN:
        return ()
    everyone = _by_scope(members)
    found: list[FaultDomain] = []
    while len(fresh) >= FAILING_MIN and len(found) < DOMAINS_MAX:
        domain = _smallest(fresh, everyone)
        if domain is None:
            break
        found.append(domain)
        inside = {each.key for each in everyone[domain.scope, domain.member]}
        fresh = [each for each in fresh if each.key not in inside]
    return tuple(found)


def _is_fresh(member: Member, now: float) -> bool:
    since = member.failing_since
    is_new = since is not None and since >= now - WINDOW_S
    return member.is_failing and is_new and not member.is_explained


def _by_scope(members: Iterable[Member]) -> Mapping[Scope, list[Member]]:
    table: dict[Scope, list[Member]] = {}
    for each in members:
        for scope in each.scopes:
            table.setdefault(scope, []).append(each)
    return table


def _smallest(
    fresh: Sequence[Member], everyone: Mapping[Scope, list[Member]]
) -> FaultDomain | None:
    """The smallest that explains nearly all; failing that, the one that explains most.

    Two things that break at once each explain only a part: the larger part is taken first, and
    the search goes on with the rest.
    """
    counts: dict[Scope, int] = {}
    for each in fresh:
        for scope in each.scopes:
            counts[scope] = counts.get(scope, 0) + 1
    blocked = {
        scope: domain
        for scope, count in counts.items()
        if count >= FAILING_MIN
        and (domain := _total_block(scope, everyone[scope], fresh)) is not None
    }
    nearly_all = [
        domain for scope, domain in blocked.items() if counts[scope] >= EXPLAINED_MIN * len(fresh)
    ]
    if nearly_all:
        told_apart = [domain for domain in nearly_all if _is_told_apart(domain, everyone)]
        return min(told_apart or nearly_all, key=lambda domain: _size(domain, everyone))
    return min(
        blocked.values(),
        key=lambda domain: (-counts[domain.scope, domain.member], *_size(domain, everyone)),
        default=None,
    )


def _is_told_apart(domain: FaultDomain, everyone: Mapping[Scope, list[Member]]) -> bool:
    """Whether somebody beside it, behind the same firewalls, has passed since; or nobody is there.

    The first three that fail may share a county by chance: without a contrast it is no county's.
    """
    inside = everyone[domain.scope, domain.member]
    keys = {each.key for each in inside}
    beside = [
        each
        for firewall in _firewalls(inside)
        for each in everyone[firewall]
        if each.key not in keys
    ]
    return not beside or any(each.last_at > domain.since and not each.is_failing for each in beside)


def _size(domain: FaultDomain, everyone: Mapping[Scope, list[Member]]) -> tuple[int, int, str]:
    """Fewest members first; equal sets resolve in the order of detection.md 4."""
    rank = ORDER.get(domain.scope, ORDER["attribute"])
    return len(everyone[domain.scope, domain.member]), rank, f"{domain.scope}={domain.member}"


def _total_block(
    scope: Scope, inside: Sequence[Member], fresh: Sequence[Member]
) -> FaultDomain | None:
    onset = min(each.failing_since or 0.0 for each in fresh if scope in each.scopes)
    tested = [each for each in inside if each.is_failing or each.last_at > onset]
    if not all(_is_dead(tested, firewall) for firewall in _firewalls(inside)):
        return None  # what one firewall does to a region does not happen behind the other
    failing = [each.key for each in tested if each.is_failing]
    passing = [each.key for each in tested if not each.is_failing]
    sampled = len(tested)
    if len(failing) < SHARE_OF_SAMPLED_MIN * sampled:
        return None
    untested = {each.key for each in inside}.difference(failing, passing)
    return FaultDomain(
        *scope, onset, tuple(sorted(failing)), tuple(sorted(passing)), tuple(sorted(untested))
    )


def _is_dead(tested: Iterable[Member], firewall: Scope) -> bool:
    """Whether few of those behind a firewall pass, and somebody there was tested."""
    behind = [each.is_failing for each in tested if firewall in each.scopes]
    return bool(behind) and behind.count(False) <= PASSING_MAX * len(behind)


def _firewalls(members: Iterable[Member]) -> set[Scope]:
    return {scope for each in members for scope in each.scopes if scope[0] == "firewall"}
