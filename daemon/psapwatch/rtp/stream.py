"""The media of one test call: a few tagged packets out, their echo in (RFC 6849; layer L1).

A machine without I/O. RTP leaves only for the mirror that the answer named, never more than the
plan allows, and none once enough has come back or the call is over.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.endpoint import Address
from psapwatch.evidence import Fact
from psapwatch.rtp.echo import Echoes
from psapwatch.rtp.packet import (
    FIRST,
    SEQUENCE_WRAP,
    WHOLE,
    WRAP,
    NotRtp,
    RtpPacket,
    decapsulate,
    is_rtcp,
    parse_reports,
    parse_rtp,
    receiver_report,
    serialize_rtp,
)
from psapwatch.rtp.tone import FRAME_OCTETS, Encoding, Sound, sound_of, tag_of, tagged

Mode = Literal["encaprtp", "rtploopback", "media"]

PACKET_S: Final = 0.020
PAYLOAD_TYPES: Final[dict[Encoding, int]] = {"PCMU": 0, "PCMA": 8}
FOREIGN_MAX: Final = 2
"""Packets of strange sound in a row that a stranger may send, and a mirror that decodes and encodes
again: where the tone begins in a frame it sounds strange. A packet mirror may send none."""
STRANGERS_MAX: Final = 8
"""Sources that are told apart; a flood of them is one flood."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How much media one call may send, and when it has seen enough."""

    packets_max: int = 10
    """The first ones may be lost while an SBC latches; a mirror echoes three (RFC 6881 ED-79)."""
    enough: int | None = 3
    """Echoes after which no more is sent; None: send them all, to measure loss."""
    linger_s: float = 1.8
    """How long echoes are waited for after the last packet could have been sent."""

    @property
    def window_s(self) -> float:
        """From the first packet to the end of waiting."""
        return self.packets_max * PACKET_S + self.linger_s


@dataclass(frozen=True, slots=True)
class Loop:
    """What the answer agreed to: where RTP goes, in which encoding, and how it comes back."""

    remote: Address
    mode: Mode
    encoding: Encoding
    echo_type: int
    """Payload type of the echo."""


@dataclass(frozen=True, slots=True)
class Start:
    """The stream's random beginnings (RFC 3550 5.1), and the tag that its payload carries."""

    tag: str
    ssrc: int
    sequence: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class MediaSend:
    """One packet to send; ``number`` is None for RTCP, which goes one port higher."""

    octets: bytes
    to: Address
    number: int | None


