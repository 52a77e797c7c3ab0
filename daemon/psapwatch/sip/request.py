"""The requests that we send, built as RFC 3261 8.1.1, 9.1, 12.2.1.1 and 17.1.1.3 say.

Pure functions over frozen data (layer L1); who we are is a ``Caller``, chance comes in as strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.frozen import frozen
from psapwatch.sip.uri import BadUri, Uri, parse_name_addr, parse_uri, parse_via
from psapwatch.sip.wire import Headers, Request, Response

TEST_SERVICE: Final = "urn:service:test.sos"
USER_AGENT: Final = "psapwatch/0.1 (synthetic 911 path test)"
ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS"
MAX_FORWARDS: Final = 70
INVITE_EXPIRES_S: Final = 5
"""The far side itself ends an unanswered test after this (RFC 3261 13.3.1), even if we died."""

ANSWER_AFTER: Final = "Psapwatch-Answer-After"
"""A header of ours: the whole seconds after which our own responder is to answer a call."""
ANSWER_AFTER_MAX_S: Final = 120

_CREDENTIALS: Final = frozenset({"authorization", "proxy-authorization"})
_OF_THE_TRANSACTION: Final = frozenset({"via", "max-forwards", "route", "from", "call-id"})
_METHOD_PARAM: Final = re.compile(r";method=[^;?]*", re.IGNORECASE)
_RPORT: Final = re.compile(r";\s*rport(?=\s*(?:;|$))", re.IGNORECASE)


@frozen
class Caller:
    """Who sends one attempt: everything that its requests have in common."""

    via_token: str
    sent_by: str
    contact: str
    from_uri: str
    from_tag: str
    call_id: str

    def via(self, branch: str) -> str:
        """The Via value for a branch; ``rport`` asks for symmetric responses (RFC 3581 3)."""
        return f"SIP/2.0/{self.via_token} {self.sent_by};branch={branch};rport"


@dataclass(frozen=True, slots=True)
class Dialog:
    """The UAC's side of one dialog (RFC 3261 12.1.2), one for each To tag, ready to send in."""

    to: str
    uri: str
    """The Request-URI of what is sent inside: the remote target, or a strict router."""
    routes: tuple[str, ...]
    next_hop: str | None
    """The URI that it goes to; None: the way that the INVITE went."""


def _common(caller: Caller, branch: str, to: str, cseq: str, routes: tuple[str, ...]) -> Headers:
    return (
        ("Via", caller.via(branch)),
        ("Max-Forwards", str(MAX_FORWARDS)),
        *(("Route", route) for route in routes),
        ("From", f'"911 path monitor TEST" <{caller.from_uri}>;tag={caller.from_tag}'),
        ("To", to),
        ("Call-ID", caller.call_id),
        ("CSeq", cseq),
    )


def loose(uri: str) -> str:
    """A Route value for a URI, with ``lr`` (RFC 3261 19.1.1)."""
    return f"<{uri}>" if parse_uri(uri).param("lr") is not None else f"<{uri};lr>"


def options(
    caller: Caller,
    branch: str,
    uri: str,
    *,
    next_hop: str | None = None,
    cseq: int = 1,
    hops: int = MAX_FORWARDS,
) -> Request:
    """OPTIONS to a SIP URI (RFC 3261 11.1), through an outbound proxy if one is named."""
    routes = (loose(next_hop),) if next_hop else ()
    headers = _common(caller, branch, f"<{uri}>", f"{cseq} OPTIONS", routes)
    if hops != MAX_FORWARDS:
        headers = tuple((n, str(hops) if n == "Max-Forwards" else v) for n, v in headers)
    more = (
        ("Contact", f"<{caller.contact}>"),
        ("Accept", "application/sdp"),
        ("User-Agent", USER_AGENT),
    )
    return Request("OPTIONS", uri, headers + more)


def invite(
    caller: Caller,
    branch: str,
    routes: tuple[str, ...],
    body: bytes,
    content_type: str,
    extra: Headers = (),
    *,
    answer_after_s: int = 0,
) -> Request:
    """The test INVITE (RFC 6881 15, ED-62): the URN as Request-URI and To, the way as Route.

    ``answer_after_s`` asks a responder of our own to answer so late; others ignore the header.
    """
    if answer_after_s:
        extra = (*extra, (ANSWER_AFTER, str(answer_after_s)))
    more = (
        ("Contact", f"<{caller.contact}>"),
        ("Allow", ALLOW),
        ("Accept", "application/sdp, text/plain, multipart/mixed"),
        ("Expires", str(INVITE_EXPIRES_S + answer_after_s)),
        ("Subject", "automated 911 path test, no caller"),
        ("User-Agent", USER_AGENT),
        ("Content-Type", content_type),
    )
    headers = _common(caller, branch, f"<{TEST_SERVICE}>", "1 INVITE", tuple(map(loose, routes)))
    return Request("INVITE", TEST_SERVICE, headers + more + extra, body)


