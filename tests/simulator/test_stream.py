"""Simulated TCP and TLS: phases, refusals, order, and what ends a connection."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from psapwatch.endpoint import Tls
from psapwatch.evidence import Kind
from psapwatch.simulator.certificate import Certificate
from psapwatch.simulator.link import Link
from psapwatch.simulator.rule import Packet, Reject, Rule, TcpReset
from psapwatch.simulator.topology import Plan
from psapwatch.simulator.world import EPOCH
from psapwatch.sip.wire import parse, serialize
from simulator.outside import Ear, Outside, simulated

STREAMS = Plan(psaps=2, transports=("udp", "tcp", "tls"), link=Link(delay_s=0.05, jitter_s=0.0))
INVITE = frozenset({"INVITE"})


def test_a_connection_comes_up_in_phases_that_take_their_round_trips() -> None:
    """TCP takes one round trip, TLS one more; the certificate's facts are told."""

    async def main(outside: Outside) -> Ear:
        return await outside.ask(outside.road("tls"))

    ear = simulated(main, plan=STREAMS)
    assert ear.codes == [200]
    connected, tls_up = ear.phases
    assert (connected.kind, tls_up.kind) == (Kind.CONNECTED, Kind.TLS_UP)
    assert connected["duration_s"] == pytest.approx(0.1)
    assert tls_up["duration_s"] == pytest.approx(0.1)
    assert (connected["peer"], connected["reused"]) == ("10.20.0.2:5061", False)
    assert tls_up["names"] == "DNS:psap-001.example.gov"


def test_connections_are_reused_for_five_minutes() -> None:
    """Who asks for the same road shares the connection, at most 300 s old; then a fresh one."""

    async def main(outside: Outside) -> list[tuple[int, bool]]:
        uses = []
        for _ in range(8):
            ear = Ear()
            flow = await outside.open(ear, outside.road("tcp"), "one")
            flow.send(outside.options(flow, "one"))
            await asyncio.sleep(1)
            assert ear.codes == [200]
            uses.append((flow.local.port, bool(ear.phases[0]["reused"])))
            flow.release()
            await asyncio.sleep(59)
        return uses

    uses = simulated(main, plan=STREAMS)
    assert [reused for _port, reused in uses] == [False, True, True, True, True, False, True, True]
    assert len({port for port, _reused in uses}) == 2


def test_a_connection_that_stayed_silent_is_not_reused() -> None:
    """Silence makes a connection suspect: the next attempt gets a fresh one."""

    async def main(outside: Outside) -> bool:
        first = await outside.open(Ear(), outside.road("tcp"), "one")
        first.release()
        ear = Ear()
        await outside.open(ear, outside.road("tcp"), "two")
        return bool(ear.phases[0]["reused"])

    assert simulated(main, plan=STREAMS) is False


def test_suspicion_drops_what_would_be_reused() -> None:
    """``drop_reused`` gives the next who asks a fresh connection; who uses the old one goes on."""

    async def main(outside: Outside) -> None:
        ear, later = Ear(), Ear()
        old = await outside.open(ear, outside.road("tcp"), "one")
        outside.network.drop_reused()
        new = await outside.open(later, outside.road("tcp"), "two")
        assert new.local != old.local
        old.send(outside.options(old, "one"))
        await asyncio.sleep(1)
        assert ear.codes == [200]

    simulated(main, plan=STREAMS)


def test_those_who_wait_share_one_handshake() -> None:
    """Ten at once over one road make one connection, and each hears its own Call-ID."""

    async def main(outside: Outside) -> None:
        ears = {f"call-{n}": Ear() for n in range(10)}
        flows = await asyncio.gather(
            *(outside.open(ear, outside.road("tls"), call_id) for call_id, ear in ears.items())
        )
        assert len({flow.local for flow in flows}) == 1
        for flow, call_id in zip(flows, ears, strict=True):
            flow.send(outside.options(flow, call_id))
        await asyncio.sleep(1)
        for call_id, ear in ears.items():
            assert [parse(arrival.octets).call_id for arrival in ear.arrivals] == [call_id]
        for flow in flows:
            flow.release()
        assert outside.network.open_flows == 0

    simulated(main, plan=STREAMS)


async def _refused(outside: Outside, transport: str = "tcp") -> Ear:
    ear = Ear()
    road = outside.road("tls" if transport == "tls" else "tcp")
    assert await outside.network.open(road, "x", ear, patience_s=4.0) is None
    assert outside.network.open_flows == 0
    return ear


