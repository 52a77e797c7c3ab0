"""TRANSPORTS: one row per SIP transport (RFC 3261 18, 19.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import TransportName


@dataclass(frozen=True, slots=True)
class TransportRow:
    """What the rest of the program asks of a transport."""

    name: TransportName
    via_token: str
    default_port: int
    reliable: bool
    """A stream: no SIP retransmissions, and messages need Content-Length (RFC 3261 17.1, 18.3)."""
    secure: bool


TRANSPORTS: Final[dict[TransportName, TransportRow]] = {
    row.name: row
    for row in (
        TransportRow("udp", "UDP", 5060, reliable=False, secure=False),
        TransportRow("tcp", "TCP", 5060, reliable=True, secure=False),
        TransportRow("tls", "TLS", 5061, reliable=True, secure=True),
    )
}
