"""URIs, name-addr and Via: read strictly, kept as written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.sip.uri import BadUri, Params, parse_name_addr, parse_uri, parse_via

# text: scheme, user, host, port, params
URIS: dict[str, tuple[str, str, str, int | None, Params]] = {
    "sip:psap1.example.gov": ("sip", "", "psap1.example.gov", None, ()),
    "SIP:psap@example.gov:5062": ("sip", "psap", "example.gov", 5062, ()),
    "sips:a.b+c@192.0.2.1;transport=TLS;lr": (
        "sips",
        "a.b+c",
        "192.0.2.1",
        None,
        (("transport", "TLS"), ("lr", None)),
    ),
    "sip:[2001:db8::10]": ("sip", "", "2001:db8::10", None, ()),
    "sip:u@[2001:db8::10]:5080;lr": ("sip", "u", "2001:db8::10", 5080, (("lr", None),)),
    "sip:[::ffff:192.0.2.1]:5060": ("sip", "", "::ffff:192.0.2.1", 5060, ()),
    "sip:user:secret@h": ("sip", "user", "h", None, ()),
    "sip:user;par=u%40x@h": ("sip", "user;par=u%40x", "h", None, ()),
    "sip:who?@h;p=[a:b]/&+$": ("sip", "who?", "h", None, (("p", "[a:b]/&+$"),)),
    "sip:queue_1.psap@esrp_2.example.gov": ("sip", "queue_1.psap", "esrp_2.example.gov", None, ()),
    "tel:+1-911;phone-context=example": (
        "tel",
        "+1-911",
        "",
        None,
        (("phone-context", "example"),),
    ),
    "urn:service:test.sos": ("urn", "service:test.sos", "", None, ()),
    "URN:service:sos.Police": ("urn", "service:sos.Police", "", None, ()),
    "http://www.example.com/x?y#z": ("http", "", "", None, ()),
    "cid:loc1@example.org": ("cid", "", "", None, ()),
}


@pytest.mark.parametrize("text", URIS)
def test_a_uri_is_read_and_written_as_it_was(text: str) -> None:
    """Scheme, user, host without brackets, port and parameters; str() is the text."""
    uri = parse_uri(text)
    assert (uri.scheme, uri.user, uri.host, uri.port, uri.params) == URIS[text]
    assert str(uri) == text


def test_uri_headers_are_kept_apart_from_parameters() -> None:
    """What stands behind the question mark is neither host nor parameter."""
    uri = parse_uri("sip:u@h;lr?Route=%3Csip:p%3E&x=")
    assert (uri.host, uri.params, uri.headers) == ("h", (("lr", None),), "Route=%3Csip:p%3E&x=")


def test_a_flag_and_a_missing_parameter_differ() -> None:
    """``param`` gives an empty value for a flag, None for what is not there."""
    uri = parse_uri("sip:h;lr;transport=tcp")
    assert (uri.param("lr"), uri.param("transport"), uri.param("maddr")) == ("", "tcp", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "psap.example.gov",
        "sip:",
        "sip:@h",
        "sip:u@",
        "sip:u@h:",
        "sip:h:65536",
        "sip:h:5_0",
        "sip:h:-1",
        "sip:h:\u0665",
        "sip:h;",
        "sip:h;;lr",
        "sip:h; lr",
        "sip:h?",
        "sip:a b@h",
        "sip:<h>",
        "sip:h\r\nX: y",
        "sip:h\x00",
        "sip:%4@h",
        "sip:\u00e9@h",
        "sip:[2001:db8::10",
        "sip:[2001:db8::1::2]",
        "sip:[192.0.2.1]",
        "sip:2001:db8::10",
        "sip:u@h@g",
        "tel:",
        "tel:call me",
        "tel:sip:911",
        ":service:sos",
        "1urn:service:sos",
        " sip:h",
    ],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    """Nothing is guessed: a URI that the grammar does not know is BadUri."""
    with pytest.raises(BadUri):
        parse_uri(text)


# text: display, URI, params
NAME_ADDRS: dict[str, tuple[str, str, Params]] = {
    "<sip:a@h>": ("", "sip:a@h", ()),
    "sip:a@h": ("", "sip:a@h", ()),
    "sip:a@h;tag=1;x": ("", "sip:a@h", (("tag", "1"), ("x", None))),
    "<sip:a@h;lr>;Tag=1": ("", "sip:a@h;lr", (("tag", "1"),)),
    "PSAP One <sip:a@h>": ("PSAP One", "sip:a@h", ()),
    "PSAP<sip:a@h>": ("PSAP", "sip:a@h", ()),
    '"A \\"q\\" <sip:x@y>, \\\\" <sip:a@h>;tag=1': (
        'A "q" <sip:x@y>, \\',
        "sip:a@h",
        (("tag", "1"),),
    ),
    '"<sip:evil@e>" <sip:a@h>': ("<sip:evil@e>", "sip:a@h", ()),
    '<sip:a@h> ; foo = "a;b\\"c" ; q=0.5': ("", "sip:a@h", (("foo", 'a;b"c'), ("q", "0.5"))),
    "<urn:service:test.sos>;tag=x": ("", "urn:service:test.sos", (("tag", "x"),)),
    "urn:service:test.sos": ("", "urn:service:test.sos", ()),
    "<sip:a@h?Subject=x>": ("", "sip:a@h?Subject=x", ()),
}


@pytest.mark.parametrize("text", NAME_ADDRS)
def test_a_name_addr_is_read_and_written_as_it_was(text: str) -> None:
    """Quotes and escapes are understood; parameters outside <> belong to the header."""
    address = parse_name_addr(text)
    assert (address.display, str(address.uri), address.params) == NAME_ADDRS[text]
    assert str(address) == text


def test_the_tag_is_empty_where_there_is_none() -> None:
    """A From of RFC 2543 has no tag; a flag named tag has no value."""
    assert [parse_name_addr(text).tag for text in ("<sip:a>", "<sip:a>;tag", "<sip:a>;tag=b")] == [
        "",
        "",
        "b",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "<sip:a@h",
        "sip:a@h>",
        "< sip:a@h>",
        '"unterminated <sip:a@h>',
        '"a" "b" <sip:a@h>',
        "Bell, Alexander <sip:a@h>",
        "<sip:a@h> x",
        "<sip:a@h>;",
        "<sip:a@h>;;tag=1",
        "<sip:a@h>;tag=",
        "<sip:a@h>;=1",
        "<sip:a@h>;tag=1,<sip:b@h>",
        "sip:a@h?Route=x",
        "*",
    ],
)
def test_what_is_no_name_addr_is_refused(text: str) -> None:
    """Open quotes and brackets, stray text and empty parameters are BadUri."""
    with pytest.raises(BadUri):
        parse_name_addr(text)


def test_a_via_is_read_with_what_the_next_hop_filled_in() -> None:
    """Branch, received and rport tell whether an answer is ours and how NAT changed us."""
    text = "SIP/2.0/udp 192.0.2.10:5070;branch=z9hG4bKx;rport=40000;received=198.51.100.7"
    via = parse_via(text)
    assert (via.transport, via.host, via.port) == ("UDP", "192.0.2.10", 5070)
    assert (via.branch, via.rport, via.received) == ("z9hG4bKx", 40000, "198.51.100.7")
    assert str(via) == text


@pytest.mark.parametrize("received", ["2001:db8::7", "[2001:db8::7]"])
def test_a_via_holds_ipv6_with_and_without_brackets(received: str) -> None:
    """Addresses come without brackets, however the hop wrote ``received``."""
    via = parse_via(f"SIP/2.0/TLS [2001:db8::1]:5061;branch=b;received={received};rport")
    assert (via.host, via.port, via.received, via.rport) == (
        "2001:db8::1",
        5061,
        "2001:db8::7",
        None,
    )


def test_a_via_may_have_white_space_at_every_separator() -> None:
    """The grammar's SLASH, COLON and SEMI all carry white space."""
    via = parse_via(" SIP / 2.0 / TCP  h : 5060 ; branch = b ; hidden ")
    assert (via.transport, via.host, via.port, via.branch) == ("TCP", "h", 5060, "b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/3.0/UDP h",
        "SIP/2.0/UDP h;;branch=b",
        "SIP/2.0/UDP h;",
        "SIP/2.0/UDP h:70000",
        "SIP/2.0/UDP h x",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP [::1]x",
        "SIP/2.0 UDP h",
        "HTTP/2.0/TCP h",
    ],
)
def test_what_is_no_via_is_refused(text: str) -> None:
    """A Via that does not read to its end is BadUri."""
    with pytest.raises(BadUri):
        parse_via(text)


@pytest.mark.parametrize("rport", ["", "=", "=x", "=65536", "=-1", "=\u0665"])
def test_an_rport_that_is_no_port_counts_as_not_filled_in(rport: str) -> None:
    """A bad rport never becomes a number; an empty value is no parameter at all."""
    text = f"SIP/2.0/UDP h;rport{rport}"
    if rport == "=":
        with pytest.raises(BadUri):
            parse_via(text)
    else:
        assert parse_via(text).rport is None


@given(st.text(alphabet='sip:urn@h<>"\\;=,?[]. %\t\r\n\0é', max_size=40))
def test_every_text_is_read_as_written_or_bad(text: str) -> None:
    """No other exception, and no reading that changes the text."""
    for read in (parse_uri, parse_name_addr, parse_via):
        try:
            value = read(text)
        except BadUri:
            continue
        assert str(value) == text.strip()
