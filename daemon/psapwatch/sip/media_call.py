"""A test call with media: the call as it is, and a stream for as long as its mirror listens (L1).

Media begins when a 200 has promised an echo and ends with the dialog, whoever ends it. The far side
is expected to hang up (RFC 6881 ED-79); how soon it does so is evidence, so it is waited for.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.rtp.stream import Loop, MediaSend, Start, Stream, StreamPlan
from psapwatch.rtp.tone import Encoding
from psapwatch.sip.call import Call
from psapwatch.sip.machine import Send
from psapwatch.sip.offer import Answer
from psapwatch.sip.sdes import SECURED, Cipher
from psapwatch.sip.wire import Message, Request

HANG_UP_S: Final = 2.0
"""How long after the media the far side's BYE is waited for before ours."""
LATE_ECHO_S: Final = 0.25
"""A BYE may overtake the echoes: signalling and media go different ways."""
HOLD_S: Final = HANG_UP_S + LATE_ECHO_S
"""How long an answered call is up beyond its media, at most."""

_RECEIVED: Final = re.compile(r"(?:^|,)\s*PR=(\d{1,6})(?:,|\s|$)")
"""Packets received, in the header that many user agents put into BYE."""
_ENCODINGS: Final[dict[str, Encoding]] = {"PCMU": "PCMU", "PCMA": "PCMA"}


