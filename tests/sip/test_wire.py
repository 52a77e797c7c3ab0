"""Octets to messages and back, what is refused, and streams cut into messages."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.sip.guard import permit
from psapwatch.sip.message import VIAS_MAX
from psapwatch.sip.wire import (
    BODY_OCTETS_MAX,
    HEADER_OCTETS_MAX,
    STREAM_OCTETS_MAX,
    Malformed,
    Request,
    Response,
    StreamFramer,
    call_id_of,
    parse,
    serialize,
)

OK: Final = (
    b"SIP/2.0 200 OK\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1;rport=5060;received=192.0.2.10\r\n"
    b'From: "911 path monitor TEST" <sip:probe@monitor.example.org>;tag=ours\r\n'
    b"To: <sip:psap1.example.gov>;tag=theirs\r\n"
    b"Call-ID: 1@192.0.2.10\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)


def _without(line: bytes) -> bytes:
    start = OK.index(b"\r\n" + line)
    return OK[:start] + OK[OK.index(b"\r\n", start + 2) :]


def _with(lines: bytes) -> bytes:
    return OK[:-2] + lines + b"\r\n\r\n"


def _swap(old: bytes, new: bytes) -> bytes:
    assert old in OK
    return OK.replace(old, new, 1)


def test_a_response_gives_all_that_a_transaction_asks() -> None:
    """Code, reason, Call-ID, CSeq, tags and the top Via are there at once."""
    message = parse(OK)
    assert isinstance(message, Response)
    assert (message.code, message.reason, message.body) == (200, "OK", b"")
    assert (message.call_id, message.cseq) == ("1@192.0.2.10", (1, "OPTIONS"))
    assert (message.from_tag, message.to_tag) == ("ours", "theirs")
    assert [via.branch for via in message.vias] == ["z9hG4bK1"]


def test_headers_are_found_in_any_case_and_missing_ones_are_none() -> None:
    """Header names have no case (RFC 3261 7.3.1)."""
    message = parse(_with(b"RETRY-after: 120"))
    assert message.header("Retry-After") == message.header("retry-after") == "120"
    assert message.header("Warning") is None
    assert message.all("Warning") == ()


COMPACT: Final = {
    b"a": "Accept-Contact",
    b"b": "Referred-By",
    b"c": "Content-Type",
    b"d": "Request-Disposition",
    b"e": "Content-Encoding",
    b"j": "Reject-Contact",
    b"k": "Supported",
    b"m": "Contact",
    b"n": "Identity-Info",
    b"o": "Event",
    b"r": "Refer-To",
    b"s": "Subject",
    b"u": "Allow-Events",
    b"x": "Session-Expires",
    b"y": "Identity",
}


@pytest.mark.parametrize("letter", COMPACT)
def test_a_compact_form_is_its_long_name(letter: bytes) -> None:
    """All registered letters are known, in both cases."""
    for name in (letter, letter.upper()):
        assert parse(_with(name + b": value")).header(COMPACT[letter]) == "value"


def test_the_compact_forms_of_the_required_headers_are_enough() -> None:
    """A message in v f t i l alone is whole."""
    short = OK
    for name, letter in ((b"Via", b"v"), (b"From", b"f"), (b"To", b"t"), (b"Call-ID", b"i")):
        short = short.replace(name + b":", letter + b" :", 1)
    short = short.replace(b"Content-Length:", b"l\t:")
    message = parse(short)
    assert (message.call_id, message.to_tag, len(message.vias)) == ("1@192.0.2.10", "theirs", 1)
    assert call_id_of(short) == "1@192.0.2.10"


def test_compact_and_long_form_of_a_list_are_one_list() -> None:
    """``Supported`` and ``k`` in one message add up, in order."""
    message = parse(_with(b"Supported: a,b\r\nX: y\r\nk: c"))
    assert message.all("Supported") == ("a", "b", "c")


def test_folded_lines_are_one_value() -> None:
    """A line that begins with white space goes on the value before (RFC 3261 7.3.1)."""
    message = parse(_swap(b"CSeq: 1 OPTIONS", b"CSeq: 1\r\n  \t OPTIONS"))
    assert message.cseq == (1, "OPTIONS")


@pytest.mark.parametrize(
    ("contact", "values"),
    [
        (b"<sip:a;x=1,2>, sip:b", ("<sip:a;x=1,2>", "sip:b")),
        (b'"x, y" <sip:a>,<sip:b>', ('"x, y" <sip:a>', "<sip:b>")),
        (b'"x \\", y" <sip:a>, <sip:b>', ('"x \\", y" <sip:a>', "<sip:b>")),
        (b'"x \\\\", <sip:b>', ('"x \\\\"', "<sip:b>")),
    ],
)
def test_a_list_is_split_outside_quotes_and_brackets_only(
    contact: bytes, values: tuple[str, ...]
) -> None:
    """Commas in quotes, behind escaped quotes and in URIs belong to the value."""
    assert parse(_with(b"Contact: " + contact)).all("Contact") == values
    ours = Response(200, "OK", (("Contact", contact.decode()),))
    assert ours.all("contact") == values


def test_challenges_and_dates_are_not_lists() -> None:
    """Their commas stay."""
    digest = 'Digest realm="r", nonce="n"'
    message = parse(_with(b"WWW-Authenticate: %s\r\nDate: Sat, 15 Oct 2005" % digest.encode()))
    assert message.all("WWW-Authenticate") == (digest,)
    assert message.header("Date") == "Sat, 15 Oct 2005"


def test_odd_octets_in_a_value_do_not_hide_the_rest() -> None:
    """A Server header that is no UTF-8 is shown as well as can be."""
    assert parse(_with(b"Server: caf\xe9")).header("Server") == "caf\ufffd"


@pytest.mark.parametrize("front", [b"\r\n", b"\r\n\r\n\r\n"])
def test_empty_lines_before_the_start_line_are_skipped(front: bytes) -> None:
    """RFC 3261 7.5."""
    assert parse(front + OK) == parse(OK)


def test_the_version_has_no_case() -> None:
    """RFC 3261 7.1: SIP-Version is matched without case."""
    assert parse(_swap(b"SIP/2.0 200", b"sip/2.0 200")) == parse(OK)


def test_octets_behind_the_body_are_dropped_from_a_datagram() -> None:
    """RFC 3261 18.3: Content-Length ends the message."""
    octets = _swap(b"Content-Length: 0", b"Content-Length: 2") + b"hiINVITE sip:911 SIP/2.0\r\n\r\n"
    assert parse(octets).body == b"hi"


def test_without_content_length_a_datagram_is_all_body_and_a_stream_is_lost() -> None:
    """RFC 3261 18.3 and 20.14."""
    octets = _without(b"Content-Length") + b"hi"
    assert parse(octets).body == b"hi"
    with pytest.raises(Malformed, match="no Content-Length in a stream"):
        parse(octets, stream=True)


@pytest.mark.parametrize("value", [b"2", b"2 ", b"0002", b"\r\n 2", b"2\r\nl: 2"])
def test_a_content_length_may_be_padded_folded_or_said_twice(value: bytes) -> None:
    """One unambiguous number is enough."""
    assert parse(_swap(b"Content-Length: 0", b"Content-Length:" + value) + b"hi").body == b"hi"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"-0",
        b"+0",
        b"0x0",
        b"1_0",
        b"0, 0",
        b"0\r\nl: 1",
        b"0\r\n 0",
        b"five",
        b"%d" % (BODY_OCTETS_MAX + 1),
        b"9" * 5000,
        "\u0665".encode(),
    ],
)
def test_any_other_content_length_is_refused(value: bytes) -> None:
    """A length that two readers could take differently is no length."""
    with pytest.raises(Malformed, match=r"^Content-Length"):
        parse(_swap(b"Content-Length: 0", b"Content-Length: " + value) + b"hi")


def test_a_short_datagram_is_truncated() -> None:
    """RFC 3261 18.3 wants a response with less body than Content-Length discarded."""
    with pytest.raises(Malformed) as caught:
        parse(_swap(b"Content-Length: 0", b"Content-Length: 3") + b"hi")
    assert caught.value.why == "truncated"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no end of headers"),
        (b"\r\n\r\n", "no end of headers"),
        (b"\r\n\r\n\r\n\r\n", "no end of headers"),
        (b"hello\r\n\r\n", "not a SIP/2.0 start line"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a SIP/2.0 start line"),
        (OK[:-2], "no end of headers"),
        (OK.replace(b"\r\n", b"\n"), "no end of headers"),
        (_swap(b"200 OK", b"2_00 OK"), "not a SIP/2.0 start line"),
        (_swap(b"200 OK", b"099 OK"), "not a SIP/2.0 start line"),
        (_swap(b"200 OK", b"700 OK"), "not a SIP/2.0 start line"),
        (_swap(b"200 OK", b"200OK"), "not a SIP/2.0 start line"),
        (_swap(b"200 OK", b"200 O\rK"), "not a SIP/2.0 start line"),
        (_with(b"no colon here"), "not a header line"),
        (_with(b": no name"), "not a header line"),
        (_with(b"bad name: x"), "not a header line"),
        (_with(b"X: a\rTo: b"), "not a header line"),
        (_with(b"X: a\nTo: b"), "not a header line"),
        (_swap(b"Via: ", b" Via: "), "not a header line"),
        (_without(b"Via"), "0 Via values"),
        (_without(b"From"), "0 from headers"),
        (_without(b"To"), "0 to headers"),
        (_without(b"Call-ID"), "0 call-id headers"),
        (_without(b"CSeq"), "0 cseq headers"),
        (_with(b"t: <sip:x>"), "2 to headers"),
        (_with(b"i: 2"), "2 call-id headers"),
        (_swap(b"Call-ID: 1@192.0.2.10", b"Call-ID: 1 2"), "bad Call-ID"),
        (_swap(b"Call-ID: 1@192.0.2.10", b"Call-ID:"), "bad Call-ID"),
        (_swap(b"CSeq: 1 OPTIONS", b"CSeq: -1 OPTIONS"), "bad CSeq"),
        (_swap(b"CSeq: 1 OPTIONS", b"CSeq: 4294967296 OPTIONS"), "bad CSeq"),
        (_swap(b"CSeq: 1 OPTIONS", b"CSeq: 1OPTIONS"), "bad CSeq"),
        (_swap(b"CSeq: 1 OPTIONS", b"CSeq: 1 OPT IONS"), "bad CSeq"),
        (_swap(b";tag=theirs", b";tag="), "bad parameters"),
        (_swap(b"<sip:psap1.example.gov>", b"<sip:psap1.example.gov"), "no name-addr"),
        (_swap(b"UDP 192", b"UDP  x 192"), "bad parameters"),
        (_with(b"X: " + b"y" * HEADER_OCTETS_MAX), "header section too long"),
        (_with(b"\r\n".join([b"X: y"] * 300)), "Too many headers"),
        (_with(b"Via: " + b",".join([b"SIP/2.0/UDP h"] * VIAS_MAX)), f"{VIAS_MAX + 1} Via values"),
        (_with(b"Via: " + b"," * 16_000), "16001 Via values"),
    ],
)
def test_what_is_no_message_is_malformed_and_says_why(octets: bytes, why: str) -> None:
    """Each fault has its words, and few of them."""
    with pytest.raises(Malformed) as caught:
        parse(octets)
    assert caught.value.why.startswith(why)
    assert len(caught.value.why) <= 120


@pytest.mark.parametrize(
    "octets",
    [
        OK.replace(b"\r\n", b"\n"),
        OK[:-2],
        _with(b"no colon here"),
        _without(b"From"),
        _swap(b"SIP/2.0/UDP", b"SIP/9.9/UDP"),
        _swap(b"Via: ", b"v : ")[:-2],
        _swap(b"CSeq: 1 ", b"cseq:\r\n\t1 ")[:-2],
    ],
)
def test_a_malformed_answer_still_says_whose_it_is(octets: bytes) -> None:
    """Branch, method and code of a bad response tell it from garbage (ng911 11.4)."""
    with pytest.raises(Malformed) as caught:
        parse(octets)
    refused = caught.value
    assert (refused.branch, refused.cseq_method, refused.code) == ("z9hG4bK1", "OPTIONS", 200)


def test_the_branch_of_a_malformed_message_is_that_of_its_top_via() -> None:
    """A branch further down, or in another Via of the same line, is somebody else's."""
    octets = _swap(b"branch=z9hG4bK1", b"x=1, SIP/2.0/UDP h;branch=other")[:-2]
    with pytest.raises(Malformed) as caught:
        parse(octets)
    assert caught.value.branch == ""


