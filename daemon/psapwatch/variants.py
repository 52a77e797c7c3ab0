"""Incidents of what passes, and should not be trusted to (layer L1, pure).

Our own responder behind a firewall is called in ways that no PSAP is: with large calls, say, or to
be answered late. And it tells what arrived of a call, so that whoever changes calls on the way is
found though they pass. Names that no longer resolve are probed at their last addresses.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from psapwatch.detection import Standing, State
from psapwatch.endpoint import REFERENCE
from psapwatch.fault_domain import PASSING_MAX, FaultDomain, Member, Scope, explain
from psapwatch.look import Ground, Standings
from psapwatch.verdict import Cause
from psapwatch.wanted import Wanted, of_firewall

REWRITE: Final = "rewrite"
NAMES: Final = "names"
QUARANTINE: Final = "quarantine"
OURS_ALONE: Final = frozenset({"variant", REWRITE, NAMES, QUARANTINE})
"""What the evidence of such an incident begins with: it explains no failure of a PSAP's path."""
PASSING: Final = frozenset({REWRITE, NAMES, QUARANTINE})
"""Those whose attempts pass, or count for nothing, so that no failure can name their cause."""


def wanted_variants(ground: Ground, standings: Standings, now: float) -> list[Wanted]:
    """Incidents for firewalls that stop calls of one kind: large ones, say, or answered late.

    They show where our own responder is called in that way and no more answered, while its other
    calls, or those of the PSAPs, still are.
    """
    found: dict[str, Wanted] = {}
    for path, check in ground.variants:
        legs = standings.get((path.key, check.name), {}).values()
        failing = [leg for leg in legs if leg.state is State.DOWN and leg.last_failed]
        since = min((leg.failing_since or now for leg in failing), default=now)
        firewall = path.firewall.id
        if not failing or not _plain_calls_pass(ground, standings, firewall, since):
            continue
        evidence = {"kind": "variant", "check": check.name, "why": failing[0].why}
        found.setdefault(firewall, of_firewall(firewall, "page", since, evidence))
    return list(found.values())


TOLD_DEGRADED: Final = frozenset({Cause.ALG_REWRITE, Cause.ACK_LOST, Cause.TEARDOWN_BLOCKED})
"""What is told although calls come about: our own responder takes part in it as it should."""
REVIEWED: Final = TOLD_DEGRADED | {Cause.NAME_RESOLUTION}
"""The causes of passes that an incident may come of."""


def wanted_rewrites(ground: Ground, standings: Standings) -> list[Wanted]:
    """Incidents for firewalls that let calls come about and spoil them.

    They arrive otherwise than they were sent, their ACK does not, or they cannot be ended. It is
    no page. But whoever rewrites addresses breaks what it does not know, and calls that nobody
    can end fill a PSAP's positions.
    """
    found: dict[str, Wanted] = {}
    for run in ground.rows:
        firewall = run.path.firewall.id
        if run.path.psap.id != REFERENCE or run.of_kind[1] != "call":
            continue
        for leg in standings.get(run.of_check, {}).values():
            if leg.state is State.DEGRADED and leg.cause in TOLD_DEGRADED:
                evidence = {"kind": REWRITE, "why": leg.why}
                found[firewall] = of_firewall(
                    firewall, "ticket", leg.last_at, evidence, cause=leg.cause
                )
    return list(found.values())


def wanted_names(
    ground: Ground, standings: Standings, known: Collection[Scope], now: float
) -> list[Wanted]:
    """Incidents for domains whose names no longer resolve, while the last addresses answer.

    That is a page: callers that come anew find nobody. ``known`` are the domains that it was said
    of already: who is inside of one is no news, and it goes on as long as a tenth is unresolved.
    """
    everybody = (leg for legs in standings.values() for leg in legs.values())
    if not any(leg.cause is Cause.NAME_RESOLUTION for leg in everybody):
        return []  # several times a second, over thousands of paths
    found: dict[str, Standing] = {}
    for run in ground.rows:
        legs = standings.get(run.of_check)
        if legs and run.of_kind[1] == "options" and not ground.is_ours(run.path.key):
            found[run.path.key] = max(legs.values(), key=lambda leg: leg.last_at)
    unresolved = {key: leg for key, leg in found.items() if leg.cause is Cause.NAME_RESOLUTION}
    members = [
        Member(
            key,
            ground.scopes[key],
            leg.last_at if key in unresolved else None,
            leg.last_at,
            key in unresolved,
            not ground.scopes[key].isdisjoint(known),
        )
        for key, leg in found.items()
    ]
    lasting = [
        FaultDomain(*scope, now, tuple(sorted(inside & unresolved.keys())), (), ())
        for scope in known
        if len((inside := ground.inside(scope)) & unresolved.keys()) > PASSING_MAX * len(inside)
    ]
    return [
        Wanted(
            "CallsDegraded",
            "page",
            domain.scope,
            domain.member,
            "",
            domain.member if domain.scope == "firewall" else "",
            domain.since,
            domain.failing,
            domain.passing,
            domain.untested,
            evidence={"kind": NAMES, "why": unresolved[domain.failing[0]].why},
            cause=Cause.NAME_RESOLUTION,
        )
        for domain in (*explain(members, now), *lasting)
    ]


def _plain_calls_pass(ground: Ground, standings: Standings, firewall: str, since: float) -> bool:
    """Whether an ordinary call through a firewall has passed since, and none fails."""
    legs = [
        leg
        for run in ground.rows
        if run.of_kind[1] == "call" and run.path.firewall.id == firewall and run.is_plain
        for leg in standings.get(run.of_check, {}).values()
    ]
    failing = sum(leg.is_failing for leg in legs)
    passing = sum(not leg.is_failing and leg.last_at > since for leg in legs)
    return passing > 0 and failing <= passing
