"""The requests that we send, held against RFC 3261 8.1.1, 9.1, 12.2.1.1, 13.2.2.4, 17.1.1.3."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Address
from psapwatch.sip.guard import permit
from psapwatch.sip.request import (
    ack_failure,
    again,
    cancel,
    credentials,
    dialog_of,
    in_dialog,
    invite,
    loose,
    options,
    respond,
)
from psapwatch.sip.wire import Headers, Request, Response, parse, serialize
from sip.line import TARGET, answer_to, caller

INVITATION = invite(caller(), "z9hG4bKone", (TARGET,), b"v=0\r\n", "application/sdp")
AUTHORIZED = again(INVITATION, "z9hG4bKtwo", ("Authorization", 'Digest username="u"'))


def answered(*headers: tuple[str, str], to: Request = INVITATION) -> Response:
    """A 200 as it comes from the wire."""
    message = parse(serialize(answer_to(to, 200, headers=headers)))
    assert isinstance(message, Response)
    return message


def test_a_test_invite_is_addressed_by_the_urn_and_routed_by_route() -> None:
    """ED-62: Request-URI and To are the service URN, the way there is Route, loose."""
    request = invite(caller(), "z9hG4bK1", ("sip:hop", TARGET), b"v=0\r\n", "application/sdp")
    assert request.uri == "urn:service:test.sos"
    assert request.header("To") == "<urn:service:test.sos>"
    assert request.all("Route") == ("<sip:hop;lr>", f"<{TARGET};lr>")
    assert request.header("Expires") == "5"
    permit(serialize(request))


def test_what_every_request_must_have() -> None:
    """8.1.1: To, From with tag, CSeq, Call-ID, Max-Forwards and Via with our branch and rport."""
    for request in (INVITATION, options(caller(), "z9hG4bKone", TARGET)):
        assert request.from_tag == "ourtag"
        assert request.to_tag == ""
        assert request.cseq == (1, request.method)
        assert request.call_id == "the-call"
        assert request.header("Max-Forwards") == "70"
        assert request.vias[0].branch == "z9hG4bKone"
        assert ("rport", None) in request.vias[0].params
        assert request.header("Contact") == "<sip:path-test@198.51.100.7:20000>"


def test_the_number_of_hops_can_be_limited() -> None:
    """A walk along the SIP hops sends OPTIONS with a small Max-Forwards (RFC 3261 11)."""
    assert options(caller(), "z9hG4bK1", TARGET, hops=0).header("Max-Forwards") == "0"


@pytest.mark.parametrize(
    ("uri", "route"),
    [
        ("sip:hop", "<sip:hop;lr>"),
        ("sip:hop;lr", "<sip:hop;lr>"),
        ("sip:hop;LR;transport=tcp", "<sip:hop;LR;transport=tcp>"),
        ("sip:hop;lr=on", "<sip:hop;lr=on>"),
        ("sip:a;lr@hop", "<sip:a;lr@hop;lr>"),
    ],
)
def test_routes_are_loose(uri: str, route: str) -> None:
    """Exactly one lr, and a user part is no parameter."""
    assert loose(uri) == route


def test_the_repetition_with_credentials() -> None:
    """22.2: same Call-ID, From, To, body; new branch; CSeq one higher; the credentials once."""
    assert AUTHORIZED.cseq == (2, "INVITE")
    assert AUTHORIZED.vias[0].branch == "z9hG4bKtwo"
    assert AUTHORIZED.uri == INVITATION.uri
    assert AUTHORIZED.body == INVITATION.body
    for name in ("Call-ID", "From", "To", "Route", "Contact", "Expires"):
        assert AUTHORIZED.all(name) == INVITATION.all(name)
    once_more = again(AUTHORIZED, "z9hG4bK3", ("Authorization", "Digest other"))
    assert once_more.all("Authorization") == ("Digest other",)


def test_ack_to_a_refusal_belongs_to_the_invites_transaction() -> None:
    """17.1.1.3: one Via, the INVITE's; To from the response; same URI, Route, Call-ID, number."""
    refusal = answer_to(AUTHORIZED, 486, tag="busy")
    ack = ack_failure(AUTHORIZED, refusal)
    assert (ack.method, ack.uri, ack.cseq) == ("ACK", AUTHORIZED.uri, (2, "ACK"))
    assert ack.all("Via") == AUTHORIZED.all("Via")
    assert ack.header("To") == refusal.header("To")
    for name in ("From", "Route", "Call-ID", "Max-Forwards"):
        assert ack.all(name) == AUTHORIZED.all(name)
    assert ack.header("Contact") is None
    assert ack.body == b""
    permit(serialize(ack))


