"""The test-URN guard: the last thing that octets pass before a socket (layer L1).

Anything that an ESInet does not recognise as a test becomes a live 911 call (NENA i3 3.1.7), so
an INVITE whose Request-URI is not a test URN (RFC 6881 15, 17.2) must not leave, whatever the
configuration, a redirect, a 416 or LoST said. Every real and simulated flow calls ``permit`` in
its ``send``; a test walks the tree and says so.
"""

from __future__ import annotations

import re
from typing import Final

TEST_URN: Final = re.compile(rb"urn:service:test\.sos(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
"""RFC 5031 3: labels of lower-case letters, digits and inner hyphens, under ``test.sos`` only."""

_SAFE_METHODS: Final = frozenset({b"OPTIONS", b"ACK", b"CANCEL", b"BYE"})
_HEADER_OCTETS_MAX: Final = 16_384
_CONTENT_LENGTH: Final = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*:[ \t]*((?:[^\r\n]|\r\n[ \t])*+)", re.IGNORECASE
)
"""Every such header with its whole value, folds included: one that we read otherwise than a peer
does would let a second request hide in the body."""


class NotATestCall(Exception):
    """Octets that could become a live call were stopped before the socket."""


def permit(octets: bytes) -> None:
    """Let exactly one harmless message through, or raise.

    Harmless is a response, one of OPTIONS, ACK, CANCEL and BYE, or an INVITE to a test URN.
    "Exactly one" is checked by Content-Length, so that no second request hides behind a body.

    Raises:
        NotATestCall: says what was wrong; the caller must not send.
    """
    if octets in (b"\r\n\r\n", b"\r\n"):  # RFC 5626 4.4.1 keep-alive
        return
    head, blank, body = octets.partition(b"\r\n\r\n")
    if not blank or len(head) > _HEADER_OCTETS_MAX:
        raise NotATestCall("no end of headers")
    bare = head.replace(b"\r\n", b"")
    if b"\n" in bare or b"\r" in bare:
        raise NotATestCall("a bare CR or LF in the headers")
    lengths = {value.rstrip(b" \t") for value in _CONTENT_LENGTH.findall(head)}
    if lengths != {b"%d" % len(body)}:
        raise NotATestCall(f"Content-Length {sorted(lengths)} for a body of {len(body)} octets")
    parts = head.partition(b"\r\n")[0].split(b" ")
    if parts[0] == b"SIP/2.0":
        return
    if len(parts) != 3 or parts[2] != b"SIP/2.0":
        raise NotATestCall("not a SIP/2.0 start line")
    method, uri, _version = parts
    if method in _SAFE_METHODS:
        return
    if method != b"INVITE":
        raise NotATestCall(f"method {method[:20]!r} is never sent")
    if not TEST_URN.fullmatch(uri):
        raise NotATestCall(f"INVITE to {uri[:80]!r}, which is not a test URN")
