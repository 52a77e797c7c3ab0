"""Incidents that only our own responder behind a firewall can show (layer L1, pure).

It is called in ways that no PSAP is: with large calls, say, or to be answered late. And it tells
what arrived of a call, so that whoever changes calls on the way is found though they pass.
"""

from __future__ import annotations

from typing import Final

from psapwatch.detection import State
from psapwatch.endpoint import REFERENCE
from psapwatch.look import Ground, Standings
from psapwatch.verdict import Cause
from psapwatch.wanted import Wanted

REWRITE: Final = "rewrite"
OURS_ALONE: Final = frozenset({"variant", REWRITE})
"""What the evidence of such an incident begins with: it explains no failure of a PSAP's path."""


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


TOLD_DEGRADED: Final = frozenset({Cause.ALG_REWRITE, Cause.ACK_LOST, Cause.TEARDOWN_BLOCKED})
"""What is told although calls come about: our own responder takes part in it as it should."""


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
                found[firewall] = Wanted(
                    "CallsDegraded",
                    "ticket",
                    "firewall",
                    firewall,
                    "",
                    firewall,
                    leg.last_at,
                    (),
                    evidence={"kind": REWRITE, "why": leg.why},
                    cause=leg.cause,
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
