"""SDP with media loopback: what we offer, what we answer, and what an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.sip.offer import TEXT_MAX, What, build_answer, build_offer, read_answer

SDP = "application/sdp"


def _answer(*attributes: str, media: str = "audio 50000 RTP/AVP 0 112", top: str = "") -> bytes:
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.20",
        "s=-",
        "c=IN IP4 192.0.2.20",
        "t=0 0",
        *top.split(),
        f"m={media}",
        "a=rtpmap:112 encaprtp/8000",
        *(f"a={attribute}" for attribute in attributes),
    ]
    return "\r\n".join(lines).encode() + b"\r\n"


MIRROR = ("loopback:rtp-pkt-loopback", "loopback-mirror")


def test_the_offer_is_a_loopback_source_of_g711() -> None:
    """RFC 6849 5.1: both types, both packet formats as dynamic payload types, our role."""
    assert build_offer("192.0.2.10", 40000, 42).decode().split("\r\n") == [
        "v=0",
        "o=- 42 42 IN IP4 192.0.2.10",
        "s=-",
        "c=IN IP4 192.0.2.10",
        "t=0 0",
        "m=audio 40000 RTP/AVP 0 8 112 113",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:112 encaprtp/8000",
        "a=rtpmap:113 rtploopback/8000",
        "a=loopback:rtp-pkt-loopback rtp-media-loopback",
        "a=loopback-source",
        "a=ptime:20",
        "",
    ]


def test_an_offer_from_ipv6_says_so() -> None:
    """Origin and connection carry IP6."""
    offer = build_offer("2001:db8::10", 40000, 1).decode()
    assert "o=- 1 1 IN IP6 2001:db8::10\r\n" in offer
    assert "c=IN IP6 2001:db8::10\r\n" in offer


def test_an_offer_without_loopback_has_no_trace_of_it() -> None:
    """The plain offer is G.711 and nothing else."""
    offer = build_offer("192.0.2.10", 40000, 1, loopback=False)
    assert b"m=audio 40000 RTP/AVP 0 8\r\n" in offer
    assert b"loopback" not in offer
    assert b"encaprtp" not in offer


@pytest.mark.parametrize("address", ["192.0.2.20", "2001:db8::20"])
def test_our_own_answer_to_our_own_offer_is_a_mirror(address: str) -> None:
    """What ``respond`` answers is what the prober calls healthy."""
    answer = build_answer(build_offer("192.0.2.10", 40000, 1), address, 50000, 2)
    read = read_answer(answer, SDP)
    assert (read.what, read.address, read.port) == ("mirror", address, 50000)
    assert read.loopback_type == "rtp-pkt-loopback"
    assert read.payload_types == {0: "PCMU", 112: "encaprtp"}


def test_our_answer_takes_the_first_type_offered() -> None:
    """RFC 6849 5.2 prefers the first; media loopback needs no packet format."""
    offer = build_offer("192.0.2.10", 40000, 1).replace(
        b"rtp-pkt-loopback rtp-media-loopback", b"rtp-media-loopback rtp-pkt-loopback"
    )
    read = read_answer(build_answer(offer, "192.0.2.20", 50000, 2), SDP)
    assert (read.what, read.loopback_type) == ("mirror", "rtp-media-loopback")
    assert read.payload_types == {0: "PCMU"}


@pytest.mark.parametrize(
    "offer",
    [
        b"",
        b"\xff",
        build_offer("192.0.2.10", 40000, 1, loopback=False),
        build_offer("192.0.2.10", 0, 1),
        build_offer("192.0.2.10", 40000, 1).replace(b"loopback-source", b"loopback-mirror"),
        build_offer("192.0.2.10", 40000, 1).replace(b"rtp-pkt", b"x").replace(b"rtp-media", b"y"),
        build_offer("192.0.2.10", 40000, 1).replace(b"encaprtp", b"x").replace(b"rtploop", b"y"),
        build_offer("192.0.2.10", 40000, 1).replace(b"PCMU", b"G729").replace(b"PCMA", b"GSM"),
        build_offer("192.0.2.10", 40000, 1).replace(b"m=audio 4", b"m=audio x"),
    ],
)
def test_we_never_mirror_what_is_no_loopback_source(offer: bytes) -> None:
    """Two mirrors would loop for ever (RFC 6849 12), so anything else is refused."""
    with pytest.raises(ValueError):
        build_answer(offer, "192.0.2.20", 50000, 2)


JUDGED: dict[str, tuple[bytes, What, str]] = {
    "mirror": (_answer(*MIRROR), "mirror", ""),
    "space after the colon": (
        _answer("loopback: rtp-pkt-loopback", "loopback-mirror"),
        "mirror",
        "",
    ),
    "media loopback": (_answer("loopback:rtp-media-loopback", "loopback-mirror"), "mirror", ""),
    "LF only": (_answer(*MIRROR).replace(b"\r\n", b"\n"), "mirror", ""),
    "role at session level": (_answer(MIRROR[0], top="a=loopback-mirror"), "mirror", ""),
    "source": (
        _answer(MIRROR[0], "loopback-source"),
        "source",
        "the answer says loopback-source",
    ),
    "no role": (_answer(MIRROR[0]), "no_loopback", "m=audio without a loopback role"),
    "an ordinary call": (_answer(), "no_loopback", "m=audio without a loopback role"),
    "an ordinary call, recvonly": (
        _answer("recvonly"),
        "no_loopback",
        "m=audio without a loopback role",
    ),
    "an ordinary call without rtpmap": (
        b"v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 50000 RTP/AVP 0\r\n",
        "no_loopback",
        "m=audio without a loopback role",
    ),
    "an ordinary call in odd SDP": (
        b"v=0\r\nb=AS:1.5\r\nm=audio 50000 RTP/AVP 0\r\n",
        "no_loopback",
        "SDP: invalid literal",
    ),
    "a second stream without a role": (
        _answer(*MIRROR) + b"m=video 50002 RTP/AVP 34\r\n",
        "no_loopback",
        "m=video without a loopback role",
    ),
    "an unknown role": (
        _answer(MIRROR[0], "loopback-mirrors"),
        "no_loopback",
        "m=audio without a loopback role",
    ),
    "port 0": (_answer(media="audio 0 RTP/AVP 0"), "refused", "port 0"),
    "inactive": (_answer(*MIRROR, "inactive"), "refused", "inactive"),
    "on hold": (_answer(*MIRROR).replace(b"192.0.2.20", b"0.0.0.0"), "refused", "inactive"),
    "two types": (
        _answer("loopback:rtp-pkt-loopback rtp-media-loopback", "loopback-mirror"),
        "bad",
        "2 loopback types",
    ),
    "no type": (_answer("loopback-mirror"), "bad", "0 loopback types"),
    "the type of an old draft": (
        _answer("loopback:rtp-start-loopback", "loopback-mirror"),
        "bad",
        "loopback type rtp-start-loopback",
    ),
    "both roles": (_answer(*MIRROR, "loopback-source"), "bad", "both loopback roles"),
    "recvonly": (_answer(*MIRROR, "recvonly"), "bad", "recvonly"),
    "sendonly": (_answer(*MIRROR, "sendonly"), "bad", "sendonly"),
    "no packet format": (
        _answer(*MIRROR, media="audio 50000 RTP/AVP 0"),
        "bad",
        "packet loopback without encaprtp or rtploopback",
    ),
    "secure profile": (
        _answer(*MIRROR, media="audio 50000 RTP/SAVP 0 112"),
        "bad",
        "profile RTP/SAVP",
    ),
    "video for audio": (
        _answer(*MIRROR, media="video 50000 RTP/AVP 0 112"),
        "bad",
        "m=video for m=audio",
    ),
    "a port that is none": (
        _answer(*MIRROR, media="audio 70000 RTP/AVP 0 112"),
        "bad",
        "port 70000",
    ),
    "a negative port": (_answer(*MIRROR, media="audio -1 RTP/AVP 0 112"), "bad", "port -1"),
    "multicast": (
        _answer(*MIRROR).replace(b"192.0.2.20", b"224.2.1.1/127"),
        "bad",
        "address '224.2.1.1/127'",
    ),
    "broadcast": (
        _answer(*MIRROR).replace(b"192.0.2.20", b"255.255.255.255"),
        "bad",
        "address '255.255.255.255'",
    ),
    "a name": (_answer(*MIRROR).replace(b"192.0.2.20", b"psap.example"), "bad", "address"),
    "a zone of the far host": (
        _answer(*MIRROR).replace(b"192.0.2.20", b"fe80::1%eth0"),
        "bad",
        "address 'fe80::1%eth0'",
    ),
    "no connection line": (_answer(*MIRROR).replace(b"c=IN", b"x=IN"), "bad", "address ''"),
    "two streams": (
        _answer(*MIRROR) + b"m=video 0 RTP/AVP 34\r\n",
        "bad",
        "2 media lines for one offered",
    ),
    "no media line": (b"v=0\r\n", "bad", "no media line"),
    "unreadable": (_answer(*MIRROR, "rtpmap:x y"), "bad", "SDP: invalid literal"),
    "noise": (b"\xff\x00=\r\n\r\n", "bad", "no media line"),
    "nothing": (b"", "no_sdp", ""),
}


@pytest.mark.parametrize("name", JUDGED)
def test_an_answer_is_judged_by_rfc_6849(name: str) -> None:
    """Each way to answer has its word, and a mirror is one only when nothing is wrong."""
    body, what, detail = JUDGED[name]
    read = read_answer(body, SDP)
    assert read.what == what
    assert read.detail.startswith(detail)
    if not detail:
        assert not read.detail


def test_a_media_level_address_wins_over_the_sessions() -> None:
    """RTP goes where the stream says, not where the session does."""
    body = _answer(*MIRROR) + b"c=IN IP6 2001:db8::99\r\n"
    read = read_answer(body, SDP)
    assert (read.what, read.address, read.port) == ("mirror", "2001:db8::99", 50000)


@pytest.mark.parametrize(
    "content_type", ["application/sdp", "Application/SDP", "application/sdp; charset=utf-8", ""]
)
def test_sdp_is_known_in_every_spelling_of_its_type(content_type: str) -> None:
    """Case, parameters and even a missing Content-Type do not hide an answer."""
    assert read_answer(_answer(*MIRROR), content_type).what == "mirror"


def test_a_text_body_is_kept_and_is_no_answer() -> None:
    """RFC 6881 ED-78 text without SDP names the PSAP and offers no media."""
    read = read_answer("PSAP Größe\r\nurn:service:test.sos\r\n".encode(), "text/plain")
    assert (read.what, read.text) == ("no_sdp", "PSAP Größe\r\nurn:service:test.sos\r\n")


def test_a_long_text_is_cut() -> None:
    """A body of any size leaves a bounded text."""
    assert len(read_answer(b"x" * 60_000, "text/plain").text) == TEXT_MAX


def _multipart(*parts: tuple[str, bytes], boundary: bytes = b"b1", eol: bytes = b"\r\n") -> bytes:
    pieces = [b"preamble"]
    for kind, content in parts:
        head = b"Content-Type: " + kind.encode() + eol if kind else b""
        pieces.append(b"--" + boundary + b"  " + eol + head + eol + content)
    return eol.join([*pieces, b"--" + boundary + b"--", b"epilogue"])


TEXT = ("text/plain; charset=utf-8", b"Boston PSAP\r\nurn:service:test.sos")


@pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    "content_type",
    ["multipart/mixed; boundary=b1", 'Multipart/Mixed; x=y ; BOUNDARY="b1"; z'],
)
def test_text_and_sdp_are_found_in_a_multipart(content_type: str, eol: bytes) -> None:
    """Both parts of a 200 are read, in either order, with either line end."""
    for parts in ((TEXT, (SDP, _answer(*MIRROR))), ((SDP, _answer(*MIRROR)), TEXT)):
        read = read_answer(_multipart(*parts, eol=eol), content_type)
        assert read.what == "mirror"
        assert read.text == "Boston PSAP\r\nurn:service:test.sos"


def test_a_nested_multipart_is_opened() -> None:
    """SDP inside multipart/alternative inside multipart/mixed is found."""
    inner = _multipart((SDP, _answer(*MIRROR)), boundary=b"b2")
    body = _multipart(TEXT, ("multipart/alternative; boundary=b2", inner))
    assert read_answer(body, "multipart/mixed; boundary=b1").what == "mirror"


def test_a_part_without_headers_is_text() -> None:
    """RFC 2046 5.1: a part that begins with an empty line is text/plain."""
    read = read_answer(_multipart(("", b"hello")), "multipart/mixed; boundary=b1")
    assert (read.what, read.text) == ("no_sdp", "hello")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/mixed", "multipart/mixed; boundary=other", "multipart/mixed;boundary="],
)
def test_a_multipart_that_cannot_be_opened_has_no_sdp(content_type: str) -> None:
    """Without its boundary nothing is guessed."""
    assert read_answer(_multipart((SDP, _answer(*MIRROR))), content_type).what == "no_sdp"


def test_parts_beyond_the_bound_are_not_looked_at() -> None:
    """A thousand parts cost no more than the first few."""
    body = _multipart(*[TEXT] * 1000, (SDP, _answer(*MIRROR)))
    assert read_answer(body, "multipart/mixed; boundary=b1").what == "no_sdp"


LINES = st.sampled_from(
    [
        "v=0",
        "v=x",
        "o=-",
        "c=IN IP4",
        "c=IN IP4 192.0.2.20",
        "c=IN IP6 fe80::1%eth0",
        "t=a b",
        "b=AS:1.5",
        "m=audio 50000 RTP/AVP 0 112",
        "m=audio 50000/2 RTP/AVP 0",
        "m=audio",
        "m=",
        "m=audio " + "9" * 5000 + " RTP/AVP 0",
        "a=rtpmap:112 encaprtp/8000",
        "a=rtpmap:0 PCMU/8000/x",
        "a=rtpmap:999999999999 x",
        "a=loopback:rtp-pkt-loopback",
        "a=loopback-mirror",
        "a=loopback-source",
        "a=sendonly",
        "a=:",
        "--b",
        "--b--",
        "Content-Type: application/sdp",
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "\x00\ufffd",
    ]
)


@given(
    st.lists(LINES | st.text(max_size=8), max_size=20).map("\r\n".join),
    st.sampled_from([SDP, "text/plain", "multipart/mixed; boundary=b", "multipart/", ";", ""]),
)
def test_reading_an_answer_never_fails_and_a_mirror_can_always_be_used(
    body: str, content_type: str
) -> None:
    """Whatever stands in a 2xx, the worst is ``bad``; a mirror has an address and a role line."""
    read = read_answer(body.encode(), content_type)
    if read.what == "mirror":
        assert "a=loopback-mirror" in body
        assert read.address
        assert 0 < read.port <= 65_535
        assert read.loopback_type in {"rtp-pkt-loopback", "rtp-media-loopback"}
