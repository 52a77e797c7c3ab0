"""Packets that go round a firewall: whoever looks only at what passes would see all green."""

from __future__ import annotations

import asyncio

import pytest

from psapwatch.battery import outcome_of
from psapwatch.echoed import LEARNING_PASSES, USUAL_PASSES, Echoes
from psapwatch.endpoint import MUST_BLOCK
from psapwatch.evidence import Evidence
from psapwatch.replay.stage import run, stage
from psapwatch.sight import Sight
from psapwatch.simulator.topology import ESINET, Plan
from psapwatch.trials import MUST_BLOCK_EVERY_S
from psapwatch.verdict import PASSED, Cause, Outcome, Plane, Verdict
from samples import FAILED, UNSURE, answered, attempt


def test_one_answer_of_what_must_be_blocked_blinds_the_prober() -> None:
    """It names the firewall, and neither a pass nor a failure through it says anything."""
    sight = Sight()
    sight.must_block("fw-east", FAILED, 10.0)
    assert (sight.why, sight.cause) == ("", Cause.PROBER_FAULT)
    sight.must_block("fw-east", PASSED, 40.0)
    assert sight.why.startswith("packets go round fw-east: what it has to block answers")
    assert sight.cause is Cause.PATH_BYPASSED
    assert sight.voids("fw-east", 41.0, PASSED)
    assert sight.voids("fw-east", 41.0, FAILED)
    assert not sight.voids("fw-west", 41.0, FAILED)


def test_blocked_again_it_sees_again_from_then_on() -> None:
    """What began before went round; our own fault in between is no block."""
    sight = Sight()
    sight.must_block("fw-east", PASSED, 40.0)
    sight.must_block("fw-east", UNSURE, 50.0)
    assert sight.hides("fw-east")
    sight.must_block("fw-east", FAILED, 70.0)
    assert (sight.why, sight.hides("fw-east")) == ("", False)
    assert sight.vouches("fw-east", 70.0)
    assert not sight.vouches("fw-east", 69.0)


@pytest.mark.parametrize("cause", [Cause.EXPLICIT_REJECT, Cause.CONNECTION_REFUSED])
def test_a_firewall_may_block_by_answering(cause: Cause) -> None:
    """403 in its own name, ICMP or a reset: that is no detour; elsewhere a refusal says nothing."""
    answer = Verdict(Outcome.DEGRADED, cause, Plane.PATH, "403 Forbidden")
    assert outcome_of("must_block", answer) is Outcome.FAIL
    assert outcome_of("second_source", answer) is not Outcome.FAIL


def _echo(source: str) -> Evidence:
    return attempt(seen=[answered(saw=f'1;transport="UDP";source="{source}"')])


def test_another_source_than_the_usual_is_named() -> None:
    """Until as many answers as are remembered have shown it; ports change with every flow."""
    echoes = Echoes()
    for port in range(LEARNING_PASSES):
        echoes.take(_echo(f"203.0.113.9:{port}"))
    assert echoes.said() == ""
    for _nth in range(USUAL_PASSES - 1):
        echoes.take(_echo("198.51.100.3:5060"))
    said = echoes.said("fw-east")
    assert said.endswith("is seen as 198.51.100.3, usually 203.0.113.9")
    assert echoes.said("fw-west") == ""
    echoes.take(_echo("198.51.100.3:5060"))
    assert echoes.said() == "", "now it is the usual one"


def test_the_usual_source_again_is_no_news() -> None:
    """A pool of two addresses is learnt as two; the older one stays usual."""
    echoes = Echoes()
    for nth in range(USUAL_PASSES):
        echoes.take(_echo(f"203.0.113.{8 + nth % 2}:5060"))
    assert echoes.said() == ""
    echoes.take(_echo("[2001:db8::1]:5060"))
    assert "is seen as [2001:db8::1], usually 203.0.113.8, 203.0.113.9" in echoes.said()
    echoes.take(_echo("203.0.113.8:5060"))
    assert echoes.said() == ""


def test_a_route_round_the_firewall_is_paged_and_withdrawn() -> None:
    """Before, the rule that blocks was met; during, nobody counts as reached; then all is well."""

    async def main() -> None:
        async with stage(1, Plan(psaps=3, must_block=True)) as scene:
            network, firewall = scene.topology.world.network, scene.topology.firewalls["fw-east"]
            await asyncio.sleep(MUST_BLOCK_EVERY_S + 10.0)
            assert firewall.hits[MUST_BLOCK] > 0
            assert scene.pages() == []
            network.join("boston-a/fw-east", ESINET, scene.topology.plan.link)
            await asyncio.sleep(MUST_BLOCK_EVERY_S + 5.0)
            (blind,) = scene.daemon.casebook.open
            assert (blind.alertname, blind.cause) == ("ProberBlind", Cause.PATH_BYPASSED)
            await asyncio.sleep(20.0)
            attempts = await scene.daemon.store.attempts("psap-001", "fw-east", limit=1)
            assert attempts[0][1].outcome is Outcome.INCONCLUSIVE
            network.join("boston-a/fw-east", ESINET, scene.topology.plan.link, firewall)
            await asyncio.sleep(MUST_BLOCK_EVERY_S + 5.0)
            assert scene.daemon.casebook.open == ()
            assert scene.pages() == ["ProberBlind  "]

    run(main(), seed=1)