def again(request: Request, branch: str, authorization: tuple[str, str]) -> Request:
    """The same request with credentials: new branch, next CSeq (RFC 3261 22.2)."""
    number, method = request.cseq
    changed = {"via": _rebranched(request, branch), "cseq": f"{number + 1} {method}"}
    kept = tuple(
        (name, changed.get(name.lower(), value))
        for name, value in request.headers
        if name.lower() != authorization[0].lower()
    )
    return Request(method, request.uri, (*kept, authorization), request.body)


def _rebranched(request: Request, branch: str) -> str:
    return str(request.header("Via")).replace(request.vias[0].branch, branch)


def _from_invite(invite: Request, method: str, to: str, kept: frozenset[str]) -> Request:
    """A request in the INVITE's own transaction: same URI, Via, Route, Call-ID, CSeq number."""
    headers = tuple(header for header in invite.headers if header[0].lower() in kept)
    number, _method = invite.cseq
    return Request(method, invite.uri, (*headers, ("To", to), ("CSeq", f"{number} {method}")))


def ack_failure(invite: Request, response: Response) -> Request:
    """ACK to a non-2xx final: To from the response, all else from the INVITE (17.1.1.3, 22.1)."""
    to = _to(response, invite).replace("\0", "")  # a tag with a NUL: the branch alone has to do
    return _from_invite(invite, "ACK", to, _OF_THE_TRANSACTION | _CREDENTIALS)


def cancel(invite: Request) -> Request:
    """CANCEL of an INVITE, hop by hop in the same branch (9.1)."""
    return _from_invite(invite, "CANCEL", str(invite.header("To")), _OF_THE_TRANSACTION)


def credentials(invite: Request) -> Headers:
    """What the ACK to a 2xx MUST repeat (13.2.2.4)."""
    return tuple(header for header in invite.headers if header[0].lower() in _CREDENTIALS)


def dialog_of(response: Response, invite: Request, fallback_target: str) -> Dialog:
    """The dialog that a 2xx creates (12.1.2), its routing worked out (12.2.1.1).

    What of it cannot be read is left out: somebody has answered, so ACK and BYE have to leave.
    """
    contact = _sip_uri(next(iter(response.all("Contact")), ""))
    target = _request_uri(contact) if contact else fallback_target
    routes = tuple(reversed(response.all("Record-Route")))
    hops = [_sip_uri(route) for route in routes]
    to = _to(response, invite)
    if not hops or None in hops or hops[0] is None:
        return Dialog(to, target, (), target if contact else None)
    if hops[0].param("lr") is not None:
        return Dialog(to, target, routes, str(hops[0]))
    # a strict router takes the Request-URI's place, and the target goes to the end of the route
    return Dialog(to, _request_uri(hops[0]), (*routes[1:], f"<{target}>"), str(hops[0]))


def in_dialog(
    caller: Caller, dialog: Dialog, branch: str, method: str, cseq: int, extra: Headers = ()
) -> tuple[Request, str | None]:
    """A request inside a dialog, and the URI of the next hop that it goes to (12.2.1.1)."""
    headers = _common(caller, branch, dialog.to, f"{cseq} {method}", dialog.routes)
    request = Request(method, dialog.uri, (*headers, ("User-Agent", USER_AGENT), *extra))
    return request, dialog.next_hop


def respond(
    request: Request, source: Address, code: int, reason: str, to_tag: str, extra: Headers = ()
) -> Response:
    """A response to a request that came in: Via, From, To, Call-ID and CSeq copied (8.2.6).

    The top Via says where the request was seen to come from (18.2.1, RFC 3581 4).
    """
    top, *below = request.all("Via")
    to = request.header("To") or ""
    headers = (
        *(("Via", via) for via in (_seen_from(top, source), *below)),
        ("From", request.header("From") or ""),
        ("To", to if request.to_tag else f"{to};tag={to_tag}"),
        ("Call-ID", request.call_id),
        ("CSeq", request.header("CSeq") or ""),
    )
    return Response(code, reason, (*headers, *extra))


def _seen_from(via: str, source: Address) -> str:
    filled = _RPORT.sub(f";rport={source.port}", via, count=1)
    if filled == via and parse_via(via).host == source.host:
        return via
    return f"{filled};received={source.host}"


def _to(response: Response, invite: Request) -> str:
    """The To of a response; one that cannot be sent back (it may hold a NUL) is made anew."""
    to = response.header("To") or ""
    return to if "\0" not in to else f"{invite.header('To')};tag={response.to_tag}"


def _sip_uri(value: str) -> Uri | None:
    """The SIP URI of a Contact or Record-Route value; None where there is none to be used."""
    try:
        uri = parse_name_addr(value).uri
    except BadUri:
        return None
    return uri if uri.scheme in ("sip", "sips") and "\0" not in value else None


def _request_uri(uri: Uri) -> str:
    """A URI without what a Request-URI must not hold (19.1.1, table 1)."""
    text = uri.text.removesuffix(f"?{uri.headers}") if uri.headers else uri.text
    return _METHOD_PARAM.sub("", text)
