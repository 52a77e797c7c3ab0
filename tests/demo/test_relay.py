"""The demo's firewall on real sockets: what passes, what is stopped, and that it counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from demo.ends import (
    HOST,
    LABELS,
    OK,
    DatagramEnd,
    StreamEnd,
    caller,
    firewall,
    message,
    town,
)
from psapwatch.demo import relay as relay_module
from psapwatch.demo.block import KINDS, Block, PacketKind, kind_of
from psapwatch.demo.relay import Relay
from psapwatch.endpoint import Address

INVITE = Block("fw-east", "invite")
REFUSE = Block("fw-east", "refuse")


@asynccontextmanager
async def datagrams() -> AsyncIterator[tuple[Relay, DatagramEnd, Address]]:
    """A town that answers 200 behind a firewall; yields both and the way in."""
    wall, inside = firewall(), await town(OK)
    try:
        yield wall, inside, await wall.carry("udp", inside.where, LABELS)
    finally:
        wall.close()
        inside.transport.close()
        await asyncio.sleep(0)


def test_datagrams_pass_both_ways_with_one_mapping_a_flow() -> None:
    """Each caller is another source to the town, the same one for all it sends."""

    async def scene() -> None:
        async with datagrams() as (wall, inside, outside):
            callers = [await caller(outside) for _nth in range(3)]
            for each in (*callers, *callers):
                each.transport.sendto(message("OPTIONS"))
                assert await each.came.get() == OK
            assert wall.flows == len(set(inside.sources)) == 3
            assert wall.passed == 12
            for each in callers:
                each.transport.close()

    asyncio.run(scene())


def test_invite_is_stopped_and_counted_while_options_pass() -> None:
    """The counter proves the block; after lifting it INVITE passes again."""

    async def scene() -> None:
        async with datagrams() as (wall, inside, outside):
            one = await caller(outside)
            wall.block(INVITE)
            for number in range(4):
                one.transport.sendto(message("INVITE", number))
            one.transport.sendto(message("OPTIONS"))
            assert await inside.came.get() == message("OPTIONS")
            assert wall.stopped == {INVITE: 4}
            await wall.lift(INVITE)
            one.transport.sendto(message("INVITE", 9))
            assert await inside.came.get() == message("INVITE", 9)
            one.transport.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("only", "passes"), [("ma-boston", False), ("Suffolk", False), ("Bristol", True), ("", False)]
)
def test_a_rule_may_mean_one_county_or_one_town(only: str, *, passes: bool) -> None:
    """What is towards others is let pass and not counted."""

    async def scene() -> None:
        async with datagrams() as (wall, inside, outside):
            one, rule = await caller(outside), Block("fw-east", "options", only)
            wall.block(rule)
            one.transport.sendto(message("OPTIONS"))
            one.transport.sendto(message("INVITE"))
            came = [await inside.came.get()]
            if passes:
                came.append(await inside.came.get())
            assert came == [message("OPTIONS"), message("INVITE")][not passes :]
            assert wall.stopped == {rule: 0 if passes else 1}
            one.transport.close()

    asyncio.run(scene())


def test_answers_can_be_stopped_on_their_way_back() -> None:
    """The town hears the request, the caller nothing; the next passing answer is the first."""

    async def scene() -> None:
        async with datagrams() as (wall, inside, outside):
            one, rule = await caller(outside), Block("fw-east", "answers")
            wall.block(rule)
            one.transport.sendto(message("OPTIONS"))
            assert await inside.came.get() == message("OPTIONS")
            inside.answer = message("BYE")
            one.transport.sendto(message("OPTIONS"))
            assert await one.came.get() == message("BYE")
            assert wall.stopped[rule] == 1
            one.transport.close()

    asyncio.run(scene())


def test_a_refused_datagram_meets_the_kernels_icmp() -> None:
    """Port unreachable, at once; after lifting, the same port answers again."""

    async def scene() -> None:
        async with datagrams() as (wall, _inside, outside):
            one = await caller(outside)
            wall.block(REFUSE)
            one.transport.sendto(message("OPTIONS"))
            assert isinstance(await one.errors.get(), ConnectionRefusedError)
            await wall.lift(REFUSE)
            one.transport.sendto(message("OPTIONS"))
            assert await one.came.get() == OK
            one.transport.close()

    asyncio.run(scene())


def test_mappings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow that was idle longest gives way, and gets a new mapping when it comes back."""
    monkeypatch.setattr(relay_module, "FLOWS_MAX", 4)

    async def scene() -> None:
        async with datagrams() as (wall, inside, outside):
            callers = [await caller(outside) for _nth in range(6)]
            for each in (*callers, callers[0]):
                each.transport.sendto(message("OPTIONS"))
                assert await each.came.get() == OK
                assert wall.flows <= 4
            assert len(inside.sources) == 7
            for each in callers:
                each.transport.close()

    asyncio.run(scene())


