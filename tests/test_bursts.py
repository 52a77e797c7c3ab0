"""Eight calls at once: what they come to in the simulated world, and what is made of it."""

from __future__ import annotations

import asyncio
import math
from typing import Final

import pytest

from psapwatch.bursts import LOST_MIN
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import Check
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.probes.burst import BurstSettings
from psapwatch.probes.call import CallSettings
from psapwatch.replay.invariants import Tap, broken_at_rest
from psapwatch.replay.stage import CHECKS, Stage, run, stage
from psapwatch.schedule import BURST_CALLS
from psapwatch.simulator.carriage import Crossing
from psapwatch.simulator.rule import Drop, Limit, Rule
from psapwatch.simulator.topology import Plan
from psapwatch.sip.wire import call_id_of
from psapwatch.tried import SINGLES_NEEDED
from psapwatch.verdict import Cause, Outcome, Verdict
from samples import attempt

PLAN: Final = Plan(psaps=1, rate_burst=True)
BURST: Final = Check("battery", 0.0, 5.0, BurstSettings())


def _seen(code: int, *, again: bool = False) -> Observation:
    return Observation(Kind.BURST, 0.0, {"call_id": "x", "code": code, "again": again})


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        (0, Outcome.PASS),
        (LOST_MIN - 1, Outcome.INCONCLUSIVE),
        (LOST_MIN, Outcome.FAIL),
        (BURST_CALLS - 1, Outcome.FAIL),
        (BURST_CALLS, Outcome.INCONCLUSIVE),
    ],
)
@pytest.mark.parametrize(
    "loss", [_seen(0), _seen(503), _seen(200, again=True)], ids=["silent", "refused", "sent-again"]
)
def test_a_burst_fails_where_it_loses_some(lost: int, outcome: Outcome, loss: Observation) -> None:
    """A few are lost by chance; where all are, the moment was bad, or nothing passes."""
    seen = (*[loss] * lost, *[_seen(200)] * (BURST_CALLS - lost))
    verdict = diagnose(Case(attempt(seen=seen)))
    assert verdict.outcome is outcome
    assert verdict.why == f"{lost} of 8 calls begun at once got no answer at once"


def test_no_share_of_loss_looks_like_a_limit() -> None:
    """As ``SINGLES_NEEDED`` says: one in a hundred by the split, and far less at any share."""

    def split(lost: int) -> float:
        among = math.comb(BURST_CALLS + SINGLES_NEEDED, lost)
        return math.comb(BURST_CALLS, lost) / among

    def by_share(share: float) -> float:
        at_once = sum(
            math.comb(BURST_CALLS, lost) * share**lost * (1 - share) ** (BURST_CALLS - lost)
            for lost in range(LOST_MIN, BURST_CALLS)
        )
        return (1 - share) ** SINGLES_NEEDED * at_once

    assert split(LOST_MIN - 1) > 0.01 >= split(LOST_MIN)
    assert max(by_share(nth / 100) for nth in range(1, 100)) < 0.003
    assert by_share(0.1) < 0.0012
    assert by_share(0.5) < 0.0001


def _burst(*rules: Rule) -> tuple[Evidence, Verdict, list[Crossing], list[str]]:
    """Send one burst through a firewall with these rules; what was seen, sent, and went wrong."""

    async def scene() -> tuple[Evidence, Verdict, list[Crossing], list[str]]:
        invites: list[Crossing] = []
        async with stage(1, PLAN, CHECKS[:1]) as scene:
            await asyncio.sleep(30.0)
            tap = Tap(scene)
            network = scene.topology.world.network
            network.taps.append(lambda each: invites.append(each) if _invites(each) else None)
            scene.topology.firewalls["fw-east"].add(*rules)
            path = scene.config.references[0]
            await scene.daemon.watch._try_out(path, BURST, "burst_call")
            for rule in rules:
                assert scene.topology.firewalls["fw-east"].hits[rule.name]
                scene.topology.firewalls["fw-east"].remove(rule.name)
            await asyncio.sleep(40.0)
            await scene.daemon.store.flushed()
            ((evidence, verdict),) = await scene.daemon.store.attempts("reference", "fw-east")
            assert await scene.daemon.store.open_calls() == []
            wrong = tap.wrong
        return evidence, verdict, invites, wrong + broken_at_rest(scene)

    return run(scene())


def _invites(packet: Crossing) -> bool:
    return packet.octets.startswith(b"INVITE ")


def test_eight_test_calls_begin_at_once_and_all_end() -> None:
    """Each with a row of its own in the ledger, to the test URN, and ended with BYE."""
    evidence, verdict, invites, wrong = _burst()
    assert (verdict.outcome, verdict.cause) == (Outcome.PASS, Cause.NONE)
    assert len({call_id_of(each.octets) for each in invites}) == len(invites) == BURST_CALLS
    assert max(each.at for each in invites) - min(each.at for each in invites) < 0.01
    assert all(each.octets.startswith(b"INVITE urn:service:test.sos ") for each in invites)
    assert {each["call_id"] for each in evidence.of(Kind.BURST)} == {
        call_id_of(each.octets) for each in invites
    }
    assert wrong == []


def test_a_limit_on_calls_loses_some_of_a_burst() -> None:
    """Three pass at once; the others when they are sent again, or not at all."""
    limit = Rule(name="limit", action=Limit(1.0, 3), methods=frozenset({"INVITE"}))
    evidence, verdict, _invites, wrong = _burst(limit)
    assert (verdict.outcome, verdict.cause) == (Outcome.FAIL, Cause.UNKNOWN)
    assert verdict.why.startswith("5 of 8 calls")
    assert sum(bool(each["again"]) for each in evidence.of(Kind.BURST)) > 0
    assert wrong == []


def test_a_block_is_no_limit() -> None:
    """Nothing gets through: that says nothing of how many would."""
    block = Rule(name="block", action=Drop(), methods=frozenset({"INVITE"}))
    _evidence, verdict, _invites, wrong = _burst(block)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert wrong == []


@pytest.mark.parametrize("settings", [BurstSettings(), CallSettings()], ids=["burst", "call"])
def test_no_psap_is_ever_called_to_find_out(settings: BurstSettings | CallSettings) -> None:
    """Whoever would send a row of calls along a PSAP's path is stopped before anything leaves."""

    async def scene() -> tuple[int, Stage]:
        async with stage(1, PLAN, CHECKS[:1]) as scene:
            tap = Tap(scene)
            check = Check("battery", 0.0, 5.0, settings)
            with pytest.raises(AssertionError, match="never called to find out"):
                await scene.daemon.watch._try_out(scene.config.paths[0], check, "burst_call")
        return tap.invites, scene

    invites, _scene = run(scene())
    assert invites == 0


def test_the_probe_itself_refuses_a_psap() -> None:
    """The last thing before the calls, whoever sends it."""

    async def scene() -> None:
        async with stage(1, PLAN, CHECKS[:1]) as scene:
            await scene.daemon.watch.probe(scene.config.paths[0], BURST)

    with pytest.raises(AssertionError, match="nobody but our own responder"):
        run(scene())
