"""The 49 messages of RFC 4475, as the RFC's own archive has them, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from psapwatch.sip.uri import BadUri, parse_name_addr, parse_uri
from psapwatch.sip.wire import Malformed, Message, Request, Response, StreamFramer, parse

TORTURE: Final = Path(__file__).parents[1] / "golden" / "torture"


def _request(message: Message) -> Request:
    assert isinstance(message, Request)
    return message


def _response(message: Message) -> Response:
    assert isinstance(message, Response)
    return message


READ: Final[dict[str, Callable[[Message], Any]]] = {
    "method": lambda message: _request(message).method,
    "uri": lambda message: _request(message).uri,
    "scheme": lambda message: parse_uri(_request(message).uri).scheme,
    "user": lambda message: parse_uri(_request(message).uri).user,
    "host": lambda message: parse_uri(_request(message).uri).host,
    "code": lambda message: _response(message).code,
    "reason": lambda message: _response(message).reason,
    "body size": lambda message: len(message.body),
    "cseq": lambda message: message.cseq,
    "call-id": lambda message: message.call_id,
    "from tag": lambda message: message.from_tag,
    "to tag": lambda message: message.to_tag,
    "from uri": lambda message: str(parse_name_addr(message.header("From") or "").uri),
    "from display": lambda message: parse_name_addr(message.header("From") or "").display,
    "to uri": lambda message: str(parse_name_addr(message.header("To") or "").uri),
    "to params": lambda message: parse_name_addr(message.header("To") or "").params,
    "to display": lambda message: parse_name_addr(message.header("To") or "").display,
    "to uri params": lambda message: len(parse_name_addr(message.header("To") or "").uri.params),
    "contacts": lambda message: len(message.all("Contact")),
    "contact uri": lambda message: str(parse_name_addr(message.all("Contact")[0]).uri),
    "contact params": lambda message: parse_name_addr(message.all("Contact")[0]).params,
    "contact uri params": lambda message: parse_name_addr(message.all("Contact")[0]).uri.params,
    "contact uri headers": lambda message: parse_name_addr(message.all("Contact")[0]).uri.headers,
    "transports": lambda message: [via.transport for via in message.vias],
    "via hosts": lambda message: [via.host for via in message.vias],
    "branches": lambda message: [via.branch for via in message.vias],
    "max-forwards": lambda message: message.header("Max-Forwards"),
    "route": lambda message: parse_name_addr(message.header("Route") or "").uri.params,
    "record-route": lambda message: message.all("Record-Route"),
    "content-type": lambda message: message.header("Content-Type"),
    "accept": lambda message: message.all("Accept"),
    "require": lambda message: message.all("Require"),
    "authorization": lambda message: message.header("Authorization"),
    "date": lambda message: message.header("Date"),
    "newfangled": lambda message: message.header("NewFangledHeader"),
    "unusual": lambda message: message.header("UnknownHeaderWithUnusualValue"),
    "extension": lambda message: message.header("extensionHeader-!.%*+_`'~"),
    "long header": lambda message: len(message.header("Unknown-" + "Long" * 20 + "-Name") or ""),
}

ACCEPTED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "wsinv": (
        "3.1.1.1",
        {
            "uri": "sip:vivekg@chair-dnrc.example.com;unknownparam",
            "cseq": (9, "INVITE"),
            "from display": 'J Rosenberg \\"',
            "from tag": "98asjd8",
            "to params": (("tag", "1918181833n"),),
            "transports": ["UDP", "TCP", "UDP"],
            "via hosts": ["192.0.2.2", "spindle.example.com", "192.168.255.111"],
            "branches": ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"],
            "contact params": (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33")),
            "route": (("lr", None), ("unknownwith", "value"), ("unknown-no-value", None)),
            "max-forwards": "0068",
            "newfangled": "newfangled value continued newfangled value",
            "unusual": ";;,,;;,;",
            "body size": 150,
        },
    ),
    "intmeth": (
        "3.1.1.2",
        {
            "method": "!interesting-Method0123456789_*+`.%indeed'~",
            "user": "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
            "host": "example.com",
            "to display": "BEL:\x07 NUL:\x00 DEL:\x7f",
            "from display": "token1~` token2'+_ token3*%!.-",
            "from tag": "_token~1'+`*%!-.",
            "call-id": "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
            "branches": ["z9hG4bK-.!%66*_+`'~"],
            "extension": "\ufeff大停電",
        },
    ),
    "esc01": (
        "3.1.1.3",
        {
            "user": "sips%3Auser%40example.com",
            "host": "example.net",
            "contact uri params": (("%6c%72", None), ("n%61me", "v%61lue%25%34%31")),
            "contact uri": "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31",
        },
    ),
    "escnull": (
        "3.1.1.4",
        {"to uri": "sip:null-%00-null@example.com", "contacts": 2},
    ),
    "esc02": (
        "3.1.1.5",
        {"method": "RE%47IST%45R", "to display": "%Z%45", "contacts": 2},
    ),
    "lwsdisp": (
        "3.1.1.6",
        {"from display": "caller", "from uri": "sip:caller@example.com", "from tag": "323"},
    ),
    "longreq": (
        "3.1.1.7",
        {
            "to uri params": 3,
            "from tag": "12" + "982" * 50 + "424",
            "transports": ["TCP"] * 34,
            "branches": [""] * 33 + ["very" + "long" * 50 + "branchvalue"],
            "long header": 306,
            "body size": 150,
        },
    ),
    "dblreq": ("3.1.1.8", {"method": "REGISTER", "cseq": (8, "REGISTER"), "body size": 0}),
    "semiuri": (
        "3.1.1.9",
        {
            "user": "user;par=u%40example.net",
            "host": "example.com",
            "accept": (
                "application/sdp",
                "application/pkcs7-mime",
                "multipart/mixed",
                "multipart/signed",
                "message/sip",
                "message/sipfrag",
            ),
        },
    ),
    "transports": (
        "3.1.1.10",
        {"transports": ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"], "max-forwards": "70"},
    ),
    "mpart01": (
        "3.1.1.11",
        {"content-type": "multipart/mixed;boundary=7a9cbec02ceef655", "body size": 553},
    ),
    "unreason": (
        "3.1.1.12",
        {"code": 200, "reason": "= 2**3 * 5**2 но сто девяносто девять - простое"},
    ),
    "noreason": ("3.1.1.13", {"code": 100, "reason": ""}),
    # an element may refuse these three, or read what it needs and leave the rest
    "baddate": ("3.1.2.12", {"date": "Fri, 01 Jan 2010 16:00:00 EST", "contacts": 1}),
    "regbadct": ("3.1.2.13", {"method": "REGISTER", "contacts": 1}),
    "badbranch": ("3.2.1", {"branches": ["z9hG4bK"]}),
    "unkscm": (
        "3.3.2",
        {
            "uri": "nobodyKnowsThisScheme:totallyopaquecontent",
            "scheme": "nobodyknowsthisscheme",
            "host": "",
        },
    ),
    "novelsc": ("3.3.3", {"uri": "soap.beep://192.0.2.103:3002", "scheme": "soap.beep"}),
    "unksm2": (
        "3.3.4",
        {
            "to uri": "isbn:2983792873",
            "from uri": "http://www.example.com",
            "contact uri": "name:John_Smith",
        },
    ),
    "bext01": ("3.3.5", {"require": ("nothingSupportsThis", "nothingSupportsThisEither")}),
    "invut": ("3.3.6", {"content-type": "application/unknownformat", "body size": 40}),
    "regaut01": ("3.3.7", {"authorization": "NoOneKnowsThisScheme opaque-data=here"}),
    "bcast": ("3.3.10", {"code": 200, "via hosts": ["192.0.2.198", "255.255.255.255"]}),
    "zeromf": ("3.3.11", {"max-forwards": "0"}),
    "cparam01": (
        "3.3.12",
        {
            "contact uri": "sip:+19725552222@gw1.example.net",
            "contact uri params": (),
            "contact params": (("unknownparam", None),),
        },
    ),
    "cparam02": (
        "3.3.13",
        {
            "contact uri": "sip:+19725552222@gw1.example.net;unknownparam",
            "contact uri params": (("unknownparam", None),),
            "contact params": (),
        },
    ),
    "regescrt": ("3.3.14", {"contact uri headers": "Route=%3Csip:sip.example.com%3E"}),
    "sdp01": ("3.3.15", {"accept": ("text/nobodyKnowsThis",), "body size": 150}),
    "inv2543": (
        "3.4.1",
        {
            "from tag": "",
            "branches": [""],
            "to uri": "sip:+16505552222@ss1.example.net",
            "to params": (("user", "phone"),),
            "record-route": ("<sip:UserB@example.com;maddr=ss1.example.com>",),
            "max-forwards": None,
            "body size": 105,
        },
    ),
}

REFUSED: Final[dict[str, tuple[str, str, str, str, int]]] = {
    # section, why, and what of it can still be read: branch, method of CSeq, code
    "badinv01": ("3.1.2.1", "bad parameters: ';;'", "", "INVITE", 0),
    "clerr": ("3.1.2.2", "truncated", "z9hG4bK-39234-23523", "INVITE", 0),
    "ncl": ("3.1.2.3", "Content-Length b'-999'", "z9hG4bKkdjuw", "INVITE", 0),
    "scalar02": ("3.1.2.4", "bad CSeq", "z9hG4bK342sdfoi3", "REGISTER", 0),
    "scalarlg": ("3.1.2.5", "bad CSeq", "z9hG4bKzzxdiwo34sw", "OPTIONS", 503),
    "quotbal": ("3.1.2.6", "no name-addr", "z9hG4bKkdjuw39234", "INVITE", 0),
    "ltgtruri": ("3.1.2.7", "not a SIP/2.0 start line", "", "INVITE", 0),
    "lwsruri": ("3.1.2.8", "not a SIP/2.0 start line", "z9hG4bKkdjuw2395", "INVITE", 0),
    "lwsstart": ("3.1.2.9", "not a SIP/2.0 start line", "z9hG4bKkdjuw3923", "INVITE", 0),
    "trws": ("3.1.2.10", "not a SIP/2.0 start line", "z9hG4bK299342093", "OPTIONS", 0),
    "escruri": ("3.1.2.11", "headers in the Request-URI", "z9hG4bKkdjuw", "INVITE", 0),
    "badaspec": ("3.1.2.14", "no name-addr", "z9hG4bKkdju43234", "OPTIONS", 0),
    "baddn": ("3.1.2.15", "no end of headers", "z9hG4bKkdjuw", "OPTIONS", 0),
    "badvers": ("3.1.2.16", "not a SIP/2.0 start line", "z9hG4bKkdjuw", "OPTIONS", 0),
    "mismatch01": ("3.1.2.17", "CSeq is of another method", "z9hG4bKkdjuw", "INVITE", 0),
    "mismatch02": ("3.1.2.18", "CSeq is of another method", "z9hG4bKkdjuw", "INVITE", 0),
    "bigcode": ("3.1.2.19", "not a SIP/2.0 start line", "z9hG4bK2398ndaoe", "INVITE", 0),
    "insuf": ("3.3.1", "0 from headers", "z9hG4bKkdj.insuf", "INVITE", 0),
    "multi01": ("3.3.8", "2 from headers", "z9hG4bKkdjuw", "INVITE", 0),
    "mcl01": ("3.3.9", "Content-Length b'13', b'5'", "z9hG4bK293423", "OPTIONS", 0),
}


def _octets(name: str) -> bytes:
    return (TORTURE / f"{name}.dat").read_bytes()


def test_all_49_messages_are_there_and_each_has_its_row() -> None:
    """The files and the two tables name the same 49 messages, each once."""
    files = {path.stem for path in TORTURE.glob("*.dat")}
    assert len(files) == 49
    assert files == ACCEPTED.keys() | REFUSED.keys()
    assert not ACCEPTED.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_message_to_accept_is_read_as_the_rfc_means_it(name: str) -> None:
    """Every named field of an acceptable message reads as its RFC 4475 section says."""
    section, wanted = ACCEPTED[name]
    message = parse(_octets(name))
    assert {field: READ[field](message) for field in wanted} == wanted, section


@pytest.mark.parametrize("name", REFUSED)
def test_a_message_to_refuse_is_malformed_with_what_can_be_read(name: str) -> None:
    """An unacceptable message says why, and still whose answer it may be."""
    section, why, branch, cseq_method, code = REFUSED[name]
    with pytest.raises(Malformed) as caught:
        parse(_octets(name))
    refused = caught.value
    assert refused.why.startswith(why), section
    assert (refused.branch, refused.cseq_method, refused.code) == (branch, cseq_method, code)


def test_unquoted_commas_in_a_display_name_are_refused_also_with_the_blank_line() -> None:
    """The archive's baddn (3.1.2.15) has no blank line; with one its display name is refused."""
    with pytest.raises(Malformed, match="no URI: 'Bell'"):
        parse(_octets("baddn") + b"\r\n")