@asynccontextmanager
async def stream() -> AsyncIterator[tuple[Relay, asyncio.Queue[StreamEnd], Address]]:
    """A town that listens on TCP behind a firewall; yields the connections that come to it."""
    loop, wall = asyncio.get_running_loop(), firewall()
    accepted: asyncio.Queue[StreamEnd] = asyncio.Queue()

    def accept() -> StreamEnd:
        end = StreamEnd()
        accepted.put_nowait(end)
        return end

    server = await loop.create_server(accept, HOST, 0)
    inside = Address(*server.sockets[0].getsockname())
    try:
        yield wall, accepted, await wall.carry("tcp", inside, LABELS)
    finally:
        wall.close()
        server.close()
        await asyncio.sleep(0.01)


async def connected(outside: Address) -> StreamEnd:
    """Connect to the firewall."""
    loop = asyncio.get_running_loop()
    _transport, end = await loop.create_connection(StreamEnd, outside.host, outside.port)
    return end


def test_a_stream_passes_message_by_message() -> None:
    """A blocked INVITE is cut out between two OPTIONS, both ways stay open, and it is counted."""

    async def scene() -> None:
        async with stream() as (wall, accepted, outside):
            one = await connected(outside)
            far = await accepted.get()
            wall.block(INVITE)
            whole = message("OPTIONS", 1) + message("INVITE", 2) + message("OPTIONS", 3)
            one.transport.write(whole[:50])
            one.transport.write(whole[50:])
            came = b""
            while len(came) < 2 * len(message("OPTIONS", 1)):
                came += await far.came.get()
            assert came == message("OPTIONS", 1) + message("OPTIONS", 3)
            assert wall.stopped == {INVITE: 1}
            far.transport.write(OK)
            assert await one.came.get() == OK
            one.transport.close()
            assert await far.lost.get() is None

    asyncio.run(scene())


def test_a_refused_stream_is_reset_and_no_other_is_taken() -> None:
    """RST on what is open, RST on what is new; after lifting, the same port connects again."""

    async def scene() -> None:
        async with stream() as (wall, accepted, outside):
            one = await connected(outside)
            await accepted.get()
            wall.block(REFUSE)
            assert isinstance(await one.lost.get(), ConnectionResetError)
            with pytest.raises(ConnectionRefusedError):
                await connected(outside)
            await wall.lift(REFUSE)
            again = await connected(outside)
            await accepted.get()
            again.transport.close()

    asyncio.run(scene())


def test_a_stream_that_is_no_sip_is_reset() -> None:
    """A firewall that looks into SIP does not pass on what it cannot read."""

    async def scene() -> None:
        async with stream() as (_wall, accepted, outside):
            one = await connected(outside)
            await accepted.get()
            one.transport.write(b"X" * 100_000)
            assert isinstance(await one.lost.get(), ConnectionError)

    asyncio.run(scene())


def test_no_port_is_taken_from_others() -> None:
    """A port that somebody listens on is passed over."""

    async def scene() -> None:
        first, second, inside = firewall(), firewall(), await town()
        one = await first.carry("udp", inside.where, LABELS)
        other = await second.carry("udp", inside.where, LABELS)
        assert other.port > one.port
        for each in (first, second):
            each.close()
        inside.transport.close()
        await asyncio.sleep(0)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (message("INVITE"), "invite"),
        (message("OPTIONS"), "options"),
        (message("BYE"), "other_request"),
        (OK, "answer"),
        (b"\x80\x00\x00\x01" + bytes(168), "media"),
        (b"", "media"),
        (b"INVITEX sip:x SIP/2.0", "media"),
    ],
)
def test_packets_are_told_apart_by_their_first_word(octets: bytes, kind: PacketKind) -> None:
    """As a filter does that "knows SIP"."""
    assert kind_of(octets) == kind


def test_every_kind_stops_something() -> None:
    """A button without an effect would be a lie; each says what it does."""
    for kind in KINDS.values():
        assert kind.refuses or kind.stops
        assert kind.label
        assert kind.does
