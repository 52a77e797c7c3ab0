"""A mirror echoes what it should, to whom it should, and no more."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Address
from psapwatch.rtp.mirror import ECHOES, PACKET_OCTETS_MAX, Manner, Mirror
from psapwatch.rtp.packet import RtpPacket, decapsulate, parse_reports, parse_rtp, serialize_rtp
from psapwatch.rtp.stream import Mode
from psapwatch.rtp.tone import tagged

CALLER = Address("192.0.2.1", 40_000)
CONTROL = Address("192.0.2.1", 40_001)
GOOD = Manner()
STRANGER = Address("203.0.113.9", 40_000)


def rtp(number: int, *, ssrc: int = 5, size: int = 0) -> bytes:
    """One packet of a caller."""
    payload = tagged("0" * 16, number, "PCMU") + bytes(size)
    return serialize_rtp(RtpPacket(0, 0xFFFF + number & 0xFFFF, 160 * number, ssrc, payload, True))


def mirror(mode: Mode = "encaprtp", manner: Manner = GOOD, *, known: bool = True) -> Mirror:
    """A mirror for CALLER."""
    control = CONTROL if known else None
    return Mirror(mode, 112, manner, hosts=frozenset({CALLER.host}), control=control, ssrc=77)


def test_encaprtp_carries_the_packet_as_it_came() -> None:
    """Outer header of its own, the marker is for fragments only, both moments on one clock."""
    [echo] = mirror().receive(rtp(0), CALLER, 10.5, 10.0)
    outer = parse_rtp(echo.octets)
    inside = decapsulate(outer.payload)
    assert (outer.payload_type, outer.ssrc, outer.marker) == (112, 77, False)
    assert serialize_rtp(inside.inner) == rtp(0)
    assert outer.timestamp - inside.received == 4_000
    assert echo.to == CALLER


def test_rtploopback_copies_payload_and_marker() -> None:
    """Everything else is the mirror's own (RFC 6849 7.2)."""
    [echo] = mirror("rtploopback").receive(rtp(3), CALLER, 1.0, 1.0)
    packet = parse_rtp(echo.octets)
    assert (packet.payload_type, packet.marker, packet.ssrc) == (112, True, 77)
    assert packet.payload == parse_rtp(rtp(3)).payload


def test_media_loopback_keeps_the_payload_type() -> None:
    """It sounds the same, under a header of the mirror's own (RFC 6849 6)."""
    [echo] = mirror("media").receive(rtp(3), CALLER, 1.0, 1.0)
    packet = parse_rtp(echo.octets)
    assert (packet.payload_type, packet.ssrc) == (0, 77)


def test_three_packets_and_no_more() -> None:
    """RFC 6881 ED-79; what comes after is heard and not echoed."""
    one = mirror()
    sent = [packet for n in range(20) for packet in one.receive(rtp(n), CALLER, n / 50, n / 50)]
    assert len(sent) == ECHOES == one.echoed
    assert one.heard == 20
    assert one.is_done


def test_strangers_get_nothing() -> None:
    """Neither an echo nor a place in the count: a mirror is nobody's reflector."""
    one = mirror()
    assert one.receive(rtp(0), STRANGER, 0.0, 0.0) == []
    assert (one.heard, one.echoed, one.strangers) == (0, 0, 1)


@pytest.mark.parametrize(
    "octets", [b"", b"GET / HTTP/1.1", bytes(40), rtp(0, size=PACKET_OCTETS_MAX)]
)
def test_what_is_no_packet_is_not_echoed(octets: bytes) -> None:
    """Other protocols, other versions, packets that encapsulation would fragment."""
    assert mirror().receive(octets, CALLER, 0.0, 0.0) == []


def test_it_reports_what_it_heard() -> None:
    """Two of four lost, over the end of the sequence numbers."""
    one = mirror()
    for number in (0, 3):
        one.receive(rtp(number), CALLER, 0.0, 0.0)
    [packet] = one.report()
    [report] = parse_reports(packet.octets)
    assert (report.ssrc, report.lost) == (5, 2)
    assert (packet.to, packet.port_offset) == (CONTROL, 1)


def test_it_reports_that_it_heard_nothing() -> None:
    """An empty report is a report: the way back works."""
    [packet] = mirror().report()
    assert parse_reports(packet.octets) == ()


def test_rtcp_goes_where_rtcp_came_from() -> None:
    """Symmetric RTCP (RFC 4961); and nowhere, where the offer's host is not the caller's."""
    one = mirror(known=False)
    assert one.report() == []
    one.receive(mirror().report()[0].octets, Address(CALLER.host, 51_001), 0.0, 0.0)
    assert one.report()[0].to == Address(CALLER.host, 51_001)


def test_bad_manners_on_request() -> None:
    """Wrong fragment bits, another port, a voice of its own, no echo: what tests need of it."""
    [echo] = mirror(manner=Manner(fragment=0b11)).receive(rtp(0), CALLER, 0.0, 0.0)
    assert decapsulate(parse_rtp(echo.octets).payload).fragment == 0b11
    [echo] = mirror(manner=Manner(elsewhere=True)).receive(rtp(0), CALLER, 0.0, 0.0)
    assert echo.port_offset == 2
    [echo] = mirror(manner=Manner(speaks=True)).receive(rtp(0), CALLER, 0.0, 0.0)
    assert parse_rtp(echo.octets).payload_type == 0
    one = mirror(manner=Manner(echoes_max=0))
    assert one.receive(rtp(0), CALLER, 0.0, 0.0) == []
    assert not one.is_done
