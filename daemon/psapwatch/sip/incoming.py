"""Requests of the far side while an attempt listens: who may ask what, and what it is told (L1).

A callback is declined and reported (a person may be calling who was rung by our test). Strangers,
who neither know the Call-ID nor sit where we sent to nor name us, get no answer: a scanner on an
open port must not end a call, let alone stop a PSAP's tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind
from psapwatch.sip.machine import Output
from psapwatch.sip.request import ALLOW, respond
from psapwatch.sip.uri import Uri, parse_name_addr, parse_uri
from psapwatch.sip.wire import Request, serialize

Reply = tuple[int, str]

_NO_DIALOG: Final[Reply] = (481, "Call/Transaction Does Not Exist")
_NOT_ALLOWED: Final[Reply] = (405, "Method Not Allowed")
_INSIDE: Final[Mapping[str, Reply]] = {
    "BYE": (200, "OK"),
    "OPTIONS": (200, "OK"),
    "INVITE": (488, "Not Acceptable Here"),
    "UPDATE": (488, "Not Acceptable Here"),
    "CANCEL": _NO_DIALOG,
}
_OUTSIDE: Final[Mapping[str, Reply]] = {
    "INVITE": (603, "Decline"),
    "OPTIONS": (200, "OK"),
    "BYE": _NO_DIALOG,
    "CANCEL": _NO_DIALOG,
}


class Incoming:
    """Answers for one attempt; ``ours`` is the request that it sends."""

    def __init__(
        self,
        ours: Request,
        peer: Address,
        output: Output,
        *,
        reliable: bool,
        token: Callable[[int], str],
    ) -> None:
        self._peer, self._output, self._reliable, self._token = peer, output, reliable, token
        self._ours = ours
        self._tag = ""

    def take(self, request: Request, now: float, source: Address, *, is_inside: bool) -> bool:
        """Answer a request, ``is_inside`` one of our dialogs; return whether we are called back."""
        self._output.see(Kind.REQUEST_IN, now, method=request.method[:32], source=str(source))
        if request.method == "ACK" or not self._is_acquainted(request, source):
            return False
        if is_inside:
            code, reason = _INSIDE.get(request.method, _NOT_ALLOWED)
        elif request.to_tag:  # 12.2.2
            code, reason = _NO_DIALOG
        else:
            code, reason = _OUTSIDE.get(request.method, _NOT_ALLOWED)
        self._tag = self._tag or self._token(8)
        response = respond(request, source, code, reason, self._tag, (("Allow", ALLOW),))
        try:
            octets = serialize(response)
        except ValueError:  # it holds what we would not send
            return False
        self._output.send(octets, self._way_back(request, source))
        return request.method == "INVITE" and not request.to_tag

    def _is_acquainted(self, request: Request, source: Address) -> bool:
        if request.call_id == self._ours.call_id or source.host == self._peer.host:
            return True
        us = [parse_name_addr(self._ours.header(name) or "").uri for name in ("Contact", "From")]
        meant = parse_uri(request.uri), parse_name_addr(request.header("To") or "").uri
        return not {*map(_whom, us)}.isdisjoint(map(_whom, meant))

    def _way_back(self, request: Request, source: Address) -> str:
        """Where the response goes (18.2.2, RFC 3581 4): a stream's goes back along it."""
        via = request.vias[0]
        has_rport = any(name == "rport" for name, _value in via.params)
        port = source.port if self._reliable or has_rport else via.port or 5060
        return f"sip:{Address(source.host, port)}"


def _whom(uri: Uri) -> tuple[str, str]:
    """Who a URI means, as far as elements on the way leave it alone."""
    return uri.user, uri.host.lower()