def test_ack_repeats_the_credentials() -> None:
    """22.1 and 13.2.2.4: an ACK cannot be challenged, so it carries what the INVITE carried."""
    assert ack_failure(AUTHORIZED, answer_to(AUTHORIZED, 486)).header("Authorization")
    assert credentials(AUTHORIZED) == (("Authorization", 'Digest username="u"'),)
    assert credentials(INVITATION) == ()


def test_cancel_is_the_invite_without_its_body() -> None:
    """9.1: same URI, Call-ID, To without a tag, From, number and Route, one Via: the INVITE's."""
    request = cancel(AUTHORIZED)
    assert (request.method, request.uri, request.cseq) == ("CANCEL", AUTHORIZED.uri, (2, "CANCEL"))
    for name in ("Via", "From", "To", "Route", "Call-ID"):
        assert request.all(name) == AUTHORIZED.all(name)
    assert request.to_tag == ""
    for name in ("Require", "Proxy-Require", "Contact", "Expires", "Content-Type"):
        assert request.header(name) is None
    permit(serialize(request))


def test_a_dialog_without_routes_goes_to_the_contact() -> None:
    """12.2.1.1: the remote target is both Request-URI and next hop; From is ours, To is theirs."""
    dialog = dialog_of(answered(("Contact", "<sip:desk@192.0.2.20:5070>")), INVITATION, TARGET)
    bye, hop = in_dialog(caller(), dialog, "z9hG4bKbye", "BYE", 2)
    assert (bye.method, bye.uri, bye.cseq) == ("BYE", "sip:desk@192.0.2.20:5070", (2, "BYE"))
    assert hop == "sip:desk@192.0.2.20:5070"
    assert (bye.from_tag, bye.to_tag, bye.call_id) == ("ourtag", "far", "the-call")
    assert bye.all("Route") == ()
    assert bye.vias[0].branch == "z9hG4bKbye"


def test_loose_routers_are_visited_in_reverse() -> None:
    """12.1.2: Record-Route turns round; the first, loose, is the next hop and not the URI."""
    response = answered(
        ("Record-Route", "<sip:near;lr>, <sip:far;lr>;x=y"), ("Contact", "<sip:desk@h>")
    )
    bye, hop = in_dialog(caller(), dialog_of(response, INVITATION, TARGET), "z9hG4bK1", "BYE", 2)
    assert bye.uri == "sip:desk@h"
    assert bye.all("Route") == ("<sip:far;lr>;x=y", "<sip:near;lr>")
    assert hop == "sip:far;lr"


def test_a_strict_router_takes_the_request_uri() -> None:
    """12.2.1.1: its URI becomes the Request-URI, the remote target the last Route."""
    response = answered(
        ("Record-Route", "<sip:near;lr>"),
        ("Record-Route", "<sip:strict;method=INVITE;maddr=192.0.2.9>"),
        ("Contact", "<sip:desk@h>"),
    )
    bye, hop = in_dialog(caller(), dialog_of(response, INVITATION, TARGET), "z9hG4bK1", "BYE", 2)
    assert bye.uri == "sip:strict;maddr=192.0.2.9"
    assert bye.all("Route") == ("<sip:near;lr>", "<sip:desk@h>")
    assert hop == "sip:strict;method=INVITE;maddr=192.0.2.9"


def test_a_contact_with_headers_leaves_them_behind() -> None:
    """19.1.1: headers and method must not stand in a Request-URI."""
    dialog = dialog_of(
        answered(("Contact", "<sip:desk@h;method=INVITE;x=y?Subject=hello>")), INVITATION, TARGET
    )
    assert dialog.uri == "sip:desk@h;x=y"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Contact", "*"),),
        (("Contact", "<urn:service:sos>"),),
        (("Contact", "not a uri at all <<"),),
    ],
)
def test_without_a_usable_contact_the_way_of_the_invite_is_taken(headers: Headers) -> None:
    """Somebody has answered: BYE leaves the way that the INVITE went."""
    dialog = dialog_of(answered(*headers), INVITATION, TARGET)
    assert (dialog.uri, dialog.routes, dialog.next_hop) == (TARGET, (), None)


