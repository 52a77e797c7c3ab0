"""The test-URN guard: whatever octets it lets pass, no reader can find a live call in them."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from psapwatch.sip.guard import NotATestCall, permit

HEADERS: Final = (
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport\r\n"
    b"From: <sip:probe@monitor.example.org>;tag=1\r\n"
    b"To: <urn:service:test.sos>\r\n"
    b"Call-ID: 1@192.0.2.10\r\n"
    b"CSeq: 1 INVITE\r\n"
)

TEST_URNS: Final = (
    b"urn:service:test.sos",
    b"urn:service:test.sos.police",
    b"urn:service:test.sos.animal-control",
    b"urn:service:test.sos.ecall.automatic",
)

LIVE: Final = (
    b"urn:service:sos",
    b"urn:service:sos.police",
    b"urn:service:sos.test",
    b"urn:service:test:sos",
    b"urn:service:test",
    b"urn:service:test.sos@x",
    b"urn:service:test.sos.",
    b"urn:service:test.sos..police",
    b"urn:service:test.sos.-police",
    b"urn:service:test.sos.police-",
    b"urn:service:test.sos.po_lice",
    b"urn:service:test.sosx",
    b"urn:service:test.sos;lr",
    b"urn:service:test.sos?x=y",
    b"urn:service:test.sos#x",
    b"urn:service:test.sos/x",
    b"urn:service:test%2Esos",
    b"urn:service:test.sos%00",
    b"urn:service:test.sos\x00",
    b"urn:service:test.sos\x0b",
    b"URN:service:test.sos",
    b"urn:SERVICE:test.sos",
    b"urn:service:Test.sos",
    b"urn:service:test.SOS",
    b"urn:service:test.sos.Police",
    b"\xd5rn:service:test.sos",
    b"urn:service:t\xc3\xa9st.sos",
    b"urn:service:test\xe3\x80\x82sos",
    b"urn:service:test.sos\xc2\xa0",
    b"<urn:service:test.sos>",
    b'"urn:service:test.sos"',
    b"xurn:service:test.sos",
    b"urn:service:test.sos,urn:service:sos",
    b"urn:service:sos urn:service:test.sos",
    b"urn:service:test.sos urn:service:sos",
    b"urn:service:test.sos\turn:service:sos",
    b"sip:urn:service:test.sos@psap.example.gov",
    b"sip:psap@example.gov",
    b"sips:psap@example.gov",
    b"sip:911@example.gov;user=phone",
    b"tel:911",
    b"tel:+1911",
    b"911",
    b"*",
    b"",
)


def _invite(uri: bytes, body: bytes = b"", method: bytes = b"INVITE") -> bytes:
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return b"%s %s SIP/2.0\r\n" % (method, uri) + HEADERS + length + body


@pytest.mark.parametrize("uri", TEST_URNS)
def test_an_invite_to_a_test_urn_passes(uri: bytes) -> None:
    """The registered test URNs, sub-services included, may leave (RFC 6881 17.2)."""
    permit(_invite(uri, b"v=0\r\n"))


@pytest.mark.parametrize("uri", LIVE)
def test_an_invite_to_anything_else_is_stopped(uri: bytes) -> None:
    """Every near miss of a test URN, and every other URI, stays here."""
    with pytest.raises(NotATestCall):
        permit(_invite(uri))


@pytest.mark.parametrize("method", [b"OPTIONS", b"ACK", b"CANCEL", b"BYE"])
def test_methods_that_cannot_begin_a_call_pass_to_any_uri(method: bytes) -> None:
    """OPTIONS, ACK, CANCEL and BYE go to whatever URI the dialog or the check says."""
    permit(_invite(b"sip:psap@example.gov", method=method))


@pytest.mark.parametrize(
    "method",
    [b"invite", b"Invite", b"INVITE\x00", b"RINVITE", b"MESSAGE", b"REFER", b"REGISTER", b"UPDATE"],
)
def test_no_other_method_is_ever_sent(method: bytes) -> None:
    """Neither an INVITE in disguise nor any other method leaves, to a test URN or not."""
    with pytest.raises(NotATestCall):
        permit(_invite(b"urn:service:test.sos", method=method))


@pytest.mark.parametrize("octets", [b"\r\n", b"\r\n\r\n"])
def test_keep_alives_pass(octets: bytes) -> None:
    """The CRLF ping and pong of RFC 5626 4.4.1 are no message."""
    permit(octets)


def test_a_response_passes_whatever_its_reason_says() -> None:
    """A response begins no call."""
    permit(b"SIP/2.0 200 INVITE sip:911 SIP/2.0\r\n" + HEADERS + b"l: 0\r\n\r\n")


LIVE_INVITE: Final = _invite(b"sip:911@example.gov")
_TEST: Final = b"INVITE urn:service:test.sos SIP/2.0\r\n" + HEADERS
_SIZE: Final = len(LIVE_INVITE)

HIDDEN: Final = {
    "behind a message": _TEST + b"l: 0\r\n\r\n" + LIVE_INVITE,
    "behind a body": _TEST + b"l: 2\r\n\r\nv=" + LIVE_INVITE,
    "behind a keep-alive": b"\r\n\r\n" + LIVE_INVITE,
    "behind one CRLF": b"\r\n" + LIVE_INVITE,
    "behind a response": b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n" + LIVE_INVITE,
    "without Content-Length": _TEST + b"\r\n" + LIVE_INVITE,
    "two lengths": _TEST + b"l: 0\r\nContent-Length: %d\r\n\r\n" % _SIZE + LIVE_INVITE,
    "a folded length": _TEST + b"l:\r\n 0\r\nContent-Length: %d\r\n\r\n" % _SIZE + LIVE_INVITE,
    "a length folded on": _TEST + b"l: %d\r\n 0\r\n\r\n" % _SIZE + LIVE_INVITE,
    "a signed length": _TEST + b"l: +0\r\nContent-Length: %d\r\n\r\n" % _SIZE + LIVE_INVITE,
    "a listed length": _TEST + b"l: 0, 0\r\nContent-Length: %d\r\n\r\n" % _SIZE + LIVE_INVITE,
    "a long length": _TEST + b"l: 0000000\r\nL: %d\r\n\r\n" % _SIZE + LIVE_INVITE,
    "an empty length": _TEST + b"l:\r\nL: %d\r\n\r\n" % _SIZE + LIVE_INVITE,
    "LF in the headers": _TEST + b"X: y\n\nINVITE sip:911 SIP/2.0\r\nl: 0\r\n\r\n",
    "CR in the headers": _TEST + b"X: y\r\rINVITE sip:911 SIP/2.0\r\nl: 0\r\n\r\n",
    "a request line on two lines": b"INVITE\r\n sip:911 SIP/2.0\r\nl: 0\r\n\r\n",
    "a tab in the request line": b"INVITE\tsip:911\tSIP/2.0\r\nl: 0\r\n\r\n",
    "two spaces": b"INVITE  sip:911 SIP/2.0\r\nl: 0\r\n\r\n",
    "a space in front": b" INVITE sip:911 SIP/2.0\r\nl: 0\r\n\r\n",
    "another version": b"INVITE sip:911 SIP/3.0\r\nl: 0\r\n\r\n",
    "no version": b"INVITE sip:911\r\nl: 0\r\n\r\n",
    "no end of headers": b"INVITE sip:911 SIP/2.0\r\nl: 0\r\n",
    "too many headers": b"INVITE urn:service:test.sos SIP/2.0\r\nX: " + b"y" * 17_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("octets", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_live_call_cannot_hide(octets: bytes) -> None:
    """Not behind a body or a second Content-Length, not in odd white space or line ends."""
    with pytest.raises(NotATestCall):
        permit(octets)


_URN: Final = re.compile(rb"urn:service:test\.sos(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_NUMBER: Final = re.compile(rb"[0-9]+")


def could_be_a_live_call(octets: bytes, depth: int = 3) -> bool:
    """Read as tolerantly as any peer might, and say whether some reading is a live call.

    White space of every kind separates, method and header names have no case, folded and doubled
    Content-Lengths are all believed, and whatever then follows is another message.
    """
    octets = octets.lstrip()
    words = _LINE_END.split(octets, maxsplit=1)[0].split()
    if words and words[0].upper() == b"INVITE" and (len(words) < 2 or not _URN.fullmatch(words[1])):
        return True
    if not words or depth == 0:
        return False
    head, blank, rest = octets.partition(b"\r\n\r\n")
    if not blank:
        return False
    unfolded = re.sub(rb"\r\n[ \t]+", b" ", head)
    lengths = {
        int(number)
        for line in _LINE_END.split(unfolded)
        if line.partition(b":")[0].strip(b" \t").lower() in (b"l", b"content-length")
        for number in _NUMBER.findall(line)
    }
    if not lengths:
        lengths = {0}
    return any(
        could_be_a_live_call(rest[length:], depth - 1) for length in lengths if rest[length:]
    )


_PIECES: Final = st.sampled_from(
    [
        b"INVITE ",
        b"invite ",
        b"OPTIONS ",
        b"ACK ",
        b"SIP/2.0",
        b"SIP/2.0 200 OK",
        b" SIP/2.0",
        *TEST_URNS,
        *LIVE,
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b"l: 0",
        b"l : 0",
        b"l:\r\n 0",
        b"Content-Length: 0",
        b"content-length: 2",
        b"Content-Length: %d" % _SIZE,
        b"X: y",
        b"v=",
        HEADERS,
        LIVE_INVITE,
        _invite(b"urn:service:test.sos"),
    ]
)


@given(st.lists(_PIECES, max_size=12).map(b"".join))
def test_no_made_up_message_that_passes_can_be_read_as_a_live_call(octets: bytes) -> None:
    """Whatever the pieces of a message are put together to, what passes is harmless."""
    _stopped_or_harmless(octets)


@st.composite
def _framed(draw: st.DrawFn) -> bytes:
    """A message whose last Content-Length is right, with a body that may be another message."""
    start = draw(st.sampled_from([b"INVITE ", b"OPTIONS "]))
    uri = draw(st.sampled_from(TEST_URNS + LIVE))
    body = draw(st.sampled_from([b"", b"v=0\r\n", LIVE_INVITE, b"v=" + LIVE_INVITE]))
    lines = draw(
        st.lists(
            st.one_of(
                st.sampled_from([b"X: y", b"l: 0", b"l:\r\n 0", b"Content-Length: 2", b"L: +0"]),
                st.from_regex(rb"(?:l|Content-Length)[ \t]*:[ \t0-9+,;\r\n]{0,6}", fullmatch=True),
            ),
            max_size=3,
        )
    )
    lines.append(b"Content-Length: %d" % len(body))
    return b"%s%s SIP/2.0\r\n%s\r\n\r\n%s" % (start, uri, b"\r\n".join(lines), body)


@given(_framed())
@example(_TEST + b"l:\r\n 0\r\nContent-Length: %d\r\n\r\n" % _SIZE + LIVE_INVITE)
def test_no_second_content_length_lets_a_live_call_through(octets: bytes) -> None:
    """Bodies that are live calls stay bodies under every reading of Content-Length."""
    _stopped_or_harmless(octets)


@given(st.data())
def test_no_edit_of_a_good_message_makes_it_dangerous(data: st.DataObject) -> None:
    """Cut, replace or insert anything in a good INVITE: it is stopped, or still harmless."""
    octets = _invite(data.draw(st.sampled_from(TEST_URNS)), b"v=0\r\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 60) | st.integers(0, len(octets)))
        cut = data.draw(st.integers(0, 8))
        octets = octets[:at] + data.draw(_PIECES | st.binary(max_size=3)) + octets[at + cut :]
    _stopped_or_harmless(octets)


@given(st.text(alphabet="ur:nservictesto.TESTOS@;?%- \r\n\t\0x9", max_size=30))
def test_only_what_matches_the_registered_form_passes_as_uri(tail: str) -> None:
    """Any text behind a test URN either keeps it one or is stopped."""
    uri = b"urn:service:test.sos" + tail.encode()
    if _URN.fullmatch(uri):
        permit(_invite(uri))
    else:
        with pytest.raises(NotATestCall):
            permit(_invite(uri))


def _stopped_or_harmless(octets: bytes) -> None:
    try:
        permit(octets)
    except NotATestCall:
        return
    assert not could_be_a_live_call(octets)
