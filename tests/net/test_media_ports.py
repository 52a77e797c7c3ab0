"""Media ports on real sockets: pairs, ranges, kernel time, ICMP, and nothing but RTP."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - finds free ports, and sees that closed ones are
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from psapwatch.endpoint import Address, PortRange, Source
from psapwatch.evidence import Kind, Observation
from psapwatch.net.clock import SystemClock
from psapwatch.net.mirror_ports import MirrorPorts
from psapwatch.net.system import SystemEntropy, SystemNetwork
from psapwatch.rtp.mirror import Packet
from psapwatch.rtp.packet import RtpPacket, receiver_report, serialize_rtp
from psapwatch.world import Arrival, MediaFlow

RTP = serialize_rtp(RtpPacket(0, 1, 160, 7, b"x" * 160))
TRIES_MAX = 60
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


@dataclass
class Ear:
    """Keeps what is heard."""

    arrivals: list[Arrival] = field(default_factory=list)
    failures: list[Observation] = field(default_factory=list)

    def media_arrived(self, arrival: Arrival) -> None:
        """Keep it."""
        self.arrivals.append(arrival)

    def media_failed(self, seen: Observation) -> None:
        """Keep it."""
        self.failures.append(seen)


def run(main: Callable[[SystemNetwork], Coroutine[Any, Any, None]], sockets_max: int = 100) -> None:
    """Run with a real network, and see that nothing of it stays open."""

    async def whole() -> None:
        network = SystemNetwork(SystemClock(), SystemEntropy(), sockets_max=sockets_max)
        try:
            await main(network)
            assert network.sockets_open == 0
        finally:
            network.close()

    asyncio.run(whole())


def opened(network: SystemNetwork, source: Source, ear: Ear | None = None) -> MediaFlow:
    """A pair that must open."""
    flow = network.open_media(source, source.address, ear or Ear())
    assert flow is not None
    return flow


def free_pair() -> int:
    """An even port that is free now, and the one above it."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port % 2 == 0:
            return port


@HOSTS
def test_rtp_is_even_and_rtcp_one_above(host: str) -> None:
    """RFC 3550 11, and both leave from where they are heard."""

    async def main(network: SystemNetwork) -> None:
        ears = Ear(), Ear()
        ours, theirs = (opened(network, Source(host), ear) for ear in ears)
        assert ours.local.port % 2 == 0
        assert ours.local.host == host
        control = Address(host, theirs.local.port + 1)
        ours.send(RTP, theirs.local)
        ours.send(receiver_report(7), control, is_control=True)
        await asyncio.sleep(0.05)
        assert [arrival.source.port - ours.local.port for arrival in ears[1].arrivals] == [0, 1]
        for flow in (ours, theirs):
            flow.release()

    run(main)


def test_ports_come_from_the_range() -> None:
    """Every pair of the range is used, and then there is none: our own fault, said so."""
    low = free_pair()

    async def main(network: SystemNetwork) -> None:
        source = Source("127.0.0.1", rtp_ports=PortRange(low, low + 1))
        flow = opened(network, source)
        assert flow.local.port == low
        ear = Ear()
        assert network.open_media(source, "127.0.0.1", ear) is None
        [seen] = ear.failures
        assert (seen.kind, seen["error"]) == (Kind.LOCAL_ERROR, "EADDRINUSE")
        flow.release()

    run(main)


def test_an_odd_range_begins_at_its_first_even_port() -> None:
    """No pair straddles the beginning or the end."""
    low = free_pair()

    async def main(network: SystemNetwork) -> None:
        flow = opened(network, Source("127.0.0.1", rtp_ports=PortRange(low - 1, low + 2)))
        assert flow.local.port == low
        flow.release()

    run(main)


def test_only_rtp_leaves() -> None:
    """A SIP request is refused at the last point before the socket."""

    async def main(network: SystemNetwork) -> None:
        flow = opened(network, Source("127.0.0.1"))
        for octets in (b"INVITE urn:service:sos SIP/2.0\r\n\r\n", b"", b"\x00" * 20):
            with pytest.raises(ValueError, match="neither RTP nor RTCP"):
                flow.send(octets, flow.local)
        flow.release()

    run(main)


def test_arrivals_carry_the_kernels_time() -> None:
    """What waited in the socket while the loop was busy is as old as it is.

    Where this machine was busy itself, the kernel's time is not trusted: then it is tried again.
    """

    async def main(network: SystemNetwork) -> None:
        ear = Ear()
        flow = opened(network, Source("127.0.0.1"), ear)
        loop = asyncio.get_running_loop()
        ages = []
        for _try in range(TRIES_MAX):
            left_at = flow.send(RTP, flow.local)
            until = loop.time() + 0.05
            while loop.time() < until:
                pass  # a loop that is busy
            await asyncio.sleep(0.01)
            ages.append(ear.arrivals[-1].arrived_at - left_at)
            if 0 <= ages[-1] < 0.02:
                break
        else:
            pytest.fail(f"arrived after {ages}")
        flow.release()

    run(main)


@HOSTS
def test_icmp_comes_with_its_sender(host: str) -> None:
    """Nobody listens there: port unreachable, about which address, from whom."""

    async def main(network: SystemNetwork) -> None:
        ear = Ear()
        flow, gone = opened(network, Source(host), ear), opened(network, Source(host))
        to = gone.local
        gone.release()
        flow.send(RTP, to)
        await asyncio.sleep(0.05)
        [seen] = [each for each in ear.failures if each.kind is Kind.ICMP]
        assert seen["to"] == str(to)
        assert seen["offender"] == host
        flow.send(RTP, to)  # the pending error does not stand in the way
        await asyncio.sleep(0.05)
        assert len(ear.failures) == 2
        flow.release()

    run(main)


def test_media_counts_among_the_sockets() -> None:
    """Two of them a call; without room there is none, and none is left half open."""

    async def main(network: SystemNetwork) -> None:
        flow = opened(network, Source("127.0.0.1"))
        assert network.sockets_open == 2
        ear = Ear()
        assert network.open_media(Source("127.0.0.1"), "127.0.0.1", ear) is None
        assert ear.failures[0]["error"] == "EMFILE"
        assert network.sockets_open == 2
        flow.release()

    run(main, sockets_max=3)


def test_mirrors_open_pairs_until_they_are_full() -> None:
    """Two at once here; a closed pair lingers a second without counting, and then is gone."""

    async def main() -> None:
        heard: list[tuple[Address, bytes]] = []
        ports = MirrorPorts(
            SystemClock(), SystemEntropy(), Source("127.0.0.1"),
            lambda local, arrival: heard.append((local, arrival.octets)), mirrors_max=2,
        )  # fmt: skip
        first, second = ports.open(), ports.open()
        assert first is not None
        assert second is not None
        assert ports.open() is not None, "room for what lingers"
        assert ports.is_full
        ports.send(first, Packet(RTP, second, 0))
        ports.send(first, Packet(receiver_report(1), Address(second.host, second.port + 1), 1))
        await asyncio.sleep(0.05)
        assert heard == [(second, RTP), (second, receiver_report(1))]
        for local in (first, second):
            ports.close(local)
        now_free = not ports.is_full
        assert now_free
        ports.shut()
        ports.send(first, Packet(RTP, second, 0))
        for local in (first, second):
            with socket.socket(type=socket.SOCK_DGRAM) as again:
                again.bind((local.host, local.port))

    asyncio.run(main())
