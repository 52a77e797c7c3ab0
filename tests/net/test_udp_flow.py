"""Datagram flows: the error queue, answers from elsewhere, ports, and sockets by the thousand."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from net.far_end import (
    PATIENCE_S,
    Recorder,
    UdpFarEnd,
    a_network,
    closed_port,
    ok,
    opened,
    options,
    road,
    run,
    settle,
)
from psapwatch.endpoint import Address, FlowKind, PortRange, Source, TransportName
from psapwatch.evidence import Kind
from psapwatch.net.system import SystemNetwork
from psapwatch.world import Flow

SILENT_SOCKETS = 4_300
"""2,000 silent paths with OPTIONS every 15 s, each listening to its Timer F."""


async def flow_of(
    network: SystemNetwork, peer: Address, call_id: str, *, is_call: bool = False
) -> tuple[Flow | None, Recorder]:
    """A fresh datagram flow, of a call or not."""
    recorder = Recorder()
    flow = await network.open(
        road("udp", peer), call_id, recorder, patience_s=PATIENCE_S, is_call=is_call
    )
    return flow, recorder


def test_an_answer_from_elsewhere_is_heard() -> None:
    """The socket is not connected: another host's answer arrives, with its true source."""

    async def body() -> None:
        far, elsewhere = UdpFarEnd("127.0.0.1"), UdpFarEnd("127.0.0.9")
        async with a_network() as network:
            flow, recorder = await opened(network, road("udp", far.address))
            await elsewhere.answer(ok(), flow.local)
            assert (await recorder.arrivals.get()).source == elsewhere.address
        far.close()
        elsewhere.close()

    run(body)


def test_octets_that_are_no_message_are_handed_on() -> None:
    """A fresh flow has one listener, who judges for itself; a datagram may also be empty."""

    async def body() -> None:
        far = UdpFarEnd("127.0.0.1")
        async with a_network() as network:
            flow, recorder = await opened(network, road("udp", far.address))
            for octets in (b"\xff\0 garbage", b"", ok("another@test"), b"x" * 60_000):
                await far.answer(octets, flow.local)
                assert (await recorder.arrivals.get()).octets == octets
        far.close()

    run(body)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_pending_icmp_error_does_not_eat_the_next_message(host: str) -> None:
    """The error of an earlier datagram is told, and the message still leaves."""

    async def body() -> None:
        peer = closed_port("udp", host)
        async with a_network() as network:
            flow, recorder = await opened(network, road("udp", peer))
            flow.send(options())  # its ICMP error is pending in the socket now
            far = UdpFarEnd(host, peer.port)
            flow.send(options("second"))
            assert (await far.heard.get()).octets == options("second")
            assert (await recorder.failures.get()).kind is Kind.ICMP
            assert recorder.failures.empty()
            far.close()

    run(body)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_icmp_error_does_not_make_the_loop_spin(host: str) -> None:
    """Once told, an error is out of the queue: no descriptor stays ready."""

    async def body() -> None:
        async with a_network() as network:
            flow, recorder = await opened(network, road("udp", closed_port("udp", host)))
            for _message in range(3):
                flow.send(options())
            assert (await recorder.failures.get()).kind is Kind.ICMP
            await settle()
            loop = asyncio.get_running_loop()
            assert loop._selector.select(0) == []  # type: ignore[attr-defined]

    run(body)


def test_a_message_to_the_other_family_is_our_own_error() -> None:
    """An ACK to an IPv6 Contact cannot leave an IPv4 socket; it is told, not raised."""

    async def body() -> None:
        far = UdpFarEnd("127.0.0.1")
        async with a_network() as network:
            flow, recorder = await opened(network, road("udp", far.address))
            flow.send(options(), Address("::1", 5060))
            assert (await recorder.failures.get()).kind is Kind.LOCAL_ERROR
        far.close()

    run(body)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("flow", ["fresh", "kept"])
def test_a_wildcard_source_without_a_way_to_the_peer(
    transport: TransportName, flow: FlowKind
) -> None:
    """Where our own address towards the peer cannot be known, nothing is opened or left open."""

    async def body() -> None:
        nowhere = Address("255.255.255.255", 5060)  # broadcast is not permitted to us
        async with a_network() as network:
            recorder = Recorder()
            way = road(transport, nowhere, source=Source("0.0.0.0"), flow=flow)
            assert await network.open(way, "a", recorder, patience_s=PATIENCE_S) is None
            assert recorder.failures.get_nowait()["error"] == "EACCES"
            assert network.sockets_open == 0

    run(body)


def test_source_ports_are_not_used_again_soon() -> None:
    """Of forty ports, twenty attempts in a row use twenty different ones."""

    async def body() -> None:
        source = Source("127.0.0.1", sip_ports=PortRange(24_000, 24_039))
        async with a_network() as network:
            ports = []
            for _attempt in range(200):
                flow, _recorder = await opened(
                    network, road("udp", Address("127.0.0.1", 9), source=source)
                )
                ports.append(flow.local.port)
                flow.release()
            assert all(len(set(ports[i : i + 20])) == 20 for i in range(180))
            assert len(set(ports)) == 40

    run(body)


