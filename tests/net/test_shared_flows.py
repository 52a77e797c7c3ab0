"""Connections and kept sockets shared by many Call-IDs: who hears what, and how long they live."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - a listener that never accepts
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from net.far_end import (
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
    settle,
)
from psapwatch.endpoint import Address, FlowKind
from psapwatch.evidence import Kind
from psapwatch.net.pool import IDLE_MAX_S
from psapwatch.net.send_queue import WRITE_BUFFER_MAX
from psapwatch.net.system import SystemNetwork
from psapwatch.world import REUSE_MAX_S

BOTH_KINDS = pytest.mark.parametrize("transport", ["udp", "tcp"])


def far_end(transport: str) -> UdpFarEnd | StreamFarEnd:
    """A far end on IPv4 loopback."""
    return UdpFarEnd("127.0.0.1") if transport == "udp" else StreamFarEnd("127.0.0.1")


def age(network: SystemNetwork, by_s: float) -> None:
    """Make everything that is shared older."""
    for carrier in network._pool._all:
        carrier.used_at -= by_s
        if hasattr(carrier, "began_at"):
            carrier.began_at -= by_s
    network._pool._swept_at -= by_s


@BOTH_KINDS
def test_each_listener_hears_its_own_call_id(transport: str) -> None:
    """Two leases share a kept flow; messages of others go to the catch-all, or are counted."""

    async def body() -> None:
        far = far_end(transport)
        async with a_network() as network:
            way = road("udp" if transport == "udp" else "tcp", far.address, flow="kept")
            one, hears_one = await opened(network, way, "one")
            two, hears_two = await opened(network, way, "two")
            assert one.local == two.local
            assert network.sockets_open == 1
            one.send(options("one"))
            source = (await far.heard.get()).source
            for call_id in ("two", "one", "nobody"):
                await far.answer(ok(call_id), source)
            assert (await hears_two.arrivals.get()).octets == ok("two")
            assert (await hears_one.arrivals.get()).octets == ok("one")
            await settle()
            (carrier,) = network._pool._all
            assert carrier.listeners.strays == 1
            _rest, hears_rest = await opened(network, way, "")
            await far.answer(ok("nobody"), source)
            assert (await hears_rest.arrivals.get()).octets == ok("nobody")
            assert hears_one.arrivals.empty()
            assert hears_two.arrivals.empty()
            one.release()
            two.release()
            assert carrier.listeners.heard == {""}  # nothing is kept of who is gone
        far.close()

    run(body)


@BOTH_KINDS
def test_a_kept_flow_outlives_its_users(transport: str) -> None:
    """Released, silent and old, a kept flow is still the same 5-tuple; unused for long it goes."""

    async def body() -> None:
        far = far_end(transport)
        async with a_network() as network:
            way = road("udp" if transport == "udp" else "tcp", far.address, flow="kept")
            first, _recorder = await opened(network, way)
            first.release()
            age(network, REUSE_MAX_S + 1)
            again, _recorder = await opened(network, way)
            assert again.local == first.local
            again.release()
            age(network, IDLE_MAX_S + 1)
            fresh, _recorder = await opened(network, way)
            assert fresh.local != first.local
            assert network.sockets_open == 1
        far.close()

    run(body)


def test_a_connection_is_reused_for_five_minutes() -> None:
    """Then the next attempt gets a fresh one, and the old one stays for whoever still uses it."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            way = road("tcp", far.address)
            first, hears_first = await opened(network, way, "first")
            second, hears_second = await opened(network, way, "second")
            assert second.local == first.local
            assert [seen["reused"] for seen in hears_second.phases] == [True]
            age(network, REUSE_MAX_S + 1)
            third, hears_third = await opened(network, way, "third")
            assert third.local != first.local
            assert [seen["reused"] for seen in hears_third.phases] == [False]
            first.send(options("first"))
            await far.heard.get()
            assert network.sockets_open == 2
            second.release()
            first.release()
            assert network.sockets_open == 1
            assert hears_first.failures.empty()
        far.close()

    run(body)


