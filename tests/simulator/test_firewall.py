"""The simulated firewall: every kind of rule, its counter, and connection state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind
from psapwatch.simulator.firewall import SimulatedFirewall
from psapwatch.simulator.link import Link
from psapwatch.simulator.rule import (
    Accept,
    Delay,
    Limit,
    Packet,
    Reject,
    Rewrite,
    Rule,
    TcpReset,
)
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.sip.wire import serialize
from simulator.outside import EAST, Ear, Outside, simulated

INVITE = frozenset({"INVITE"})
Sent = Callable[[Outside, Ear], None]


async def _options(outside: Outside) -> Ear:
    return await outside.ask()


async def _invite(outside: Outside, padding: int = 0) -> Ear:
    ear = Ear()
    flow = await outside.open(ear)
    flow.send(serialize(outside.invite(flow, padding=padding)))
    await asyncio.sleep(0.3)
    flow.release()
    return ear


async def _invite_padded(outside: Outside) -> Ear:
    return await _invite(outside, padding=400)


async def _invite_huge(outside: Outside) -> Ear:
    return await _invite(outside, padding=2_000)


async def _second_source(outside: Outside) -> Ear:
    return await outside.ask(outside.road(source="10.100.0.11"))


async def _v6(outside: Outside) -> Ear:
    road = outside.road(host="fd00:20::1", source="fd00:100:0::10")
    return await outside.ask(road)


async def _other_psap(outside: Outside) -> Ear:
    return await outside.ask(outside.road(host="10.20.0.3"))


@pytest.mark.parametrize(
    ("rule", "lost", "passes"),
    [
        (Rule(name="all"), _options, None),
        (Rule(name="invite", methods=INVITE), _invite, _options),
        (Rule(name="in", direction="inward"), _options, None),
        (Rule(name="out", direction="outward"), _options, None),
        (Rule(name="udp", transports=frozenset({"udp"})), _options, None),
        (Rule(name="large", min_size=1_300), _invite_padded, _invite),
        (Rule(name="small", max_size=700, direction="inward"), _options, _invite_padded),
        (Rule(name="fragments", fragments="fragmented"), _invite_huge, _invite_padded),
        (Rule(name="content", content=b"a=loopback-source"), _invite, _options),
        (Rule(name="codes", codes=frozenset({200})), _options, None),
        (Rule(name="source", sources=frozenset({"10.100.0.10"})), _options, _second_source),
        (Rule(name="to", destinations=frozenset({"10.20.0.2"})), _options, _other_psap),
        (Rule(name="host", hosts=frozenset({"10.20.0.2"})), _options, _other_psap),
        (Rule(name="v6", family=6), _v6, _options),
        (Rule(name="v4", family=4), _options, _v6),
        (Rule(name="new", flows="new"), _options, None),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else "",
)
def test_a_rule_drops_what_it_names_and_counts_it(
    rule: Rule,
    lost: Callable[[Outside], asyncio.Future[Ear]],
    passes: Callable[[Outside], asyncio.Future[Ear]] | None,
) -> None:
    """Before the rule all pass; with it what it names is silent, counted, and the rest passes."""

    async def main(outside: Outside) -> None:
        assert (await lost(outside)).codes[:1] == [200]
        outside.firewall.add(rule)
        ear = await lost(outside)
        assert not ear.arrivals
        assert not ear.failures, "a drop says nothing"
        assert outside.firewall.hits[rule.name] >= 1
        if passes is not None:
            assert (await passes(outside)).codes[:1] == [200]
        outside.firewall.remove(rule.name)
        assert (await lost(outside)).codes[:1] == [200]

    simulated(main, plan=Plan(psaps=2, with_v6=True))


def test_a_rule_works_in_its_window_only() -> None:
    """A schedule of changes is rules with a beginning and an end."""

    async def main(outside: Outside) -> list[bool]:
        outside.firewall.add(Rule(name="maintenance", starts_at=10, ends_at=20))
        answered = []
        for _ in range(6):
            answered.append(bool((await outside.ask(wait_s=1)).arrivals))
            await asyncio.sleep(4)
        return answered

    assert simulated(main) == [True, True, False, False, True, True]


def test_a_reject_is_told_with_its_sender() -> None:
    """ICMP administratively prohibited carries the firewall's address to the flow's listener."""

    async def main(outside: Outside) -> list[dict[str, object]]:
        outside.firewall.add(Rule(name="no", action=Reject(), direction="inward"))
        outside.firewall.add(Rule(name="no", action=Reject(code=10, offender="10.9.9.9")))
        first = await outside.ask()
        outside.firewall.add(Rule(name="no", action=Reject()))
        second = await outside.ask(outside.road(host="fd00:20::1", source="fd00:100:0::10"))
        assert first.kinds == second.kinds == [Kind.ICMP]
        return [dict(ear.failures[0].facts) for ear in (first, second)]

    v4, v6 = simulated(main, plan=Plan(psaps=2, with_v6=True))
    assert (v4["icmp_type"], v4["code"], v4["offender"]) == (3, 10, "10.9.9.9")
    assert (v6["family"], v6["icmp_type"], v6["code"]) == (6, 1, 1)


def test_old_flows_pass_where_new_ones_are_dropped() -> None:
    """A rule push behind "established accept": the kept flow stays green."""

    async def main(outside: Outside) -> None:
        ear = Ear()
        old = await outside.open(ear)
        old.send(outside.options(old))
        await asyncio.sleep(1)
        outside.firewall.add(Rule(name="push", flows="new"))
        for _ in range(3):
            assert not (await outside.ask(wait_s=5)).arrivals
            old.send(outside.options(old))
        await asyncio.sleep(1)
        assert ear.codes == [200] * 4

    simulated(main)


def test_a_dropped_flow_stays_new() -> None:
    """Repeating a dropped request does not make its flow an old one."""

    async def main(outside: Outside) -> Ear:
        outside.firewall.add(Rule(name="push", flows="new"))
        ear = Ear()
        flow = await outside.open(ear)
        request = outside.options(flow)
        for _ in range(4):
            flow.send(request)
            await asyncio.sleep(1)
        return ear

    assert not simulated(main).arrivals


def test_udp_state_times_out() -> None:
    """An answer delayed beyond the firewall's timer is lost, a quick one arrives."""

    async def main(outside: Outside) -> tuple[list[int], list[int]]:
        outside.firewall.udp_state_s = 2.0
        outside.psap.script = SCRIPTS["trying_then_mirror"]
        quick = await _invite(outside)
        outside.psap.script = SCRIPTS["slow_mirror"]
        ear = Ear()
        flow = await outside.open(ear)
        flow.send(serialize(outside.invite(flow)))
        await asyncio.sleep(5)
        assert outside.firewall.hits["no state"] > 0
        return quick.codes, ear.codes

    assert simulated(main, plan=Plan(psaps=2, link=Link(jitter_s=0.0))) == ([100], [100])


