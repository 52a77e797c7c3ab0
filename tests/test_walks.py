"""Where on the way: what walks see in the simulated world, and what is made of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import pytest

from psapwatch.baseline import NOTHING_KNOWN, from_json, of_walk, to_json
from psapwatch.battery import SIGNATURES, WALKS, outcome_of
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import Check, Identity, Path
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.walk import WalkSettings
from psapwatch.replay.stage import CHECKS, run, stage
from psapwatch.simulator.rule import Reject, Rule
from psapwatch.simulator.topology import Plan
from psapwatch.verdict import Cause, Outcome
from psapwatch.walks import SILENT_HOPS_MAX, Walk, is_end, is_lost
from samples import attempt
from simulator.outside import Outside, simulated

FIREWALL: Final = "10.40.0.1"


def hop(n: int, who: str = "", **facts: str | int | bool) -> Observation:
    """Return one step."""
    return Observation(Kind.HOP, float(n), {"by": "ttl", "n": n, "who": who, **facts})


def walked(*hops: Observation) -> Evidence:
    """Return the evidence of a walk."""
    return replace(attempt(seen=hops), probe="walk")


GOOD: Final = walked(
    hop(1, "192.0.2.1", icmp="11/0", expired=True), hop(2), hop(3, "198.51.100.9 far", code=200)
)


def test_a_good_walk_passes_and_is_kept_with_the_baseline() -> None:
    """Also over a restart; a baseline of before walks is read as one without."""
    verdict = diagnose(Case(GOOD))
    assert (verdict.outcome, verdict.cause) == (Outcome.PASS, Cause.NONE)
    assert verdict.why == "200 at hop 3: 192.0.2.1, *, 198.51.100.9 far"
    kept = NOTHING_KNOWN.walking(GOOD)
    assert kept.walk == ("192.0.2.1", "*", "198.51.100.9 far")
    assert kept.is_worth_keeping(NOTHING_KNOWN)
    assert from_json(to_json(kept)) == kept
    old = {name: value for name, value in to_json(kept).items() if not name.startswith("walk")}
    assert from_json(old).walk == ()
    assert NOTHING_KNOWN.walking(attempt()) is NOTHING_KNOWN


def test_a_walk_that_ends_early_names_no_cause() -> None:
    """The last hop beside the last good walk: for whoever looks there, and no verdict on a path."""
    cut = walked(hop(1, "192.0.2.1", icmp="11/0", expired=True), hop(2), hop(3), hop(4))
    verdict = diagnose(Case(cut, NOTHING_KNOWN.walking(GOOD)))
    assert (verdict.outcome, verdict.cause) == (Outcome.INCONCLUSIVE, Cause.UNKNOWN)
    assert verdict.why == (
        "last hop that answered: 192.0.2.1 (last good walk: 192.0.2.1, *, 198.51.100.9 far)"
    )
    assert diagnose(Case(walked(hop(1), hop(2), hop(3)))).why == "no hop answered"
    assert outcome_of("walk", verdict) is Outcome.FAIL
    assert not any({*each.fails, *each.passes} & WALKS.keys() for each in SIGNATURES)


def test_a_refusal_on_the_way_is_no_good_walk() -> None:
    """Somebody answered for good, and it was no 2xx."""
    refused = walked(hop(1, "192.0.2.1 fw", code=403))
    assert diagnose(Case(refused)).outcome is Outcome.INCONCLUSIVE
    assert diagnose(Case(refused)).why == "403 at hop 1: 192.0.2.1 fw"
    assert not Walk.of(refused).is_good


@pytest.mark.parametrize(
    ("step", "ends"),
    [
        (hop(1), False),
        (hop(1, "a", code=483), False),
        (hop(1, "a", icmp="11/0", expired=True), False),
        (hop(1, "a", code=200), True),
        (hop(1, "a", code=404), True),
        (hop(1, "a", icmp="3/13", expired=False), True),
        (hop(1, error="refused"), True),
    ],
)
def test_a_walk_ends_with_the_first_answer_for_good(step: Observation, *, ends: bool) -> None:
    """483, time exceeded and silence do not end it."""
    assert is_end(step) is ends


def test_only_a_few_silent_hops_are_passed() -> None:
    """A router that says nothing is ordinary; several in a row are the end."""
    silent = [hop(n) for n in range(SILENT_HOPS_MAX)]
    assert is_lost(silent)
    assert not is_lost(silent[1:])
    assert not is_lost([*silent[1:], hop(9, "a", code=483)])


def test_the_baseline_of_a_walk_is_found_by_its_kind() -> None:
    """Whatever the check is called."""
    kept = NOTHING_KNOWN.walking(GOOD)
    known = [(("ma-boston/east", "keepalive"), NOTHING_KNOWN), (("ma-boston/east", "way"), kept)]
    assert of_walk(known, "ma-boston/east", "ttl") is kept
    assert of_walk(known, "ma-boston/east", "max_forwards") is NOTHING_KNOWN
    assert of_walk(known, "ma-boston/east", "") is NOTHING_KNOWN


# --- in the simulated world


def walk(settings: WalkSettings, *rules: Rule) -> Evidence:
    """Make one walk through a firewall with these rules."""

    async def main(outside: Outside) -> Evidence:
        outside.firewall.add(*rules)
        path: Path = outside.built.outlooks[0].paths[0]
        resolved = await outside.built.world.resolver.resolve(path.uri, path.transport)
        crowd: dict[Pump, None] = {}
        check = Check("way", 60.0, 1.0, settings)
        source = path.leaves_from
        identity = Identity("sip:911-path-test@example.net")
        errand = Errand(check, resolved.legs[0], resolved, source, identity, crowd)
        evidence = await settings.run(outside.built.world, path, errand)
        await asyncio.sleep(60.0)
        assert not crowd
        assert outside.built.open_flows == 0
        assert all(outside.firewall.hits[rule.name] for rule in rules)
        return evidence

    return simulated(main, plan=Plan(psaps=1))


def test_a_firewall_is_an_ip_hop_even_while_it_drops() -> None:
    """Its time exceeded comes before its rules."""
    through = walk(WalkSettings(by="ttl"))
    assert Walk.of(through).hops == (FIREWALL, "10.20.0.2 psapwatch answering point")
    assert Walk.of(through).is_good
    assert through.first(Kind.RESPONSE) is not None
    cut = walk(WalkSettings(by="ttl"), Rule(name="block"))
    assert Walk.of(cut).hops == (FIREWALL,)
    assert len(list(cut.of(Kind.HOP))) == 1 + SILENT_HOPS_MAX
    assert cut.duration_s == pytest.approx(SILENT_HOPS_MAX * 1.0, abs=0.1)


def test_a_prohibition_ends_the_walk() -> None:
    """Who says so is the last hop; nothing more is sent."""
    rejected = walk(WalkSettings(by="ttl"), Rule(name="block", action=Reject()))
    hops = list(rejected.of(Kind.HOP))
    assert [seen["icmp"] for seen in hops] == ["11/0", "3/13"]
    assert Walk.of(rejected).hops == (FIREWALL, FIREWALL)


def test_a_walk_is_bounded_and_no_invite() -> None:
    """As many steps as it may have, each an OPTIONS with a Call-ID of its own."""
    short = walk(WalkSettings(hops=2), Rule(name="block"))
    assert len(list(short.of(Kind.HOP))) == 2
    sent = [packet.octets for packet in short.transcript if packet.way == "out"]
    assert sent
    assert all(octets.startswith(b"OPTIONS ") for octets in sent)
    assert {b"Max-Forwards: 0", b"Max-Forwards: 1"} == {
        line for octets in sent for line in octets.split(b"\r\n") if b"Max-Forwards" in line
    }


def test_the_incident_says_who_was_the_last_to_answer() -> None:
    """Beside the last good walk, once an episode, and without a say in the cause."""

    async def main() -> None:
        ways = (
            Check("way", 60.0, 1.0, WalkSettings()),
            Check("way-ip", 60.0, 1.0, WalkSettings(by="ttl")),
        )
        async with stage(1, Plan(psaps=4), (*CHECKS, *ways)) as scene:
            await asyncio.sleep(90.0)
            assert scene.pages() == []
            scene.topology.firewalls["fw-east"].add(Rule(name="block"))
            await asyncio.sleep(30.0)
            (incident,) = scene.daemon.casebook.open
            assert scene.topology.firewalls["fw-east"].hits["block"]
            assert incident.cause is Cause.CALLS_BLOCKED
            ip = f"last hop that answered: {FIREWALL} (last good walk: {FIREWALL}, 10.20.0."
            assert incident.evidence["battery"]["walk_ip"].startswith(ip)
            assert incident.evidence["battery"]["walk"].startswith("no hop answered (last good")
            assert f"IP hops: {ip}" in incident.summary

    run(main(), seed=1)