class Stream:
    """Sends, matches and counts. ``foreign`` says what was heard that is not our echo."""

    def __init__(self, loop: Loop, plan: StreamPlan, start: Start) -> None:
        self.loop, self.plan = loop, plan
        self.echoes = Echoes()
        self.foreign = ""
        self.source = ""
        """Where the first echo came from."""
        self.quiet = 0
        """Packets that hold next to no sound: comfort noise, a mirror that has nothing yet."""
        self.strays = 0
        """Packets that are no RTP, or have nothing to do with this stream."""
        self.reject = ""
        """The ICMP error that a packet of ours met, with its sender."""
        self._start = start
        self._out: deque[MediaSend] = deque()
        self._next_at: float | None = None
        self._until = float("inf")
        self._strange: dict[str, int] = {}

    @property
    def is_enough(self) -> bool:
        """Whether as many came back as were wanted."""
        wanted = self.plan.enough or self.plan.packets_max
        return self.echoes.echoed >= wanted

    def start(self, now: float) -> None:
        """Begin: RTCP first, which opens the way for the mirror's own."""
        self._next_at = now
        self._until = now + self.plan.window_s
        remote = self.loop.remote
        control = Address(remote.host, remote.port + 1)
        self._out.append(MediaSend(receiver_report(self._start.ssrc), control, None))
        self.handle_timer(now)

    def stop(self) -> None:
        """Send no more."""
        self._next_at = None
        self._out.clear()

    def is_over(self, now: float) -> bool:
        """Whether there is nothing left to wait for."""
        return self._next_at is None and (self.is_enough or now >= self._until)

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        if self._next_at is not None:
            return self._next_at
        return None if self.is_enough else self._until

    def handle_timer(self, now: float) -> None:
        """Send the packet that is due; a late timer is not made up for with a burst."""
        if self._next_at is None or now < self._next_at:
            return
        number = len(self.echoes.sent_at)
        self._out.append(MediaSend(self._packet(number), self.loop.remote, number))
        self.echoes.sent_at.append(now)
        is_last = number + 1 >= self.plan.packets_max
        self._next_at = None if is_last else max(self._next_at + PACKET_S, now)

    def data_to_send(self) -> list[MediaSend]:
        """Hand over what is to be sent now."""
        out = list(self._out)
        self._out.clear()
        return out

    def sent(self, number: int, at: float) -> None:
        """Note when a packet truly left."""
        self.echoes.sent_at[number] = at

    def receive(self, octets: bytes, source: Address, arrived_at: float) -> None:
        """Take a datagram that came to our media port, or to the RTCP port above it."""
        if is_rtcp(octets):
            self._control(octets, source)
            return
        try:
            packet = parse_rtp(octets)
        except NotRtp:
            self.strays += 1
            return
        if not self._is_echo(packet, arrived_at):
            self._not_ours(packet, source)
            return
        self.source = self.source or str(source)
        self._strange.pop(source.host, None)
        if self.is_enough:
            self.stop()

    def facts(self) -> dict[str, Fact]:
        """Say what was measured."""
        return {
            "mode": self.loop.mode,
            "remote": str(self.loop.remote),
            "source": self.source,
            **self.echoes.facts(),
            "quiet": self.quiet,
            "strays": self.strays,
            "rejected": self.reject,
        }

    def _packet(self, number: int) -> bytes:
        start, encoding = self._start, self.loop.encoding
        return serialize_rtp(
            RtpPacket(
                PAYLOAD_TYPES[encoding],
                (start.sequence + number) % SEQUENCE_WRAP,
                (start.timestamp + number * FRAME_OCTETS) % WRAP,
                start.ssrc,
                tagged(start.tag, number, encoding),
                marker=number == 0,
            )
        )

    def _is_echo(self, packet: RtpPacket, arrived_at: float) -> bool:
        if self.loop.mode == "encaprtp" and packet.payload_type == self.loop.echo_type:
            return self._is_encapsulated_echo(packet, arrived_at)
        number = self._number_in(packet.payload)
        if number is not None:
            self.echoes.plain(number, arrived_at)
            return True
        if self.loop.mode != "media" or self._sound(packet) != "tone":
            return False
        self.echoes.heard_note(arrived_at)
        return True

    def _is_encapsulated_echo(self, packet: RtpPacket, arrived_at: float) -> bool:
        try:
            inside = decapsulate(packet.payload)
        except NotRtp:
            return False
        number = self._number_in(inside.inner.payload)
        if number is None or inside.inner.ssrc != self._start.ssrc:
            return False
        if inside.fragment in (WHOLE, FIRST):
            self.echoes.encapsulated(number, packet, inside, arrived_at)
        else:  # RFC 6849 7.1.2: no packet of this size is fragmented; the echo counts all the same
            self.echoes.plain(number, arrived_at)
        return True

    def _number_in(self, payload: bytes) -> int | None:
        """The number of one of our packets that were sent, if a payload is one."""
        found = tag_of(payload)
        if found is None or found[0] != self._start.tag:
            return None
        return found[1] if found[1] < len(self.echoes.sent_at) else None

    def _sound(self, packet: RtpPacket) -> Sound:
        for encoding, kind in PAYLOAD_TYPES.items():
            if kind == packet.payload_type:
                return sound_of(packet.payload, encoding)
        return "other"

    def _not_ours(self, packet: RtpPacket, source: Address) -> None:
        """Somebody else's sound: at once from the mirror's host, from strangers when it goes on."""
        if packet.payload_type not in PAYLOAD_TYPES.values():
            self.strays += 1
            return
        sound = self._sound(packet)
        if sound == "quiet":
            self.quiet += 1
            return
        if sound == "tone":  # late, or another call's: a machine in any case
            self.strays += 1
            return
        host = source.host
        if host in self._strange or len(self._strange) < STRANGERS_MAX:
            self._strange[host] = self._strange.get(host, 0) + 1
        self.strays += 1
        is_exact = host == self.loop.remote.host and self.loop.mode != "media"
        if is_exact or self._strange.get(host, 0) > FOREIGN_MAX:
            self.foreign = self.foreign or f"sound that is not our echo, from {source}"

    def _control(self, octets: bytes, source: Address) -> None:
        try:
            reports = parse_reports(octets)
        except NotRtp:
            self.strays += 1
            return
        if source.host != self.loop.remote.host:
            self.strays += 1
            return
        self.echoes.reported(reports, self._start.ssrc, self._start.sequence)