def test_losing_all_state_cuts_what_is_on_its_way() -> None:
    """After a failover without sync an answer finds no state; the next request makes it."""

    async def main(outside: Outside) -> None:
        outside.psap.script = SCRIPTS["late_options"]
        ear = Ear()
        flow = await outside.open(ear)
        flow.send(outside.options(flow))
        await asyncio.sleep(1)
        outside.firewall.forget_states()
        await asyncio.sleep(7)
        assert not ear.arrivals
        outside.psap.script = SCRIPTS["mirror"]
        flow.send(outside.options(flow))
        await asyncio.sleep(1)
        assert ear.codes == [200]

    simulated(main)


def test_a_full_session_table_refuses_new_flows_only() -> None:
    """``states_max`` is the session table: old flows go on, new ones die and are counted."""

    async def main(outside: Outside) -> None:
        outside.firewall.states_max = 3
        ears = [Ear() for _ in range(5)]
        flows = [await outside.open(ear) for ear in ears]
        for flow in flows * 2:
            flow.send(outside.options(flow))
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        assert [len(ear.arrivals) for ear in ears] == [2, 2, 2, 0, 0]
        assert outside.firewall.hits["table full"] == 4

    simulated(main)


def test_one_instance_of_four_loses_its_flows_and_no_others() -> None:
    """Which flows die is a function of the source port: a quarter of the ports, always the same."""

    async def main(outside: Outside) -> dict[int, bool]:
        outside.firewall.add(Rule(name="member", instance=(1, 4)))
        answered: dict[int, bool] = {}
        for _ in range(2):
            for port in range(20_000, 20_200):
                ear = Ear()
                flow = await outside.network.open(
                    outside.road(), "x", ear, patience_s=1, local_port=port
                )
                assert flow is not None
                flow.send(outside.options(flow))
                await asyncio.sleep(0.1)
                flow.release()
                assert answered.setdefault(port, bool(ear.arrivals)) == bool(ear.arrivals)
        return answered

    answered = simulated(main)
    assert sum(not each for each in answered.values()) == pytest.approx(50, abs=15)


def test_a_share_of_flows_is_independent_of_the_member() -> None:
    """A share within one member hits that part of the member's flows."""
    firewall = SimulatedFirewall("f", "10.40.0.1", seed=1)
    firewall.add(Rule(name="both", share=0.5, instance=(0, 4)), Rule(name="one", instance=(0, 4)))
    for port in range(10_000, 20_000):
        packet = Packet("udp", Address("10.1.1.1", port), Address("10.2.2.2", 5060), b"x")
        firewall.cross(packet, "inward", 0.0)
    both, either = firewall.hits["both"], firewall.hits["both"] + firewall.hits["one"]
    assert either == pytest.approx(2500, rel=0.05)
    assert both == pytest.approx(1250, rel=0.1)