@pytest.mark.parametrize("route", ["garbage<<", "<tel:+19115550100>", '"a\0" <sip:p;lr>'])
def test_record_routes_that_cannot_be_used_are_left_out(route: str) -> None:
    """The dialog is still acknowledged and ended, straight at the Contact."""
    octets = serialize(answer_to(INVITATION, 200, headers=(("Contact", "<sip:desk@h>"),)))
    octets = octets.replace(b"\r\nContact", b"\r\nRecord-Route: " + route.encode() + b"\r\nContact")
    response = parse(octets)
    assert isinstance(response, Response)
    request, hop = in_dialog(
        caller(), dialog_of(response, INVITATION, TARGET), "z9hG4bK1", "ACK", 1
    )
    assert (request.all("Route"), hop) == ((), "sip:desk@h")
    serialize(request)


def test_a_to_that_cannot_be_sent_back_is_made_anew() -> None:
    """A display name may hold a NUL (RFC 4475 3.1.1.2); a request of ours must not."""
    octets = serialize(answer_to(INVITATION, 486)).replace(
        b"To: <urn:service:test.sos>", b'To: "a\0b" <urn:service:test.sos>'
    )
    response = parse(octets)
    assert isinstance(response, Response)
    assert ack_failure(INVITATION, response).header("To") == "<urn:service:test.sos>;tag=far"
    serialize(ack_failure(INVITATION, response))


def test_a_tag_that_cannot_be_sent_back_loses_its_nul() -> None:
    """No token holds one; the refusal is acknowledged all the same, and learnt from."""
    octets = serialize(answer_to(INVITATION, 486)).replace(b";tag=far", b";tag=f\0ar")
    response = parse(octets)
    assert isinstance(response, Response)
    assert ack_failure(INVITATION, response).header("To") == "<urn:service:test.sos>;tag=far"
    serialize(ack_failure(INVITATION, response))


def incoming(via: str, to: str = "<sip:path-test@198.51.100.7>;tag=ourtag") -> Request:
    """A BYE of the far side with two Vias."""
    return Request(
        "BYE",
        "sip:path-test@198.51.100.7:20000",
        (
            ("Via", via),
            ("Via", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKbelow"),
            ("Record-Route", "<sip:near;lr>"),
            ("From", "<urn:service:test.sos>;tag=far"),
            ("To", to),
            ("Call-ID", "the-call"),
            ("CSeq", "7 BYE"),
        ),
    )


@pytest.mark.parametrize(
    ("via", "seen"),
    [
        ("SIP/2.0/UDP 192.0.2.20;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bK1"),
        (
            "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1",
            "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=192.0.2.20",
        ),
        (
            "SIP/2.0/UDP 192.0.2.20;rport;branch=z9hG4bK1",
            "SIP/2.0/UDP 192.0.2.20;rport=5099;branch=z9hG4bK1;received=192.0.2.20",
        ),
    ],
)
def test_a_response_says_where_the_request_was_seen_to_come_from(via: str, seen: str) -> None:
    """18.2.1 and RFC 3581 4: received and rport are filled in, in the top Via only."""
    response = respond(incoming(via), Address("192.0.2.20", 5099), 200, "OK", "newtag")
    assert response.all("Via") == (seen, "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKbelow")
    assert (response.cseq, response.call_id) == ((7, "BYE"), "the-call")
    assert response.header("Record-Route") is None
    assert (response.to_tag, response.from_tag) == ("ourtag", "far")


def test_a_response_outside_a_dialog_gets_our_tag() -> None:
    """8.2.6.2: a To without a tag gets one."""
    request = incoming("SIP/2.0/UDP h;branch=z9hG4bK1", to="<sip:path-test@198.51.100.7>")
    assert respond(request, Address("h", 1), 481, "No", "newtag").to_tag == "newtag"
