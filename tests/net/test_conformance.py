"""What every transport must do: one suite, run over each row of TRANSPORTS and both families."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - reads back what the adapter has set
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from net.conftest import Certificates
from net.far_end import (
    LOOPBACK,
    PATIENCE_S,
    Recorder,
    StreamFarEnd,
    UdpFarEnd,
    a_network,
    closed_port,
    ok,
    opened,
    options,
    road,
    run,
    server_context,
    settle,
)
from psapwatch.endpoint import Address, PortRange, Source, Tls, TransportName
from psapwatch.evidence import Kind
from psapwatch.net import TRANSPORTS, TransportRow
from psapwatch.net.system import SystemNetwork
from psapwatch.sip.guard import NotATestCall
from psapwatch.world import Road


@dataclass
class Bench:
    """One transport over one family: its far end, the network, and the road between."""

    row: TransportRow
    family: int
    network: SystemNetwork
    far: UdpFarEnd | StreamFarEnd
    tls: Tls

    def road(self, *, source: Source | None = None, peer: Address | None = None) -> Road:
        """The road to the far end."""
        return road(self.row.name, peer or self.far.address, source=source, tls=self.tls)


MakeBench = Callable[[], AbstractAsyncContextManager[Bench]]


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    """IPv4 or IPv6."""
    return int(request.param)


@pytest.fixture(params=list(TRANSPORTS))
def bench(request: pytest.FixtureRequest, family: int, certificates: Certificates) -> MakeBench:
    """Return what makes the bench inside the test's loop."""
    row = TRANSPORTS[request.param]

    @asynccontextmanager
    async def make() -> AsyncIterator[Bench]:
        context = server_context(certificates.server) if row.secure else None
        host = LOOPBACK[family]
        far = StreamFarEnd(host, context) if row.reliable else UdpFarEnd(host)
        async with a_network() as network:
            bench = Bench(row, family, network, far, Tls(ca_file=certificates.ours.ca_file))
            try:
                yield bench
            finally:
                bench.far.close()

    return make


def test_a_message_arrives_whole_and_the_answer_comes_back(bench: MakeBench) -> None:
    """Octets out and in are exact; the answer's source is the peer, its time is before now."""

    async def body() -> None:
        async with bench() as b:
            flow, recorder = await opened(b.network, b.road())
            before = asyncio.get_running_loop().time()
            flow.send(options(body=b"\r\n\0 binary \xff"))
            heard = await b.far.heard.get()
            await b.far.answer(ok(body=b"x" * 900), heard.source)
            arrival = await recorder.arrivals.get()
            assert heard.octets == options(body=b"\r\n\0 binary \xff")
            assert arrival.octets == ok(body=b"x" * 900)
            assert arrival.source == b.far.address == flow.peer
            assert before < arrival.arrived_at <= asyncio.get_running_loop().time()
            assert flow.transport == b.row.name

    run(body)


def test_the_local_address_is_the_one_that_the_peer_sees(bench: MakeBench) -> None:
    """``flow.local`` is what Via and Contact will say: it must be true."""

    async def body() -> None:
        async with bench() as b:
            flow, _recorder = await opened(b.network, b.road())
            flow.send(options())
            assert (await b.far.heard.get()).source == flow.local

    run(body)


def test_a_wildcard_source_still_knows_its_true_address(bench: MakeBench) -> None:
    """Bound to any address, ``flow.local`` names the one that packets leave from."""

    async def body() -> None:
        async with bench() as b:
            anywhere = Source("::" if b.family == 6 else "0.0.0.0")
            flow, _recorder = await opened(b.network, b.road(source=anywhere))
            flow.send(options())
            assert (await b.far.heard.get()).source == flow.local
            assert flow.local.host == LOOPBACK[b.family]

    run(body)


