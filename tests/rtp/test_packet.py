"""RTP and RTCP octets against dpkt, and against whatever else may come in."""

from __future__ import annotations

import random  # noqa: TID251 - seeded, to make cases

import dpkt
import pytest

from psapwatch.rtp.packet import (
    FIRST,
    WHOLE,
    NotRtp,
    ReceptionReport,
    RtpPacket,
    decapsulate,
    encapsulate,
    is_media,
    is_rtcp,
    parse_reports,
    parse_rtp,
    receiver_report,
    serialize_rtp,
)

PACKET = RtpPacket(0, 0xFFFF, 0xFFFF_FF00, 0xDEAD_BEEF, b"\xff" * 160, marker=True)
RANDOM_PACKETS = 20_000


def test_dpkt_reads_what_is_written() -> None:
    """Another decoder sees the same header and payload."""
    theirs = dpkt.rtp.RTP(serialize_rtp(PACKET))
    assert (theirs.version, theirs.p, theirs.x, theirs.cc, theirs.m) == (2, 0, 0, 0, 1)
    assert (theirs.pt, theirs.seq, theirs.ts, theirs.ssrc) == (0, 0xFFFF, 0xFFFF_FF00, 0xDEAD_BEEF)
    assert theirs.data == PACKET.payload


def test_what_is_written_is_read() -> None:
    """Every field comes back."""
    assert parse_rtp(serialize_rtp(PACKET)) == PACKET


def test_sources_extension_and_padding_are_read_over() -> None:
    """Two CSRCs, an extension of one word, three octets of padding; only the payload is left."""
    octets = bytes((0x80 | 0x20 | 0x10 | 2, 8)) + bytes(10) + bytes(8)
    octets += b"\xbe\xde\x00\x01" + bytes(4) + b"payload" + b"\x00\x00\x03"
    assert parse_rtp(octets).payload == b"payload"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x80",
        bytes(12),
        b"\x40" + bytes(11),
        bytes((0x8F,)) + bytes(11),
        bytes((0x90,)) + bytes(11),
        bytes((0x90,)) + bytes(13) + b"\x00\x09",
        bytes((0xA0,)) + bytes(11) + b"\x02",
        bytes((0xA0,)) + bytes(12),
        b"INVITE urn:service:test.sos SIP/2.0",
    ],
)
def test_what_is_no_rtp_is_refused(octets: bytes) -> None:
    """Another version, too short, too many sources, padding beyond the packet or of none."""
    with pytest.raises(NotRtp):
        parse_rtp(octets)


def test_sip_is_never_media() -> None:
    """No request or response begins with the two bits that RTP begins with."""
    assert not is_media(b"INVITE urn:service:sos SIP/2.0")
    assert not is_media(b"SIP/2.0 200 OK")
    assert is_media(serialize_rtp(PACKET))


def test_encapsulation_keeps_the_packet_and_says_when() -> None:
    """RFC 6849 7.1.2: receive time, F = 10 in place of the version, the rest as it was."""
    octets = serialize_rtp(PACKET)
    payload = encapsulate(octets, 0x1_0000_0007)
    assert payload[:4] == b"\x00\x00\x00\x07"
    assert payload[4:] == octets  # version 2 and "not fragmented" are the same two bits
    inside = decapsulate(payload)
    assert (inside.received, inside.fragment, inside.inner) == (7, WHOLE, PACKET)


def test_a_fragment_is_told_from_a_whole_packet() -> None:
    """The two bits that replace the version say so."""
    payload = bytearray(encapsulate(serialize_rtp(PACKET), 0))
    payload[4] &= 0x3F
    assert decapsulate(bytes(payload)).fragment == FIRST


def test_receiver_reports_come_back() -> None:
    """Negative and large losses keep their sign; a report about nobody has no block."""
    for lost in (0, 3, -2, 0x7F_FFFF):
        about = ReceptionReport(7, lost, 0x1_FFFF, 160)
        assert parse_reports(receiver_report(9, about)) == (about,)
    assert parse_reports(receiver_report(9)) == ()


def test_a_sender_report_before_the_blocks_is_skipped() -> None:
    """SR has 20 octets about its sender before its reports (RFC 3550 6.4.1)."""
    block = receiver_report(9, ReceptionReport(7, 1, 5, 0))[8:32]
    octets = bytes((0x81, 200, 0, 12)) + bytes(4) + bytes(20) + block
    assert parse_reports(octets) == (ReceptionReport(7, 1, 5, 0),)


def test_extended_reports_in_a_compound_are_skipped() -> None:
    """RTCP XR (RFC 3611) among others does not hide them."""
    extended = bytes((0x80, 207, 0, 1)) + bytes(4)
    report = receiver_report(9, ReceptionReport(7, 1, 5, 0))
    assert len(parse_reports(extended + report + extended)) == 1


def test_rtcp_is_told_from_rtp() -> None:
    """By its second octet (RFC 5761 4)."""
    assert is_rtcp(receiver_report(1))
    assert not is_rtcp(serialize_rtp(PACKET))


def test_random_octets_are_read_or_refused() -> None:
    """Whatever comes in, nothing but NotRtp comes out."""
    chance = random.Random(6849)
    refused = 0
    for _number in range(RANDOM_PACKETS):
        octets = bytes((0x80 | chance.randrange(64), chance.randrange(256)))
        octets += chance.randbytes(chance.randrange(80))
        for read in (parse_rtp, parse_reports, decapsulate):
            try:
                read(octets)
            except NotRtp:
                refused += 1
    assert 0 < refused < 3 * RANDOM_PACKETS