REQUEST: Final = Request(
    "INVITE",
    "urn:service:test.sos",
    (
        ("Via", "SIP/2.0/TLS 192.0.2.10:5061;branch=z9hG4bK1;rport"),
        ("Max-Forwards", "70"),
        ("Route", "<sip:bcf.example.net;transport=tls;lr>"),
        ("From", '"911 path monitor TEST" <sip:probe@monitor.example.org>;tag=1'),
        ("To", "<urn:service:test.sos>"),
        ("Call-ID", "1@192.0.2.10"),
        ("CSeq", "1 INVITE"),
        ("X-MyHeader", "as it is"),
        ("Content-Type", "application/sdp"),
    ),
    b"v=0\r\n",
)


def test_a_request_is_written_in_order_and_as_named() -> None:
    """Nothing is renamed or moved, the URN least of all; Content-Length comes last."""
    octets = serialize(REQUEST)
    lines = octets.decode().split("\r\n")
    assert lines[0] == "INVITE urn:service:test.sos SIP/2.0"
    assert lines[1:10] == [f"{name}: {value}" for name, value in REQUEST.headers]
    assert lines[10:] == ["Content-Length: 5", "", "v=0", ""]
    permit(octets)


def test_what_is_written_reads_back_the_same() -> None:
    """A request of ours survives the wire, on datagrams and streams."""
    for stream in (False, True):
        again = parse(serialize(REQUEST), stream=stream)
        assert isinstance(again, Request)
        assert (again.method, again.uri, again.body) == ("INVITE", REQUEST.uri, b"v=0\r\n")
        assert again.headers == (*REQUEST.headers, ("Content-Length", "5"))