def test_a_stopped_service_refuses() -> None:
    """RST to the SYN, after one round trip."""

    async def main(outside: Outside) -> tuple[Ear, float]:
        outside.psap.state = "stopped"
        return await _refused(outside), asyncio.get_running_loop().time()

    ear, after_s = simulated(main, plan=STREAMS)
    assert [(seen.kind, seen["error"]) for seen in ear.failures] == [
        (Kind.CONNECT_FAILED, "refused")
    ]
    assert after_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("rule", "kinds", "error"),
    [
        (Rule(name="r"), [Kind.CONNECT_FAILED], "timeout"),
        (Rule(name="r", direction="outward"), [Kind.CONNECT_FAILED], "timeout"),
        (Rule(name="r", action=TcpReset()), [Kind.CONNECT_FAILED], "refused"),
        (Rule(name="r", action=Reject()), [Kind.ICMP, Kind.CONNECT_FAILED], "unreachable"),
        (Rule(name="r", phase="hello"), [Kind.TLS_FAILED], "timeout"),
        (Rule(name="r", phase="hello", action=TcpReset()), [Kind.TLS_FAILED], "closed"),
        (Rule(name="r", phase="syn", direction="inward"), [Kind.CONNECT_FAILED], "timeout"),
    ],
)
def test_what_stops_a_connection_from_coming_up(rule: Rule, kinds: list[Kind], error: str) -> None:
    """Silence, reset and ICMP, on the SYN and in the handshake, each have their own words."""

    async def main(outside: Outside) -> Ear:
        outside.firewall.add(rule)
        ear = await _refused(outside, "tls")
        assert outside.firewall.hits["r"] >= 1
        return ear

    ear = simulated(main, plan=STREAMS)
    assert ear.kinds == kinds
    assert ear.failures[-1]["error"] == error


GOOD = Certificate(names=("psap-001.example.gov",), not_after=EPOCH + 86_400)


@pytest.mark.parametrize(
    ("certificate", "error", "detail", "ours"),
    [
        (replace(GOOD, alert="handshake_failure"), "alert", "handshake_failure", False),
        (replace(GOOD, alert="protocol_version"), "alert", "protocol_version", False),
        (replace(GOOD, alert="certificate_required"), "alert", "certificate_required", True),
        (replace(GOOD, alert="unknown_ca"), "alert", "unknown_ca", True),
        (replace(GOOD, not_after=EPOCH - 1), "certificate", "certificate has expired", False),
        (replace(GOOD, trust="self-signed"), "certificate", "self-signed certificate", False),
        (replace(GOOD, trust="unknown issuer"), "certificate", "unable to get local", False),
        (replace(GOOD, names=("*.example.gov",)), "name", "DNS:*.example.gov", False),
        (replace(GOOD, behaves="stalls"), "timeout", "no answer from", False),
        (replace(GOOD, behaves="closes"), "closed", "closed", False),
    ],
)
def test_tls_fails_in_every_way(
    certificate: Certificate, error: str, detail: str, ours: bool
) -> None:
    """Each refusal of a handshake has its word, and whose fault it is."""

    async def main(outside: Outside) -> Ear:
        outside.psap.certificate = certificate
        return await _refused(outside, "tls")

    ear = simulated(main, plan=STREAMS)
    assert ear.kinds == [Kind.TLS_FAILED]
    assert [seen.kind for seen in ear.phases] == [Kind.CONNECTED]
    facts = ear.failures[0].facts
    assert (facts["error"], facts["ours"]) == (error, ours)
    assert detail in str(facts["detail"])


def test_without_verification_any_certificate_will_do() -> None:
    """``verify: false`` looks at neither trust nor name nor date."""

    async def main(outside: Outside) -> Ear:
        outside.psap.certificate = replace(GOOD, trust="self-signed", names=("x",))
        return await outside.ask(replace(outside.road("tls"), tls=Tls(verify=False)))

    assert simulated(main, plan=STREAMS).codes == [200]


