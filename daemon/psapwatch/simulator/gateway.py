"""What an application-layer gateway does to SIP in passing: rewrite addresses (layer L3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from psapwatch.simulator.rule import Packet, Part, Rewrite

_LINES: Final[Mapping[Part, re.Pattern[bytes]]] = {
    "via": re.compile(rb"(?im)^(?:via|v)[ \t]*:[^\r\n]*"),
    "contact": re.compile(rb"(?im)^(?:contact|m)[ \t]*:[^\r\n]*"),
    "sdp": re.compile(rb"(?m)^[co]=[^\r\n]*"),
}
_LENGTH: Final = re.compile(rb"(?im)^((?:content-length|l)[ \t]*:[ \t]*)\d+")


def rewritten(action: Rewrite, octets: bytes, packet: Packet, *, inward: bool) -> bytes:
    """Octets of a packet as the gateway sends them on; inside TLS it sees nothing."""
    if packet.transport == "tls" or packet.phase != "message":
        return octets
    if inward:
        return _readdressed(octets, packet.source.host, action.to, action)
    if not action.restores:
        return octets
    return _readdressed(octets, action.to, packet.destination.host, action)


def _readdressed(octets: bytes, old: str, new: str, action: Rewrite) -> bytes:
    """Replace one host by another in the parts that the gateway touches."""
    before, after = old.encode(), new.encode()
    head, blank, body = octets.partition(b"\r\n\r\n")
    for part in action.parts:
        swap = _LINES[part]
        if part == "sdp":
            body = swap.sub(lambda found: found[0].replace(before, after), body)
        else:
            head = swap.sub(lambda found: found[0].replace(before, after), head)
    if action.mends_length:
        head = _LENGTH.sub(lambda found: found[1] + b"%d" % len(body), head)
    return head + blank + body