def test_a_content_length_of_ours_is_replaced() -> None:
    """There is one Content-Length and it is right."""
    response = Response(200, "OK", (("Content-Length", "99"), ("l", "98")), b"hi")
    assert serialize(response) == b"SIP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    "message",
    [
        Request("OPTIONS", "sip:h\r\nX: y", ()),
        Request("OPTIONS", "sip:h x", ()),
        Request("OPTIONS", "sip:h\tx", ()),
        Request("OPTIONS", "<sip:h>", ()),
        Request("OPTIONS", "", ()),
        Request("OPTIONS", "sip:\u00e9", ()),
        Request("OPT IONS", "sip:h", ()),
        Request("", "sip:h", ()),
        Request("OPTIONS", "sip:h", (("X", "a\r\nInjected: b"),)),
        Request("OPTIONS", "sip:h", (("X", "a\nInjected: b"),)),
        Request("OPTIONS", "sip:h", (("X", "a\rb"),)),
        Request("OPTIONS", "sip:h", (("X", "a\0b"),)),
        Request("OPTIONS", "sip:h", (("X", "a\r\n folded"),)),
        Request("OPTIONS", "sip:h", (("X Y", "a"),)),
        Request("OPTIONS", "sip:h", (("X:", "a"),)),
        Request("OPTIONS", "sip:h", (("", "a"),)),
        Request("OPTIONS", "sip:h", (("X", "\ud800"),)),
        Response(99, "x", ()),
        Response(700, "x", ()),
        Response(200, "O\r\nK", ()),
    ],
)
def test_a_message_of_ours_that_would_not_be_one_is_never_written(
    message: Request | Response,
) -> None:
    """Configuration that reaches a header cannot begin another header or message."""
    with pytest.raises(ValueError):
        serialize(message)


