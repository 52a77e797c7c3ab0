"""The requests that we send, built as RFC 3261 8.1.1, 9.1, 12.2.1.1 and 17.1.1.3 say.

Pure functions over frozen data (layer L1); who we are is a ``Caller``, chance comes in as strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psapwatch.sip.uri import parse_name_addr
from psapwatch.sip.wire import Request, Response

TEST_SERVICE: Final = "urn:service:test.sos"
USER_AGENT: Final = "psapwatch/0.1 (synthetic 911 path test)"
ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS"
MAX_FORWARDS: Final = 70
INVITE_EXPIRES_S: Final = 5
"""The far side itself ends an unanswered test after this (RFC 3261 13.3.1), even if we died."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
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
    """The UAC's side of one dialog (RFC 3261 12.1.2), one for each To tag."""

    to: str
    remote_target: str
    route_set: tuple[str, ...]


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
    has_lr = any(part.partition("=")[0] == "lr" for part in uri.split(";")[1:])
    return f"<{uri}>" if has_lr else f"<{uri};lr>"


def options(
    caller: Caller, branch: str, uri: str, *, next_hop: str | None = None, cseq: int = 1, hops: int = MAX_FORWARDS
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
    caller: Caller, branch: str, routes: tuple[str, ...], body: bytes, content_type: str, extra: Headers = ()
) -> Request:
    """The test INVITE (RFC 6881 15, ED-62): the service URN as Request-URI and To, the way as Route."""
    more = (
        ("Contact", f"<{caller.contact}>"),
        ("Allow", ALLOW),
        ("Accept", "application/sdp, text/plain, multipart/mixed"),
        ("Expires", str(INVITE_EXPIRES_S)),
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


def _from_invite(invite: Request, method: str, to: str) -> Request:
    """A request in the INVITE's own transaction: same URI, Via, Route, From, Call-ID, CSeq number."""
    kept = tuple(
        (name, value)
        for name, value in invite.headers
        if name.lower() in {"via", "max-forwards", "route", "from", "call-id"}
    )
    number, _method = invite.cseq
    return Request(method, invite.uri, (*kept, ("To", to), ("CSeq", f"{number} {method}")))


def ack_failure(invite: Request, response: Response) -> Request:
    """ACK to a non-2xx final: To from the response, all else from the INVITE (17.1.1.3)."""
    return _from_invite(invite, "ACK", str(response.header("To")))


def cancel(invite: Request) -> Request:
    """CANCEL of an INVITE, hop by hop in the same branch (9.1)."""
    return _from_invite(invite, "CANCEL", str(invite.header("To")))


def dialog_of(response: Response, invite: Request, fallback_target: str) -> Dialog:
    """The dialog that a 2xx creates (12.1.2): its Contact, and Record-Route in reverse order."""
    contacts = response.all("Contact")
    try:
        target = str(parse_name_addr(contacts[0]).uri) if contacts else fallback_target
    except ValueError:
        target = fallback_target
    return Dialog(
        to=response.header("To") or str(invite.header("To")),
        remote_target=target,
        route_set=tuple(reversed(response.all("Record-Route"))),
    )


def in_dialog(
    caller: Caller, dialog: Dialog, branch: str, method: str, cseq: int
) -> tuple[Request, str]:
    """A request inside a dialog, and the URI of the next hop that it goes to (12.2.1.1)."""
    uri, routes = dialog.remote_target, dialog.route_set
    hop = uri
    if routes:
        first = parse_name_addr(routes[0]).uri
        hop = str(first)
        if not any(name == "lr" for name, _value in first.params):  # a strict router
            uri, routes = hop, (*routes[1:], f"<{dialog.remote_target}>")
    headers = _common(caller, branch, dialog.to, f"{cseq} {method}", routes)
    return Request(method, uri, (*headers, ("User-Agent", USER_AGENT))), hop


def respond(request: Request, code: int, reason: str, to_tag: str = "", extra: Headers = ()) -> Response:
    """A response to a request that came in (8.2.6): Via, From, To, Call-ID and CSeq copied."""
    copied = tuple(
        (name, value)
        for name, value in request.headers
        if name.lower() in {"via", "from", "call-id", "cseq", "record-route"}
    )
    to = request.header("To") or ""
    if to_tag and not request.to_tag:
        to = f"{to};tag={to_tag}"
    return Response(code, reason, (*copied, ("To", to), *extra))
