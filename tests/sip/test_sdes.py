"""Keys of secured media in offers and answers, and packets that are sealed with them."""

from __future__ import annotations

import sys
from typing import Final

import pytest

from psapwatch.net.srtp import cipher_maker, is_available
from psapwatch.rtp.packet import RtpPacket, receiver_report, serialize_rtp
from psapwatch.sip.offer import build_answer, build_offer, key_offered, read_answer
from psapwatch.sip.sdes import PLAIN, SECURED, Crypto, read_crypto, write_crypto

OURS: Final = bytes(range(30))
THEIRS: Final = bytes(range(100, 130))
VALUE: Final = write_crypto(Crypto(1, OURS))
SDP: Final = "application/sdp"
OFFER: Final = build_offer("192.0.2.1", 40_000, 1, key=OURS)
ANSWER: Final = build_answer(OFFER, "198.51.100.2", 30_000, 1, key=THEIRS)
PACKET: Final = serialize_rtp(RtpPacket(0, 7, 160, 99, b"tagged" * 20, marker=False))


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (VALUE, 1),
        (VALUE + "|2^20", 1),
        (VALUE + "|1048576", 1),
        ("2" + VALUE[1:], 2),
        (VALUE + "|2^20|1:4", None),
        (VALUE + " UNENCRYPTED_SRTP", None),
        (VALUE.replace("_80", "_32"), None),
        (VALUE[:-1], None),
        (VALUE.replace("inline", "uri"), None),
        ("", None),
    ],
)
def test_only_lines_that_are_wholly_understood_are_used(value: str, tag: int | None) -> None:
    """RFC 4568 6: another suite, an MKI or a session parameter is not ours to guess at."""
    crypto = read_crypto(["9 F8_128_HMAC_SHA1_80 inline:x", value])
    assert crypto == (None if tag is None else Crypto(tag, OURS))


def test_each_side_names_the_key_of_what_it_sends() -> None:
    """Offer and answer are RTP/SAVP, the answer repeats the tag, and both keys are read."""
    assert b"m=audio 40000 RTP/SAVP 0 8 112 113\r\n" in OFFER
    assert key_offered(OFFER) == (SECURED, OURS)
    answer = read_answer(ANSWER, SDP, profile=SECURED)
    assert (answer.what, answer.key) == ("mirror", THEIRS)
    other = OFFER.replace(b"crypto:1 ", b"crypto:7 ")
    assert b"a=crypto:7 " in build_answer(other, "198.51.100.2", 30_000, 1, key=THEIRS)
    assert "key" not in repr(answer)


def test_plain_media_is_as_it_was() -> None:
    """Without a key nothing is said of one."""
    offer = build_offer("192.0.2.1", 40_000, 1)
    assert b"crypto" not in offer
    assert key_offered(offer) == (PLAIN, b"")
    assert key_offered(b"") == ("", b"")
    assert b"crypto" not in build_answer(offer, "198.51.100.2", 30_000, 1, key=THEIRS)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (build_answer(build_offer("192.0.2.1", 4, 1), "192.0.2.2", 6, 1), "RTP/AVP for RTP/SAVP"),
        (ANSWER.replace(b"inline:", b"inlime:"), "without a key"),
        (ANSWER.replace(b"_80", b"_32"), "without a key"),
    ],
)
def test_an_answer_that_takes_the_security_away_gets_no_media(answer: bytes, detail: str) -> None:
    """RFC 4568 5.1.2: the answer keeps the profile and names a key, or no packet is sent."""
    read = read_answer(answer, SDP, profile=SECURED)
    assert (read.what, detail in read.detail) == ("bad", True)
    assert read_answer(ANSWER, SDP).what == "bad", "secured media was not offered"


def test_an_offer_without_a_key_cannot_be_answered() -> None:
    """Nor one that we have no key for."""
    with pytest.raises(ValueError, match="without a key"):
        build_answer(OFFER.replace(b"_80", b"_32"), "198.51.100.2", 30_000, 1, key=THEIRS)
    with pytest.raises(ValueError, match="without a key"):
        build_answer(OFFER, "198.51.100.2", 30_000, 1)


def test_packets_are_sealed_and_opened_once() -> None:
    """RTP and RTCP pass from one side to the other; changed, repeated or foreign ones do not."""
    make = cipher_maker()
    assert make is not None
    us, them, stranger = make(OURS, THEIRS), make(THEIRS, OURS), make(OURS, OURS)
    for octets in (PACKET, receiver_report(99)):
        sealed = us.seal(octets)
        assert octets[12:] not in sealed or octets != PACKET
        assert sealed != octets
        assert stranger.open(them.seal(octets)) is None
        assert them.open(sealed[:-1] + bytes((sealed[-1] ^ 1,))) is None
        assert them.open(sealed) == octets
        assert them.open(sealed) is None
        assert us.open(octets) is None, "plain packets are nothing in a secured call"
    assert us.open(b"") is None


def test_without_the_extra_there_is_no_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that cannot be imported is no error until somebody asks for secured media."""
    assert is_available()
    monkeypatch.setitem(sys.modules, "pylibsrtp", None)
    assert not is_available()