@pytest.mark.parametrize(("flow", "same"), [("fresh", False), ("kept", True)])
def test_a_connection_that_stayed_silent_is_not_reused(flow: FlowKind, same: bool) -> None:
    """A Call-ID without an answer retires a reused connection; a kept one is what is measured."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            way = road("tcp", far.address, flow=flow)
            silent, _recorder = await opened(network, way)
            silent.send(options())
            await far.heard.get()
            silent.release()
            after, _recorder = await opened(network, way)
            assert (after.local == silent.local) is same
        far.close()

    run(body)


def test_suspicion_drops_reused_connections() -> None:
    """``drop_reused`` makes the next attempt fresh, to one peer or to all; kept flows stay."""

    async def body() -> None:
        far, other = StreamFarEnd("127.0.0.1"), StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            ways = [
                road("tcp", far.address),
                road("tcp", other.address),
                road("tcp", far.address, flow="kept"),
            ]
            before = [(await opened(network, way))[0].local for way in ways]
            network.drop_reused(far.address)
            after = [(await opened(network, way, "b"))[0].local for way in ways]
            assert [old == new for old, new in zip(before, after, strict=True)] == [
                False,
                True,
                True,
            ]
            network.drop_reused()
            last = [(await opened(network, way, "c"))[0].local for way in ways]
            assert [old == new for old, new in zip(after, last, strict=True)] == [
                False,
                False,
                True,
            ]
        far.close()
        other.close()

    run(body)


@pytest.mark.parametrize(("ending", "error"), [("finish", "closed"), ("reset", "reset")])
def test_everyone_on_a_lost_connection_is_told(ending: str, error: str) -> None:
    """FIN and RST in the middle reach every listener once; the next attempt connects afresh."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            way = road("tcp", far.address)
            one, hears_one = await opened(network, way, "one")
            _two, hears_two = await opened(network, way, "two")
            one.send(options("one"))
            await far.heard.get()
            getattr(far, ending)()
            for recorder in (hears_one, hears_two):
                seen = await recorder.failures.get()
                assert (seen.kind, seen["error"]) == (Kind.CONNECTION_LOST, error)
            one.send(options("one"))
            await settle()
            assert hears_one.failures.empty()
            assert network.sockets_open == 0
            _three, hears_three = await opened(network, way, "three")
            assert hears_three.phase(Kind.CONNECTED)["reused"] is False
        far.close()

    run(body)


def test_what_was_said_before_the_reset_is_heard_first() -> None:
    """An answer that is followed by RST is delivered, then the loss is told."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            flow, recorder = await opened(network, road("tcp", far.address))
            flow.send(options())
            await far.heard.get()
            await far.answer(ok())
            far.reset()
            for _turn in range(3):
                flow.send(options())  # the write that meets the reset must not hide the answer
            assert (await recorder.arrivals.get()).octets == ok()
            assert (await recorder.failures.get()).kind is Kind.CONNECTION_LOST
        far.close()

    run(body)


def test_lost_framing_closes_the_connection() -> None:
    """A stream message without a Content-Length: nobody knows where the next begins."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            flow, recorder = await opened(network, road("tcp", far.address))
            flow.send(options())
            await far.heard.get()
            await far.answer(ok() + b"SIP/2.0 200 OK\r\nCall-ID: a@test\r\n\r\n" + ok())
            assert (await recorder.arrivals.get()).octets == ok()
            seen = await recorder.failures.get()
            assert (seen.kind, seen["error"]) == (Kind.CONNECTION_LOST, "framing")
            assert recorder.arrivals.empty()
            assert network.sockets_open == 0
        far.close()

    run(body)