def test_a_lost_packet_is_sent_again_and_order_is_kept() -> None:
    """Over a lossy link every message arrives once and in order, only later."""

    async def main(outside: Outside) -> list[str]:
        ear = Ear()
        flow = await outside.network.open(outside.road("tcp"), "", ear, patience_s=20)
        assert flow is not None
        for number in range(40):
            flow.send(outside.options(flow, f"call-{number}"))
            await asyncio.sleep(0.05)
        await asyncio.sleep(30)
        return [parse(arrival.octets).call_id for arrival in ear.arrivals]

    plan = replace(STREAMS, link=Link(loss=0.2, jitter_s=0.02))
    assert simulated(main, seed=3, plan=plan) == [f"call-{number}" for number in range(40)]


def test_a_reset_in_mid_stream_is_told_to_all_who_use_the_connection() -> None:
    """RST after the INVITE ends the connection; the next who asks gets a fresh one."""

    async def main(outside: Outside) -> None:
        ears = [Ear(), Ear()]
        flows = [await outside.open(ear, outside.road("tcp"), str(n)) for n, ear in enumerate(ears)]
        outside.firewall.add(Rule(name="rst", action=TcpReset(), methods=INVITE))
        flows[0].send(serialize(outside.invite(flows[0])))
        await asyncio.sleep(1)
        for ear in ears:
            assert [(seen.kind, seen["error"]) for seen in ear.failures] == [
                (Kind.CONNECTION_LOST, "reset")
            ]
        fresh = await outside.ask(outside.road("tcp"))
        assert fresh.phases[0]["reused"] is False

    simulated(main, plan=STREAMS)


def test_inside_tls_no_rule_reads_the_method() -> None:
    """A method rule cannot see into TLS; a size rule can."""

    async def main(outside: Outside) -> None:
        ear = Ear()
        flow = await outside.network.open(outside.road("tls"), "", ear, patience_s=4)
        assert flow is not None
        outside.firewall.add(Rule(name="method", methods=INVITE))
        request = outside.invite(flow)
        flow.send(serialize(request))
        await asyncio.sleep(0.3)
        assert 200 in ear.codes
        assert outside.firewall.hits["method"] == 0
        outside.acknowledge(flow, request, ear.arrivals[-1].octets)

    simulated(main, plan=STREAMS)


def test_a_stalled_message_holds_back_what_follows_and_loses_the_connection() -> None:
    """A path-MTU black hole: the large never crosses, the small wait, after 32 s it is over."""

    async def main(outside: Outside) -> tuple[list[Kind], float]:
        ear = Ear()
        flow = await outside.network.open(outside.road("tcp"), "", ear, patience_s=4)
        assert flow is not None
        outside.firewall.add(Rule(name="black hole", min_size=1_260))
        began = asyncio.get_running_loop().time()
        flow.send(serialize(outside.invite(flow, padding=2_000)))
        flow.send(outside.options(flow))
        await asyncio.sleep(60)
        assert not ear.arrivals
        return ear.kinds, ear.failures[0].at_s - began

    kinds, after_s = simulated(main, plan=STREAMS)
    assert kinds == [Kind.CONNECTION_LOST]
    assert after_s == pytest.approx(32, abs=10)


def test_a_large_message_travels_in_segments() -> None:
    """What a rule sees of a stream is never larger than a segment."""

    async def main(outside: Outside) -> int:
        flow = await outside.open(Ear(), outside.road("tcp"))
        message = serialize(outside.invite(flow, padding=4_000))
        return Packet("tcp", flow.local, flow.peer, message).size

    assert simulated(main, plan=STREAMS) == 1_448


def test_stopping_the_service_closes_its_connections() -> None:
    """FIN is told as a closed connection."""

    async def main(outside: Outside) -> Ear:
        ear = Ear()
        await outside.open(ear, outside.road("tcp"))
        outside.psap.state = "stopped"
        return ear

    ear = simulated(main, plan=STREAMS)
    assert [(seen.kind, seen["error"]) for seen in ear.failures] == [
        (Kind.CONNECTION_LOST, "closed")
    ]


def test_after_a_failover_without_state_old_connections_die_and_new_ones_live() -> None:
    """``tcp_loose = False``: a connection that the firewall does not know does not cross."""

    async def main(outside: Outside) -> None:
        outside.firewall.tcp_loose = False
        ear = Ear()
        flow = await outside.open(ear, outside.road("tcp", kept=True), "one")
        outside.firewall.forget_states()
        flow.send(outside.options(flow, "one"))
        await asyncio.sleep(5)
        assert not ear.arrivals
        assert (await outside.ask(outside.road("tcp"))).codes == [200]

    simulated(main, plan=STREAMS)