VALUES: Final = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), max_size=20)


@given(st.dictionaries(st.from_regex(r"X-[A-Za-z0-9]{1,9}", fullmatch=True), VALUES), st.binary())
def test_any_headers_and_body_survive_the_wire(headers: dict[str, str], body: bytes) -> None:
    """Values and bodies come back octet for octet."""
    message = Response(200, "OK", parse(OK).headers[:-1] + tuple(headers.items()), body)
    again = parse(serialize(message), stream=True)
    assert again.body == body
    unique = {name.lower(): value for name, value in headers.items()}
    if len(unique) == len(headers):
        assert {name: again.header(name) for name in unique} == unique


def test_messages_with_the_same_content_are_equal_whatever_was_asked_of_them() -> None:
    """What is kept for speed is no part of a message."""
    asked, fresh = parse(OK), parse(OK)
    assert asked.header("To")
    assert asked == fresh
    assert hash(asked) == hash(fresh)
    assert "known" not in repr(asked)


def test_a_message_of_ours_can_be_asked_before_it_is_whole() -> None:
    """Missing headers are empty answers, not failures, while a request is being built."""
    empty = Request("OPTIONS", "sip:h", ())
    assert (empty.call_id, empty.cseq, empty.vias) == ("", (0, ""), ())


@pytest.mark.parametrize(
    ("octets", "call_id"),
    [
        (OK, "1@192.0.2.10"),
        (_swap(b"Call-ID: ", b"i:"), "1@192.0.2.10"),
        (_swap(b"Call-ID: ", b"CALL-ID\t:\r\n  "), "1@192.0.2.10"),
        (_swap(b"Call-ID: ", b"Xi: "), ""),
        (_without(b"Call-ID"), ""),
        (b"Call-ID: not a header line", ""),
        (b"", ""),
        (b"\xff" * 70_000, ""),
    ],
)
def test_the_call_id_is_found_without_reading_the_rest(octets: bytes, call_id: str) -> None:
    """Flows hand messages to listeners by it."""
    assert call_id_of(octets) == call_id