def test_a_contact_that_needs_angle_brackets_cannot_be_read() -> None:
    """Message regbadct (3.1.2.13) is let in for the sake of the rest; its Contact is not."""
    contact = parse(_octets("regbadct")).header("Contact") or ""
    with pytest.raises(BadUri):
        parse_name_addr(contact)


@pytest.mark.parametrize("name", ["ncl", "mcl01", "inv2543"])
def test_a_stream_whose_framing_is_lost_stays_lost(name: str) -> None:
    """Without one usable Content-Length a connection has to be closed (3.1.2.3, 3.3.9)."""
    framer = StreamFramer()
    framer.feed(_octets(name))
    for _ in range(2):
        with pytest.raises(Malformed):
            framer.next()


def test_a_stream_waits_for_the_rest_of_a_body_that_never_comes() -> None:
    """A Content-Length beyond what came (clerr, 3.1.2.2) is no message yet in a stream."""
    framer = StreamFramer()
    framer.feed(_octets("clerr"))
    assert framer.next() is None


def test_two_requests_in_one_datagram_are_two_in_a_stream() -> None:
    """What dblreq (3.1.1.8) carries behind its body is noise in a datagram only."""
    framer = StreamFramer()
    framer.feed(_octets("dblreq"))
    methods = [_request(parse(framer.next() or b"", stream=True)).method for _ in range(2)]
    assert methods == ["REGISTER", "INVITE"]
    assert framer.keepalives == 1
