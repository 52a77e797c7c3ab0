"""The far side of media loopback: sends back at most N packets of one call (RFC 6849; layer L1).

Without I/O, for the simulator, ``psapwatch respond`` and the demo alike. A mirror must not become
anybody's reflector (RFC 6849 12): it answers only the hosts that signalled the call, only where
the packet came from, and no more packets than it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from psapwatch.endpoint import Address
from psapwatch.rtp.packet import (
    CLOCK_HZ,
    SEQUENCE_WRAP,
    WRAP,
    NotRtp,
    ReceptionReport,
    RtpPacket,
    encapsulate,
    is_rtcp,
    parse_rtp,
    receiver_report,
    serialize_rtp,
)
from psapwatch.rtp.stream import Mode

PACKET_OCTETS_MAX: Final = 1_400
"""Longer ones would be fragmented by encapsulation; G.711 has 172."""
ECHOES: Final = 3
"""RFC 6881 ED-79: no more than so many packets of each accepted media type."""
_SPEECH: Final = bytes((0x10, 0x90, 0x2A, 0xA8, 0x8F)) * 32
"""Code words that are loud and no tone of ours."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a mirror behaves; the defaults are a good one's."""

    echoes_max: int = ECHOES
    reports: bool = True
    """Sends RTCP at the end, which tells the source what was heard of it."""
    fragment: int | None = None
    """Writes these two bits where ``encaprtp`` wants 10."""
    elsewhere: bool = False
    """Echoes from another port than the answer named."""
    speaks: bool = False
    """Sends sound of its own, as a person's telephone would."""


class Packet(NamedTuple):
    """One datagram to send: from the RTP port, the RTCP port above it, or yet another one."""

    octets: bytes
    to: Address
    port_offset: Literal[0, 1, 2]


@dataclass(slots=True)
class _Reception:
    """What came of the one source that a call has."""

    ssrc: int
    first: int
    highest: int
    count: int = 0

    def take(self, sequence: int) -> None:
        self.count += 1
        ahead = (sequence - self.highest) % SEQUENCE_WRAP
        self.highest += ahead if ahead < SEQUENCE_WRAP // 2 else 0

    def report(self) -> ReceptionReport:
        expected = self.highest - self.first + 1
        return ReceptionReport(self.ssrc, expected - self.count, self.highest, 0)


class Mirror:
    """Echoes the packets of one call. ``hosts``: who signalled it, and whom its offer names."""

    def __init__(
        self,
        mode: Mode,
        echo_type: int,
        manner: Manner,
        *,
        hosts: frozenset[str],
        control: Address | None,
        ssrc: int,
    ) -> None:
        self.heard = 0
        self.echoed = 0
        self.strangers = 0
        self.heard_at: float | None = None
        self._mode, self._echo_type, self._manner = mode, echo_type, manner
        self._hosts, self._control, self._ssrc = hosts, control, ssrc
        self._reception: _Reception | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has echoed all that it may."""
        return self.echoed >= self._manner.echoes_max > 0

    def receive(
        self, octets: bytes, source: Address, now: float, arrived_at: float
    ) -> list[Packet]:
        """Take a datagram and return what is sent for it."""
        if source.host not in self._hosts:
            self.strangers += 1
            return []
        if is_rtcp(octets):
            self._control = source  # symmetric RTCP (RFC 4961)
            return []
        try:
            packet = parse_rtp(octets)
        except NotRtp:
            return []
        self.heard += 1
        self.heard_at = now
        reception = self._reception
        if reception is None:
            reception = _Reception(packet.ssrc, packet.sequence, packet.sequence)
            self._reception = reception
        if packet.ssrc == reception.ssrc:
            reception.take(packet.sequence)
        if len(octets) > PACKET_OCTETS_MAX or self.echoed >= self._manner.echoes_max:
            return []
        echo = self._echo(octets, packet, now, arrived_at)
        self.echoed += 1
        offset: Literal[0, 2] = 2 if self._manner.elsewhere else 0
        return [Packet(serialize_rtp(echo), source, offset)]

    def report(self) -> list[Packet]:
        """Return the RTCP that ends the session: what was heard, or that nothing was."""
        if self._control is None or not self._manner.reports:
            return []
        heard = self._reception.report() if self._reception else None
        return [Packet(receiver_report(self._ssrc, heard), self._control, 1)]

    def _echo(self, octets: bytes, packet: RtpPacket, now: float, arrived_at: float) -> RtpPacket:
        """The packet that goes back; all of its header is the mirror's own (RFC 6849 6, 7)."""
        sequence = (self._ssrc + self.echoed) % SEQUENCE_WRAP
        timestamp = self._units(now)
        kind, marker, payload = self._echo_type, packet.marker, packet.payload
        if self._manner.speaks:
            kind, marker, payload = packet.payload_type, False, _SPEECH
        elif self._mode == "media":
            kind = packet.payload_type
        elif self._mode == "encaprtp":
            marker, payload = False, encapsulate(octets, self._units(arrived_at))
            if self._manner.fragment is not None:
                bits = payload[4] & 0x3F | self._manner.fragment << 6
                payload = payload[:4] + bytes((bits,)) + payload[5:]
        return RtpPacket(kind, sequence, timestamp, self._ssrc, payload, marker)

    def _units(self, at: float) -> int:
        """Loop seconds on the mirror's RTP clock, which begins anywhere (RFC 3550 5.1)."""
        return (int(at * CLOCK_HZ) + self._ssrc) % WRAP
