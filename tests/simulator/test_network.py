"""The simulated network: links, ports, flows, ICMP, and the same seed giving the same run."""

from __future__ import annotations

import asyncio
import subprocess  # noqa: TID251 - another interpreter has another hash seed
import sys

import pytest

from psapwatch.endpoint import Address, PortRange
from psapwatch.evidence import Kind
from psapwatch.simulator.link import Link
from psapwatch.simulator.topology import Plan
from psapwatch.sip.guard import NotATestCall
from psapwatch.sip.wire import parse, serialize
from simulator.outside import Ear, Outside, simulated

ROUGH = Link(delay_s=0.02, jitter_s=0.03, loss=0.1, duplicate=0.1, reorder=0.1)


async def busy(outside: Outside) -> str:
    ears = [Ear() for _ in range(40)]
    for ear in ears:
        flow = await outside.open(ear)
        flow.send(outside.options(flow))
        flow.send(serialize(outside.invite(flow)))
        await asyncio.sleep(0.1)
    await asyncio.sleep(60)
    return outside.network.digest


def test_the_same_seed_gives_the_same_transcript() -> None:
    """Every datagram crosses in the same order at the same moment, bit for bit."""
    plan = Plan(psaps=2, link=ROUGH)
    assert simulated(busy, seed=7, plan=plan) == simulated(busy, seed=7, plan=plan)


def test_another_seed_gives_another_transcript() -> None:
    """The seed is really used: without this the test above could not fail."""
    plan = Plan(psaps=2, link=ROUGH)
    assert simulated(busy, seed=7, plan=plan) != simulated(busy, seed=8, plan=plan)