class MediaCall:
    """A machine (``sip.machine.Machine``) that also sends and takes RTP."""

    def __init__(
        self,
        call: Call,
        plan: StreamPlan,
        start: Start,
        secure: Callable[[bytes], Cipher] | None = None,
    ) -> None:
        """``secure`` makes the cipher of a call from the far side's key; None: plain RTP."""
        self.over = False
        self.ledger_due: bytes | None = None
        self._call, self._plan, self._start = call, plan, start
        self._stream: Stream | None = None
        self._secure = secure
        self._cipher: Cipher | None = None
        self._unopened = 0
        self._answered_at = 0.0
        self._events: deque[Observation] = deque()
        self._ended: Observation | None = None
        self._ended_at = 0.0
        self._bye_at: float | None = None
        self._is_forked = False
        self._is_told = False

    # ---- what the pump drives

    @property
    def closed(self) -> bool:
        """Whether nothing can happen any more."""
        return self._call.closed and not self._is_running

    def start(self, now: float) -> None:
        """Begin."""
        self._call.start(now)
        self._follow(now)

    def ledgered(self, now: float) -> None:
        """The row of ``ledger_due`` is on disk."""
        self._call.ledgered(now)
        self._follow(now)

    def receive(self, message: Message, now: float, arrived_at: float, source: Address) -> None:
        """Take one well-formed message; a BYE may tell what the far side heard."""
        if isinstance(message, Request) and message.method == "BYE" and self._stream is not None:
            found = _RECEIVED.search(message.header("P-RTP-Stat") or "")
            self._stream.echoes.far_told = int(found[1]) if found else None
        self._call.receive(message, now, arrived_at, source)
        self._follow(now)

    def malformed(self, octets: bytes, seen: Observation, now: float, source: Address) -> None:
        """Take octets that are no well-formed message."""
        self._call.malformed(octets, seen, now, source)
        self._follow(now)

    def transport_error(self, seen: Observation, now: float) -> None:
        """Take an error of the signalling's way."""
        self._call.transport_error(seen, now)
        self._follow(now)

    def handle_timer(self, now: float) -> None:
        """Do whatever is due."""
        if self._stream is not None and self._is_running:
            self._stream.handle_timer(now)
        self._call.handle_timer(now)
        self._follow(now)

    def end(self, now: float) -> None:
        """End as soon as the protocol allows: the daemon stops."""
        self._tell("us", now)
        self._call.end(now)
        self._follow(now)

    def data_to_send(self) -> list[Send]:
        """Hand over the messages that are to be sent now."""
        return self._call.data_to_send()

    def next_event(self) -> Observation | None:
        """Hand over the oldest observation not yet taken."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """Return the next deadline, loop seconds."""
        deadlines = (self._call.next_timer(), self._next_media_timer())
        return min((at for at in deadlines if at is not None), default=None)

    # ---- media

    def media_arrived(self, octets: bytes, now: float, arrived_at: float, source: Address) -> None:
        """Take a datagram of the media port; before the answer and after the call it is nothing."""
        if self._stream is None or not self._is_running:
            return
        opened = octets if self._cipher is None else self._cipher.open(octets)
        if opened is None:
            self._unopened += 1
        else:
            self._stream.receive(opened, source, arrived_at)
            self._follow(now)

    def media_failed(self, seen: Observation, now: float) -> None:
        """Take an ICMP error about media, or an error of our own."""
        self._events.append(Observation(seen.kind, seen.at_s, {**seen.facts, "plane": "media"}))
        stream = self._stream
        if (
            stream is not None
            and seen.kind is Kind.ICMP
            and seen.get("to") == str(stream.loop.remote)
        ):
            by = f"{seen['icmp_type']}/{seen['code']} from {seen['offender']}"
            stream.reject = stream.reject or f"ICMPv{seen['family']} {by}"
        self._follow(now)

    def media_to_send(self) -> list[MediaSend]:
        """Hand over the packets that are to be sent now."""
        sends, cipher = self._stream.data_to_send() if self._stream else [], self._cipher
        if cipher is None:
            return sends
        return [replace(send, octets=cipher.seal(send.octets)) for send in sends]

    def media_sent(self, number: int, at: float) -> None:
        """Note when a packet truly left."""
        if self._stream is not None:
            self._stream.sent(number, at)

    # ---- inside

    @property
    def is_mute(self) -> bool:
        """Whether no media can come or go any more: its ports may be closed."""
        return self._is_told or (self._call.over and self._stream is None)

    @property
    def _is_running(self) -> bool:
        """Whether there is media whose end has not been told."""
        return self._stream is not None and not self._is_told

    def _next_media_timer(self) -> float | None:
        """The one moment that media waits for: exactly what ``_watch`` looks at."""
        if self._stream is None or self._is_told:
            return None
        if self._ended is not None:
            return self._ended_at + LATE_ECHO_S
        return self._bye_at if self._bye_at is not None else self._stream.next_timer()

    def _follow(self, now: float) -> None:
        """Begin media when a mirror has answered, and end it with the call, or the call with it."""
        self._drain(now)
        if self._stream is None and self._call.mirror is not None:
            self._answered_at = now
            if self._secure is not None:
                self._cipher = self._secure(self._call.mirror.key)
            self._stream = Stream(loop_of(self._call.mirror), self._plan, self._start)
            self._stream.start(now)
        if self._stream is not None and self._is_running:
            self._watch(self._stream, now)
            self._drain(now)
        self.ledger_due = self._call.ledger_due
        self.over = self._call.over and not self._is_running

    def _watch(self, stream: Stream, now: float) -> None:
        if stream.foreign:
            self._tell("us", now)
            self._call.unsafe("foreign_media", stream.foreign, now)
        elif self._ended is not None:
            if stream.is_enough or now >= self._ended_at + LATE_ECHO_S:
                self._tell("far" if self._ended["how"] == "bye_received" else "us", now)
        elif self._is_forked or self._call.over:
            self._tell("us", now)
            self._call.end(now)
        elif stream.is_over(now):
            self._bye_at = self._bye_at or now + HANG_UP_S
            if now >= self._bye_at:
                self._tell("us", now)
                self._call.end(now)

    def _drain(self, now: float) -> None:
        """Take the call's observations; its end waits until the media has been told."""
        while (seen := self._call.next_event()) is not None:
            self._is_forked = self._is_forked or seen.kind is Kind.FORKED
            if seen.kind is Kind.ENDED and self._is_running and self._stream is not None:
                self._stream.stop()
                self._ended, self._ended_at = seen, now
            else:
                self._events.append(seen)

    def _tell(self, ended_by: str, now: float) -> None:
        """Say what the media came to, once; from now on none is sent and none is heard."""
        stream = self._stream
        if stream is None or self._is_told:
            return
        self._is_told = True
        stream.stop()
        ended_at = self._ended_at if self._ended is not None else now
        facts: dict[str, Fact] = {
            **stream.facts(),
            "ended_by": ended_by,
            "ended_after_s": ended_at - self._answered_at,
        }
        if self._cipher is not None:
            facts |= {"profile": SECURED, "unopened": self._unopened}
        self._events.append(Observation(Kind.MEDIA, now, facts))
        if self._ended is not None:
            self._events.append(self._ended)


def loop_of(answer: Answer) -> Loop:
    """What a mirror's answer agreed to; it names G.711, or it would be no usable answer."""
    encoding = next(
        _ENCODINGS[name] for name in answer.payload_types.values() if name in _ENCODINGS
    )
    types = {name: number for number, name in answer.payload_types.items()}
    remote = Address(answer.address, answer.port)
    if answer.loopback_type != "rtp-pkt-loopback":
        return Loop(remote, "media", encoding, types[encoding])
    mode = "encaprtp" if "encaprtp" in types else "rtploopback"
    return Loop(remote, "encaprtp" if mode == "encaprtp" else "rtploopback", encoding, types[mode])