def test_a_probability_is_of_packets() -> None:
    """Half of the packets by chance: a retransmission may get through where the first did not."""

    async def main(outside: Outside) -> int:
        outside.firewall.add(Rule(name="half", probability=0.5, direction="inward"))
        ears = [await outside.ask(wait_s=0.2) for _ in range(200)]
        return sum(bool(ear.arrivals) for ear in ears)

    assert simulated(main) == pytest.approx(100, abs=25)


def test_a_rate_limit_lets_the_slow_pass() -> None:
    """One slow INVITE passes, of a burst of 8 only the first two do."""

    async def main(outside: Outside) -> tuple[int, int]:
        outside.firewall.add(
            Rule(name="flood", action=Limit(1.0, burst=2), methods=INVITE, direction="inward")
        )
        burst = await asyncio.gather(*(_invite(outside) for _ in range(8)))
        slow = []
        for _ in range(4):
            await asyncio.sleep(2)
            slow.append(await _invite(outside))
        assert (await _options(outside)).codes == [200]
        return sum(bool(ear.arrivals) for ear in burst), sum(bool(ear.arrivals) for ear in slow)

    assert simulated(main) == (2, 4)


def test_a_quarantine_blocks_the_source_and_lifts_by_itself() -> None:
    """Too many at once and everything of that source is dropped for a while, not of another."""

    async def main(outside: Outside) -> None:
        outside.firewall.add(
            Rule(name="quarantine", action=Limit(5.0, burst=10, block_s=240), direction="inward")
        )
        await asyncio.gather(*(outside.ask() for _ in range(12)))
        assert not (await outside.ask()).arrivals
        assert (await _second_source(outside)).codes == [200]
        await asyncio.sleep(241)
        assert (await outside.ask()).codes == [200]

    simulated(main)


def test_a_delay_holds_back() -> None:
    """A queue's delay is added to the link's."""

    async def main(outside: Outside) -> float:
        outside.firewall.add(Rule(name="queue", action=Delay(0.5), direction="inward"))
        began = asyncio.get_running_loop().time()
        return (await outside.ask()).arrivals[0].arrived_at - began

    plan = Plan(psaps=2, link=Link(delay_s=0.01, jitter_s=0.0))
    assert simulated(main, plan=plan) == pytest.approx(0.52)


def test_accept_ends_the_search() -> None:
    """An accept before a drop lets its own pass: order is what counts."""

    async def main(outside: Outside) -> None:
        ours = frozenset({"10.100.0.10"})
        outside.firewall.add(Rule(name="hole", action=Accept(), sources=ours))
        outside.firewall.add(Rule(name="wall", direction="inward"))
        assert (await outside.ask()).codes == [200]
        assert not (await _second_source(outside)).arrivals

    simulated(main)


@pytest.mark.parametrize(("restores", "via_host"), [(True, b"10.100.0.10"), (False, b"10.40.0.1")])
def test_a_gateway_rewrites_what_the_far_end_sees(restores: bool, via_host: bytes) -> None:
    """Via, Contact and SDP name the gateway on the way in; a broken one does not put them back."""

    async def main(outside: Outside) -> bytes:
        outside.firewall.add(Rule(name="alg", action=Rewrite("10.40.0.1", restores=restores)))
        ear = Ear()
        flow = await outside.open(ear)
        flow.send(serialize(outside.invite(flow)))
        await asyncio.sleep(0.1)
        inside = outside.network.transcript[0].octets
        assert b"c=IN IP4 10.100.0.10" in inside, "the transcript has what was sent"
        return ear.arrivals[0].octets

    came = simulated(main)
    assert b"Via: SIP/2.0/UDP " + via_host in came


def test_a_tcp_reset_does_not_answer_a_datagram() -> None:
    """RST is for streams: a datagram is only dropped."""

    async def main(outside: Outside) -> Ear:
        outside.firewall.add(Rule(name="rst", action=TcpReset()))
        return await outside.ask()

    ear = simulated(main)
    assert not ear.arrivals
    assert not ear.failures


def test_the_control_does_not_cross_the_firewall() -> None:
    """What the firewall drops for all still reaches the reference from the control source."""

    async def main(outside: Outside) -> None:
        outside.firewall.add(Rule(name="all"))
        reference = outside.built.references[EAST].hosts[0]
        assert not (await outside.ask(outside.road(host=reference))).arrivals
        road = outside.road(host=reference, source="10.150.0.10")
        assert (await outside.ask(road)).codes == [200]

    simulated(main)