BYE: Final = serialize(Request("BYE", "sip:h", (*REQUEST.headers[:6], ("CSeq", "2 BYE"))))
INVITE: Final = serialize(REQUEST)


@given(st.lists(st.sampled_from([OK, BYE, INVITE, b"\r\n", b"\r\n\r\n"]), max_size=8), st.data())
def test_a_stream_gives_the_same_messages_however_it_is_cut(
    sent: list[bytes], data: st.DataObject
) -> None:
    """Reads of any size, keep-alives between messages or not, change nothing."""
    stream = b"".join(sent)
    framer = StreamFramer()
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        framer.feed(stream[:size])
        stream = stream[size:]
        while (message := framer.next()) is not None:
            found.append(message)
    assert found == [octets for octets in sent if octets.strip()]
    assert framer.keepalives == sum(octets.count(b"\r\n") for octets in sent if not octets.strip())


def test_a_pong_before_a_message_loses_nothing() -> None:
    """A CRLF pong (RFC 5626 4.4.1) in the same read as a message is swallowed alone."""
    framer = StreamFramer()
    framer.feed(b"\r\n" + OK + b"\r")
    assert framer.next() == OK
    assert framer.next() is None
    framer.feed(b"\n" + OK)
    assert framer.next() == OK
    assert framer.keepalives == 2


@pytest.mark.parametrize(
    "length", [b"Content-Length : 2", b"l:\r\n 2", b"Content-Length:2\r\nl: 2"]
)
def test_a_stream_is_cut_by_every_spelling_of_content_length(length: bytes) -> None:
    """Compact, spaced and folded lengths do not desynchronise the stream."""
    framer = StreamFramer()
    framer.feed(_swap(b"Content-Length: 0", length) + b"hi" + OK)
    assert (framer.next() or b"").endswith(b"\r\n\r\nhi")
    assert framer.next() == OK


@pytest.mark.parametrize(
    "octets",
    [
        _without(b"Content-Length"),
        _swap(b"Content-Length: 0", b"Content-Length: -1"),
        _swap(b"Content-Length: 0", b"Content-Length: 0\r\nl: 1"),
        _swap(b"Content-Length: 0", b"Content-Length: %d" % (BODY_OCTETS_MAX + 1)),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"x" * (HEADER_OCTETS_MAX + 1),
    ],
)
def test_a_stream_without_a_way_to_go_on_is_given_up(octets: bytes) -> None:
    """Where a message ends is known, or the connection has to be closed."""
    framer = StreamFramer()
    framer.feed(octets)
    with pytest.raises(Malformed):
        framer.next()


def test_a_stream_that_is_not_drained_is_bounded() -> None:
    """Memory for unread octets has a limit, and reaching it is an error."""
    framer = StreamFramer()
    framer.feed(OK)
    framer.feed(b"x" * STREAM_OCTETS_MAX)
    with pytest.raises(Malformed, match="stream buffer full"):
        framer.next()
