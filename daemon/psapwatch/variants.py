"""Incidents for calls of one kind: large ones, say, or answered late (layer L1, pure).

Only our own responder behind a firewall is called in such a way, so that what real callers would
meet shows before one of them does.
"""

from __future__ import annotations

from psapwatch.detection import State
from psapwatch.wanted import Ground, Standings, Wanted


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
        found.setdefault(
            firewall,
            Wanted(
                "CallsDegraded",
                "page",
                "firewall",
                firewall,
                "",
                firewall,
                since,
                (),
                evidence={"kind": "variant", "check": check.name, "why": failing[0].why},
            ),
        )
    return list(found.values())


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