def test_python_hash_seeds_do_not_matter() -> None:
    """Two interpreters with different string hashes write the same transcript."""
    program = (
        "from simulator.test_network import *; "
        "print(simulated(busy, seed=7, plan=Plan(psaps=2, link=ROUGH)))"
    )
    path = ":".join(sys.path)
    digests = {
        subprocess.run(  # noqa: S603 - our own interpreter and words
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {simulated(busy, seed=7, plan=Plan(psaps=2, link=ROUGH)) + "\n"}


def test_an_answer_takes_a_round_trip() -> None:
    """A link's delay is there in both directions, and the arrival says the moment."""

    async def main(outside: Outside) -> float:
        began = asyncio.get_running_loop().time()
        ear = await outside.ask()
        assert ear.codes == [200]
        return ear.arrivals[0].arrived_at - began

    plan = Plan(psaps=2, link=Link(delay_s=0.05, jitter_s=0.0))
    assert simulated(main, plan=plan) == pytest.approx(0.1)


def test_loss_loses_its_share() -> None:
    """With 30 % loss each way about half of all unrepeated requests get no answer."""

    async def main(outside: Outside) -> int:
        ears = [await outside.ask() for _ in range(400)]
        return sum(not ear.arrivals for ear in ears)

    plan = Plan(psaps=2, link=Link(loss=0.3))
    assert simulated(main, plan=plan) == pytest.approx(0.51 * 400, rel=0.15)


def test_a_duplicating_link_delivers_twice_and_the_far_side_answers_alike() -> None:
    """A duplicate request gets the same response again; its To tag proves that it is the same."""

    async def main(outside: Outside) -> list[bytes]:
        return [arrival.octets for arrival in (await outside.ask()).arrivals]

    octets = simulated(main, plan=Plan(psaps=2, link=Link(duplicate=1.0)))
    assert len(octets) == 4
    assert len(set(octets)) == 1


def test_a_reordering_link_lets_the_later_overtake() -> None:
    """What is delayed by reordering arrives after what was sent later."""

    async def main(outside: Outside) -> list[str]:
        ear = Ear()
        flow = await outside.open(ear)
        sent = []
        for number in range(60):
            request = outside.options(flow, f"call-{number}")
            sent.append(parse(request).call_id)
            flow.send(request)
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        came = [parse(arrival.octets).call_id for arrival in ear.arrivals]
        assert sorted(came) == sorted(sent)
        return [early for early, late in zip(came, sent, strict=True) if early != late]

    assert simulated(main, plan=Plan(psaps=2, link=Link(reorder=0.2)))
    assert not simulated(main, plan=Plan(psaps=2, link=Link(jitter_s=0.0)))


def test_an_address_that_nobody_has_is_silent() -> None:
    """No ICMP, no answer: a black hole."""

    async def main(outside: Outside) -> Ear:
        return await outside.ask(outside.road(host="10.99.0.1"))

    ear = simulated(main)
    assert not ear.arrivals
    assert not ear.failures


def test_a_host_whose_service_is_stopped_says_port_unreachable() -> None:
    """ICMP 3/3 comes from the PSAP itself, as the socket's error queue would report it."""

    async def main(outside: Outside) -> Ear:
        outside.psap.state = "stopped"
        return await outside.ask()

    ear = simulated(main)
    assert ear.kinds == [Kind.ICMP]
    facts = dict(ear.failures[0].facts)
    assert facts == {
        "family": 4, "icmp_type": 3, "code": 3, "offender": "10.20.0.2", "errno": "ECONNREFUSED",
        "to": "10.20.0.2:5060",
    }  # fmt: skip


def test_a_dead_host_is_silent_until_it_is_back() -> None:
    """Off is silence; up again it answers."""

    async def main(outside: Outside) -> None:
        outside.psap.state = "off"
        dead = await outside.ask()
        assert not dead.arrivals
        assert not dead.failures
        outside.psap.state = "up"
        assert (await outside.ask()).codes == [200]

    simulated(main)


def test_icmp_is_rate_limited_as_linux_does() -> None:
    """In a burst only the first few errors are told, later one in a second."""

    async def main(outside: Outside) -> tuple[int, int]:
        outside.psap.state = "stopped"
        burst = [await outside.ask(wait_s=0.05) for _ in range(20)]
        await asyncio.sleep(10)
        slow = [await outside.ask(wait_s=1.1) for _ in range(5)]
        return sum(map(len, (ear.failures for ear in burst))), sum(len(e.failures) for e in slow)

    in_burst, in_calm = simulated(main)
    assert 6 <= in_burst <= 8
    assert in_calm == 5


def test_a_fresh_flow_hears_anyone_and_closes_with_its_release() -> None:
    """An answer from another port is heard; after release the port is free and nobody listens."""

    async def main(outside: Outside) -> None:
        ear = Ear()
        flow = await outside.open(ear)
        outside.network.datagram(Address("10.20.0.3", 5099), flow.local, b"from elsewhere")
        await asyncio.sleep(1)
        assert outside.firewall.hits["no state"] == 1, "a stateful firewall lets no stranger in"
        outside.firewall.outward_open = True
        outside.network.datagram(Address("10.20.0.3", 5099), flow.local, b"from elsewhere")
        await asyncio.sleep(1)
        assert [arrival.source.port for arrival in ear.arrivals] == [5099]
        assert outside.network.open_flows == 1
        flow.release()
        flow.release()
        assert outside.network.open_flows == 0

    simulated(main)


def test_a_kept_flow_is_shared_and_sorts_by_call_id() -> None:
    """One socket for all who ask for the same road; each hears its own Call-ID."""

    async def main(outside: Outside) -> None:
        ears, road = {"one": Ear(), "two": Ear(), "": Ear()}, outside.road(kept=True)
        flows = [
            await outside.network.open(road, name, ear, patience_s=1) for name, ear in ears.items()
        ]
        assert all(flows)
        assert len({flow.local for flow in flows if flow}) == 1
        for name in ("one", "two", "three"):
            assert flows[0] is not None
            flows[0].send(outside.options(flows[0], name))
        await asyncio.sleep(1)
        heard = {
            name: [parse(a.octets).call_id for a in ear.arrivals] for name, ear in ears.items()
        }
        assert heard == {"one": ["one"], "two": ["two"], "": ["three"]}
        for flow in flows:
            assert flow is not None
            flow.release()
        again = await outside.network.open(road, "four", Ear(), patience_s=1)
        assert again is not None
        assert again.local == flows[0].local if flows[0] else False

    simulated(main)


def test_ports_come_from_the_range_and_run_out() -> None:
    """Each fresh flow has its own port of the range; when all are taken it is our own error."""

    async def main(outside: Outside) -> Ear:
        road = outside.road(ports=PortRange(30_000, 30_004))
        ports = {(await outside.open(Ear(), road)).local.port for _ in range(5)}
        assert ports == set(range(30_000, 30_005))
        ear = Ear()
        assert await outside.network.open(road, "x", ear, patience_s=1) is None
        return ear

    ear = simulated(main)
    assert [(seen.kind, seen["error"]) for seen in ear.failures] == [
        (Kind.LOCAL_ERROR, "EADDRINUSE")
    ]


def test_a_killed_daemon_can_bind_its_port_again() -> None:
    """``local_port`` binds exactly that port."""

    async def main(outside: Outside) -> int:
        flow = await outside.network.open(
            outside.road(), "x", Ear(), patience_s=1, local_port=23_456
        )
        assert flow is not None
        return flow.local.port

    assert simulated(main) == 23_456


def test_our_own_faults_are_local_errors() -> None:
    """A source that is not ours and a broken host are told apart from anything on the way."""

    async def main(outside: Outside) -> list[object]:
        ear = Ear()
        road = outside.road(source="10.77.0.1")
        assert await outside.network.open(road, "x", ear, patience_s=1) is None
        outside.network.local_fault = "EMFILE"
        assert await outside.network.open(outside.road(), "x", ear, patience_s=1) is None
        return [seen["error"] for seen in ear.failures]

    assert simulated(main) == ["EADDRNOTAVAIL", "EMFILE"]


def test_nothing_leaves_that_could_become_a_live_call() -> None:
    """The guard stands in the simulated flow as in the real ones: nothing crosses."""

    async def main(outside: Outside) -> int:
        flow = await outside.open(Ear())
        live = serialize(outside.invite(flow)).replace(
            b"INVITE urn:service:test.sos", b"INVITE urn:service:sos", 1
        )
        with pytest.raises(NotATestCall):
            flow.send(live)
        return outside.network.crossings

    assert simulated(main) == 0


def test_a_large_datagram_travels_in_fragments_and_is_lost_with_one() -> None:
    """Loss counts per fragment: what is twice as large is lost more often."""

    async def main(outside: Outside) -> tuple[int, int]:
        counts = []
        for padding in (0, 4000):
            ears = [Ear() for _ in range(300)]
            for ear in ears:
                flow = await outside.open(ear)
                flow.send(serialize(outside.invite(flow, padding=padding)))
            await asyncio.sleep(0.4)
            counts.append(sum(bool(ear.arrivals) for ear in ears))
        return counts[0], counts[1]

    small, large = simulated(main, plan=Plan(psaps=2, link=Link(loss=0.2)))
    assert small == pytest.approx(300 * 0.8**2, rel=0.15)
    assert large == pytest.approx(300 * 0.8**5, rel=0.25)


def test_a_stepped_clock_moves_wall_time_only() -> None:
    """The wall clock follows the loop, and a step does not move the loop."""

    async def main(outside: Outside) -> tuple[float, float]:
        clock, loop = outside.built.world.clock, asyncio.get_running_loop()
        before, began = clock.wall(), loop.time()
        await asyncio.sleep(10)
        clock.step(-600)
        return clock.wall() - before, loop.time() - began

    wall_s, loop_s = simulated(main)
    assert wall_s == pytest.approx(-590)
    assert loop_s == pytest.approx(10)
