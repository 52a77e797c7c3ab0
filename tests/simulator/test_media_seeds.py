"""Calls with media over random links against random scripts: what holds whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import Check, Identity, PortRange
from psapwatch.evidence import Evidence, Kind
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.call import PSAP_PACKETS_MAX, CallSettings
from psapwatch.rtp.packet import is_rtcp
from psapwatch.simulator.carriage import Crossing
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.link import Link
from psapwatch.simulator.rule import Rule
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.verdict import Cause, Outcome
from psapwatch.world import OpenCall
from simulator.outside import Outside, simulated

CALLS_A_SEED = 20
FORGOTTEN_S = 420.0
PERIL = ("forked", "forked_unsafe", "late_200", "repeated_200", "bye_before_ack", "echo_elsewhere")
NAMES = (
    *sorted(SCRIPTS.keys() - {"silence"}),
    *("mirror", "direct", "media", "speaks", *PERIL) * 8,
)


class Ledger:
    """Keeps no calls, so that they may all be placed."""

    async def open_call(self, row: OpenCall) -> None:
        """Allow it."""


def story(seed: int, nth: int) -> tuple[Evidence, list[Crossing], str, str]:
    """One random call; returns what it saw, what crossed, our host, and the script's name."""
    chance = seeded(seed, f"story {nth}")
    name = chance.choice(NAMES)
    link = Link(
        delay_s=chance.choice((0.001, 0.02, 0.15)),
        jitter_s=chance.choice((0.0, 0.01, 0.04)),
        loss=chance.choice((0.0, 0.0, 0.05, 0.3)),
        duplicate=chance.choice((0.0, 0.1)),
        reorder=chance.choice((0.0, 0.1)),
    )
    rules = [
        Rule(name=way, phase="media", direction=way, probability=chance.choice((0.0, 0.3, 1.0)))
        for way in ("inward", "outward")
        if chance.random() < 0.4
    ]

    async def main(outside: Outside) -> tuple[Evidence, list[Crossing], str]:
        built = outside.built
        outside.firewall.add(*rules)
        outside.firewall.outward_open = chance.random() < 0.5
        path = built.outlooks[0].paths[0]
        settings = CallSettings(media=True)
        check = Check("check", 300.0, 8.0, settings)
        resolved = await built.world.resolver.resolve(path.uri, path.transport)
        source = replace(path.leaves_from, rtp_ports=PortRange(40_000, 40_999))
        crowd: dict[Pump, None] = {}
        identity = Identity("sip:911-path-test@example.net")
        errand = Errand(check, resolved.legs[0], resolved, source, identity, crowd, Ledger())
        evidence = await settings.run(built.world, path, errand)
        await asyncio.sleep(FORGOTTEN_S)
        assert not crowd
        assert built.open_flows == 0
        return evidence, list(built.world.network.transcript), source.address

    plan = Plan(psaps=1, script=SCRIPTS[name], link=link)
    return (*simulated(main, seed=seed * 1_000 + nth, plan=plan), name)


def ours(crossings: Sequence[Crossing], source: str) -> list[Crossing]:
    """RTP that left the prober."""
    return [
        each
        for each in crossings
        if each.phase == "media" and each.source.host == source and not is_rtcp(each.octets)
    ]


def heard_at(crossings: Sequence[Crossing], source: str, start: bytes) -> float | None:
    """When a message that begins so was first put on the wire towards us."""
    return next(
        (
            each.at
            for each in crossings
            if each.octets.startswith(start) and each.source.host != source and each.fate == "sent"
        ),
        None,
    )


def reached_us(crossings: Sequence[Crossing], source: str) -> bool:
    """Whether sound of the far side came through; a firewall may have kept all of it."""
    return any(
        each.phase == "media" and each.source.host != source and each.fate == "sent"
        and not is_rtcp(each.octets)
        for each in crossings
    )  # fmt: skip


@pytest.mark.seeds
def test_media_keeps_its_bounds_whatever_happens(seeds: range) -> None:
    """Little, late enough, to one address, never twice told, and never after the end."""
    verdicts = set()
    for seed in seeds:
        for nth in range(CALLS_A_SEED):
            evidence, crossings, source, name = story(seed, nth)
            told = f"seed {seed}, call {nth}, script {name}"
            rtp = ours(crossings, source)
            media = list(evidence.of(Kind.MEDIA))
            verdict = diagnose(Case(evidence))
            verdicts.add(verdict.cause)
            assert len(rtp) <= PSAP_PACKETS_MAX, told
            assert len({each.destination for each in rtp}) <= 1, told
            assert len(media) <= 1, told
            assert len(list(evidence.of(Kind.ENDED))) <= 1, told
            if rtp:
                answered = heard_at(crossings, source, b"SIP/2.0 2")
                assert answered is not None, told
                assert min(each.at for each in rtp) > answered, told
                assert evidence.duration_s < 8.5, told
            for seen in media:
                assert seen["ended_by"] in ("us", "far"), told
                assert _number(seen["echoed"]) <= _number(seen["sent"]) <= len(rtp), told
                for lost in (seen["forward_lost"], seen["reverse_lost"]):
                    assert lost is None or 0 <= _number(lost) <= _number(seen["counted"]), told
            if name == "speaks" and reached_us(crossings, source):
                assert verdict.outcome is not Outcome.PASS, f"speech passed: {told}"
    assert {Cause.NONE, Cause.UNSAFE_ANSWER} <= verdicts


def _number(fact: object) -> int:
    assert isinstance(fact, int)
    return fact