def test_source_address_port_and_dscp_are_truly_set(bench: MakeBench) -> None:
    """The peer sees the source's address, a port of its range, and the DSCP of its packets."""

    async def body() -> None:
        async with bench() as b:
            host = "::1" if b.family == 6 else "127.0.0.77"
            source = Source(host, dscp=46, sip_ports=PortRange(23_000, 23_999))
            flow, _recorder = await opened(b.network, b.road(source=source))
            flow.send(options())
            heard = await b.far.heard.get()
            assert heard.source.host == host
            assert 23_000 <= heard.source.port <= 23_999
            if b.row.reliable:
                level, name = (
                    (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                    if b.family == 6
                    else (socket.IPPROTO_IP, socket.IP_TOS)
                )
                (connection,) = b.network._pool._all
                assert connection._one is not None
                assert connection._one.getsockopt(level, name) == 46 << 2
            else:
                assert heard.tos == 46 << 2

    run(body)


def test_a_given_local_port_is_bound_exactly(bench: MakeBench) -> None:
    """A killed daemon's calls are ended from the port that they were made from."""

    async def body() -> None:
        async with bench() as b:
            port = closed_port(b.row.name, LOOPBACK[b.family]).port
            recorder = Recorder()
            flow = await b.network.open(
                b.road(), "a", recorder, local_port=port, patience_s=PATIENCE_S
            )
            assert flow is not None
            flow.send(options())
            assert (await b.far.heard.get()).source.port == flow.local.port == port

    run(body)


def test_a_released_flow_hears_and_sends_nothing(bench: MakeBench) -> None:
    """After release nothing is heard and nothing leaves; a second release is harmless."""

    async def body() -> None:
        async with bench() as b:
            flow, recorder = await opened(b.network, b.road())
            flow.send(options())
            heard = await b.far.heard.get()
            await b.far.answer(ok(), heard.source)
            await recorder.arrivals.get()
            flow.release()
            flow.release()
            flow.send(options("later"))
            if b.row.reliable:
                await b.far.answer(ok(), heard.source)
            await settle()
            assert recorder.arrivals.empty()
            assert recorder.failures.empty()
            assert b.far.heard.empty()
            assert b.network.sockets_open == (1 if b.row.reliable else 0)
            b.network.close()
            assert b.network.sockets_open == 0

    run(body)


@pytest.mark.parametrize(
    "uri", ["urn:service:sos", "sip:911@psap.example", "urn:service:test.sos@x", "tel:911"]
)
def test_an_invite_that_is_no_test_call_never_leaves(bench: MakeBench, uri: str) -> None:
    """The guard raises, the far end hears nothing, and a test INVITE then still passes."""

    async def body() -> None:
        async with bench() as b:
            flow, _recorder = await opened(b.network, b.road())
            tail = b" SIP/2.0\r\nCall-ID: a\r\nContent-Length: 0\r\n\r\n"
            with pytest.raises(NotATestCall):
                flow.send(b"INVITE " + uri.encode() + tail)
            flow.send(b"INVITE urn:service:test.sos.police" + tail)
            assert (await b.far.heard.get()).octets.startswith(b"INVITE urn:service:test.sos")
            assert b.far.heard.empty()

    run(body)


def test_a_message_too_big_for_a_datagram(bench: MakeBench) -> None:
    """70 kB are our own error on UDP, and nothing special on a stream."""

    async def body() -> None:
        async with bench() as b:
            flow, recorder = await opened(b.network, b.road())
            flow.send(options(body=b"x" * 70_000))
            if not b.row.reliable:
                failure = await recorder.failures.get()
                assert (failure.kind, failure["error"]) == (Kind.LOCAL_ERROR, "EMSGSIZE")
                return
            octets = b""
            while len(octets) < 70_000:
                octets += (await b.far.heard.get()).octets
            assert octets == options(body=b"x" * 70_000)
            assert recorder.failures.empty()

    run(body)


def test_nobody_listens_at_the_peers_port(bench: MakeBench) -> None:
    """UDP: ICMP port unreachable with its sender. Streams: refused, and no flow."""

    async def body() -> None:
        async with bench() as b:
            peer = closed_port(b.row.name, LOOPBACK[b.family])
            recorder = Recorder()
            flow = await b.network.open(b.road(peer=peer), "a", recorder, patience_s=PATIENCE_S)
            if b.row.reliable:
                failure = recorder.failures.get_nowait()
                assert flow is None
                assert (failure.kind, failure["error"]) == (Kind.CONNECT_FAILED, "refused")
                assert b.network.sockets_open == 0
                return
            assert flow is not None
            flow.send(options())
            failure = await recorder.failures.get()
            assert failure.kind is Kind.ICMP
            assert dict(failure.facts) == {
                "family": b.family,
                "icmp_type": 3 if b.family == 4 else 1,
                "code": 3 if b.family == 4 else 4,
                "offender": LOOPBACK[b.family],
                "errno": "ECONNREFUSED",
                "to": str(peer),
            }

    run(body)


def test_the_peer_goes_away_in_the_middle(bench: MakeBench) -> None:
    """UDP: the retransmission meets ICMP. Streams: the connection is lost, told once."""

    async def body() -> None:
        async with bench() as b:
            flow, recorder = await opened(b.network, b.road())
            flow.send(options())
            await b.far.heard.get()
            if isinstance(b.far, StreamFarEnd):
                b.far.finish()
                failure = await recorder.failures.get()
                assert (failure.kind, failure["error"]) == (Kind.CONNECTION_LOST, "closed")
            else:
                b.far.close()
                flow.send(options())
                assert (await recorder.failures.get()).kind is Kind.ICMP
                b.far = UdpFarEnd(LOOPBACK[b.family])
            flow.send(options())  # never an exception
            flow.release()
            assert b.network.sockets_open == 0

    run(body)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (Source("192.0.2.200"), "EADDRNOTAVAIL"),
        (Source("2001:db8::200"), "EADDRNOTAVAIL"),
        (Source("127.0.0.1", interface="absent0"), "ENODEV"),
        (Source("::1", interface="absent0"), "ENODEV"),
    ],
)
def test_our_own_faults_are_local_errors(bench: MakeBench, source: Source, error: str) -> None:
    """An address or interface that is not ours is told as our own fault, whatever the transport."""

    async def body() -> None:
        async with bench() as b:
            wanted = error if (":" in source.address) == (b.family == 6) else "EAFNOSUPPORT"
            recorder = Recorder()
            flow = await b.network.open(b.road(source=source), "a", recorder, patience_s=PATIENCE_S)
            failure = recorder.failures.get_nowait()
            assert flow is None
            assert (failure.kind, failure["error"]) == (Kind.LOCAL_ERROR, wanted)
            assert recorder.failures.empty()
            assert b.network.sockets_open == 0

    run(body)


def test_what_comes_in_one_burst_is_delivered_in_order(bench: MakeBench) -> None:
    """Fifty messages in a row, on streams cut where it hurts, arrive one by one and in order."""

    async def body() -> None:
        async with bench() as b:
            flow, recorder = await opened(b.network, b.road())
            flow.send(options())
            source = (await b.far.heard.get()).source
            messages = [ok(body=b"%d" % number) for number in range(50)]
            if b.row.reliable:
                stream = b"".join(messages)
                for start in range(0, len(stream), 33):
                    await b.far.answer(stream[start : start + 33], source)
            else:
                for message in messages:
                    await b.far.answer(message, source)
            assert [(await recorder.arrivals.get()).octets for _ in messages] == messages

    run(body)


def test_transports_by_name() -> None:
    """Every transport of the contract has its row, under its own name."""
    names: set[TransportName] = {"udp", "tcp", "tls"}
    assert set(TRANSPORTS) == names
    assert all(row.name == name for name, row in TRANSPORTS.items())
    assert [row.default_port for row in TRANSPORTS.values()] == [5060, 5060, 5061]