def test_keep_alives_between_messages_are_no_messages() -> None:
    """CRLF and CRLFCRLF (RFC 5626 4.4.1) around an answer, octet by octet, change nothing."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            flow, recorder = await opened(network, road("tcp", far.address))
            flow.send(b"\r\n\r\n" + b"")
            flow.send(options())
            await far.heard.get()
            for octet in b"\r\n" + ok() + b"\r\n\r\n" + ok():
                await far.answer(bytes([octet]))
            for _answer in range(2):
                assert (await recorder.arrivals.get()).octets == ok()
        far.close()

    run(body)


def test_a_peer_that_takes_nothing_is_lost_not_waited_for() -> None:
    """What the peer does not read is bounded: over the bound the connection is given up."""

    async def body() -> None:
        with a_listener() as address:
            async with a_network() as network:
                flow, recorder = await opened(network, road("tcp", address))
                message = options(body=b"x" * 60_000)
                (connection,) = network._pool._all
                waiting = 0
                for _message in range(1_000):
                    flow.send(message)
                    await asyncio.sleep(0)
                    waiting = max(waiting, len(connection._queue))  # type: ignore[union-attr]
                    if not recorder.failures.empty():
                        break
                seen = recorder.failures.get_nowait()
                assert (seen.kind, seen["error"]) == (Kind.CONNECTION_LOST, "timeout")
                assert 0 < waiting <= WRITE_BUFFER_MAX
                assert network.sockets_open == 0

    run(body)


@contextmanager
def a_listener(backlog: int = 5) -> Iterator[Address]:
    """A listening socket whose program never accepts."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(backlog)
        yield Address(*one.getsockname())


@contextmanager
def a_silent_port() -> Iterator[Address]:
    """A port where SYNs get no answer at all: the queue of a listener is full."""
    with a_listener(backlog=0) as address, socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex((address.host, address.port))
        yield address


def test_a_syn_without_an_answer_is_a_timeout() -> None:
    """Patience runs out in the connect phase: CONNECT_FAILED timeout, and no socket is left."""

    async def body() -> None:
        with a_silent_port() as address:
            async with a_network() as network:
                recorder = Recorder()
                way = road("tcp", address)
                assert await network.open(way, "a", recorder, patience_s=0.05) is None
                seen = recorder.failures.get_nowait()
                assert (seen.kind, seen["error"]) == (Kind.CONNECT_FAILED, "timeout")
                assert recorder.phases == []
                assert network.sockets_open == 0

    run(body)


def test_who_asks_while_connecting_shares_the_connection() -> None:
    """Twenty attempts at once make one handshake; each is told of it."""

    async def body() -> None:
        far = StreamFarEnd("127.0.0.1")
        async with a_network() as network:
            way = road("tcp", far.address)
            together = [opened(network, way, f"call-{number}") for number in range(20)]
            everyone = await asyncio.gather(*together)
            assert len({flow.local for flow, _recorder in everyone}) == 1
            assert all(len(recorder.phases) == 1 for _flow, recorder in everyone)
            assert far.accepted <= 1
        far.close()

    run(body)


def test_an_impatient_waiter_leaves_the_patient_one_waiting() -> None:
    """Only when nobody waits any more is a connection that is coming up given up."""

    async def body() -> None:
        with a_silent_port() as address:
            async with a_network() as network:
                way = road("tcp", address)
                patient = asyncio.ensure_future(
                    network.open(way, "patient", Recorder(), patience_s=PATIENCE_S)
                )
                recorder = Recorder()
                assert await network.open(way, "hasty", recorder, patience_s=0.01) is None
                assert recorder.failures.get_nowait()["error"] == "timeout"
                assert network.sockets_open == 1
                patient.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await patient
                assert network.sockets_open == 0

    run(body)


def test_an_icmp_error_is_told_to_the_call_id_that_it_quotes() -> None:
    """On a kept socket only the listener whose datagram met the error hears of it."""

    async def body() -> None:
        far = UdpFarEnd("127.0.0.1")
        async with a_network() as network:
            way = road("udp", far.address, flow="kept")
            one, hears_one = await opened(network, way, "one")
            _two, hears_two = await opened(network, way, "two")
            nowhere = closed_port("udp", "127.0.0.1")
            one.send(options("one"), nowhere)
            assert (await hears_one.failures.get())["to"] == str(nowhere)
            await settle()
            assert hears_two.failures.empty()
        far.close()

    run(body)