def test_every_port_of_a_small_range_is_found_and_then_no_more() -> None:
    """Four ports carry four flows at once; the fifth attempt is our own fault, not the path's."""

    async def body() -> None:
        source = Source("127.0.0.1", sip_ports=PortRange(24_100, 24_103))
        way = road("udp", Address("127.0.0.1", 9), source=source)
        async with a_network() as network:
            ports = {(await opened(network, way))[0].local.port for _flow in range(4)}
            assert ports == set(range(24_100, 24_104))
            recorder = Recorder()
            assert await network.open(way, "fifth", recorder, patience_s=PATIENCE_S) is None
            seen = recorder.failures.get_nowait()
            assert (seen.kind, seen["error"]) == (Kind.LOCAL_ERROR, "EADDRINUSE")

    run(body)


# -- sockets_max


def test_the_oldest_silent_options_gives_way() -> None:
    """Full, the oldest silent flow that is no call is dropped and told; answered ones stay."""

    async def body() -> None:
        far = UdpFarEnd("127.0.0.1")
        async with a_network(sockets_max=4) as network:
            call, hears_call = await flow_of(network, far.address, "call", is_call=True)
            answered, hears_answered = await flow_of(network, far.address, "answered")
            oldest, hears_oldest = await flow_of(network, far.address, "oldest")
            _younger, hears_younger = await flow_of(network, far.address, "younger")
            assert call is not None
            assert answered is not None
            assert oldest is not None
            await far.answer(ok("answered"), answered.local)
            await hears_answered.arrivals.get()

            newest, _recorder = await flow_of(network, far.address, "newest")
            assert newest is not None
            seen = await hears_oldest.failures.get()
            assert (seen.kind, seen["error"]) == (Kind.LOCAL_ERROR, "sockets_max")
            oldest.send(options("oldest"))  # no longer open: nothing leaves, nothing is raised
            for flow, recorder in ((call, hears_call), (answered, hears_answered)):
                flow.send(options())
                assert (await far.heard.get()).source == flow.local
                assert recorder.failures.empty()
            assert hears_younger.failures.empty()
            assert (network.sockets_open, network.dropped) == (4, 1)
        far.close()

    run(body)


def test_calls_never_give_way() -> None:
    """With calls in every socket the next attempt is refused as our own limit."""

    async def body() -> None:
        async with a_network(sockets_max=3) as network:
            peer = Address("127.0.0.1", 9)
            calls = [await flow_of(network, peer, str(n), is_call=True) for n in range(3)]
            for is_call in (False, True):
                flow, recorder = await flow_of(network, peer, "more", is_call=is_call)
                assert flow is None
                assert recorder.failures.get_nowait()["error"] == "EMFILE"
            assert all(recorder.failures.empty() for _flow, recorder in calls)

    run(body)


def test_an_idle_kept_flow_gives_way_before_a_call_does() -> None:
    """Shared flows that nobody uses are closed to make room."""

    async def body() -> None:
        peer = Address("127.0.0.1", 9)
        async with a_network(sockets_max=2) as network:
            kept, _recorder = await opened(network, road("udp", peer, flow="kept"))
            kept.release()
            flows = [(await flow_of(network, peer, str(n), is_call=True))[0] for n in range(2)]
            assert all(flows)
            assert network.sockets_open == 2

    run(body)


def descriptors() -> int:
    """How many descriptors this process has open (and one that counts them)."""
    return sum(1 for _each in Path("/proc/self/fd").iterdir())


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open only so many more files."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_full_descriptor_table_is_handled_like_a_full_pool() -> None:
    """EMFILE from the system drops the oldest silent OPTIONS too, and the attempt goes on."""

    async def body() -> None:
        async with a_network(sockets_max=1_000) as network:
            peer = Address("127.0.0.1", 9)
            with descriptors_left(8):
                flows = [await flow_of(network, peer, str(number)) for number in range(20)]
            await settle()
            assert all(flow is not None for flow, _recorder in flows)
            dropped = [recorder for _flow, recorder in flows if not recorder.failures.empty()]
            assert len(dropped) == network.dropped >= 12
            assert dropped == [recorder for _flow, recorder in flows[: len(dropped)]]

    run(body)


def test_thousands_of_silent_sockets_cost_next_to_nothing() -> None:
    """4,300 open flows with error queues: one descriptor each, none ready, quick to open."""

    async def body() -> None:
        far = UdpFarEnd("127.0.0.1")
        source = Source("127.0.0.1", sip_ports=PortRange(30_000, 49_999))
        async with a_network() as network:
            before = descriptors()
            flows = [
                (await opened(network, road("udp", far.address, source=source), str(number)))[0]
                for number in range(SILENT_SOCKETS)
            ]
            assert descriptors() - before == SILENT_SOCKETS
            assert network.sockets_open == SILENT_SOCKETS
            assert len({flow.local.port for flow in flows}) == SILENT_SOCKETS
            loop = asyncio.get_running_loop()
            assert loop._selector.select(0) == []  # type: ignore[attr-defined]
            for flow in flows:
                flow.release()
            assert descriptors() == before
        far.close()

    run(body)


# -- when octets came in


def test_a_busy_loop_does_not_make_an_answer_look_late() -> None:
    """The arrival is the kernel's receive time, not the time that we found time to read it."""

    async def body() -> None:
        far = UdpFarEnd("127.0.0.1")
        loop = asyncio.get_running_loop()
        async with a_network() as network:
            flow, recorder = await opened(network, road("udp", far.address))
            await far.answer(ok(), flow.local)
            answered_at = loop.time()
            while loop.time() < answered_at + 0.05:
                pass  # the loop is busy with something else
            arrival = await recorder.arrivals.get()
            assert answered_at - 0.05 < arrival.arrived_at < answered_at + 0.01
        far.close()

    run(body)
