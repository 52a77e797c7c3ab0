"""The stream against a mirror on a wire whose losses and delays are written down, without I/O."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import pytest

from psapwatch.endpoint import Address
from psapwatch.rtp.mirror import Manner, Mirror
from psapwatch.rtp.packet import RtpPacket, parse_rtp, serialize_rtp
from psapwatch.rtp.stream import FOREIGN_MAX, Loop, Mode, Start, Stream, StreamPlan
from psapwatch.rtp.tone import FRAME_OCTETS, tagged

US = Address("192.0.2.1", 40_000)
THEM = Address("198.51.100.2", 30_000)
STRANGER = Address("203.0.113.9", 7_000)
TAG = "00112233aabbccdd"
ENCAPRTP, RTPLOOPBACK = 112, 113
SHORT = StreamPlan()
GOOD = Manner()
LONG = StreamPlan(packets_max=200, enough=None)
NOTHING: frozenset[int] = frozenset()
ONE_WAY_S = 0.020
LOUD = bytes((0x10, 0x90, 0x2A, 0xA8, 0x8F)) * 32


def stream(mode: Mode = "encaprtp", plan: StreamPlan = SHORT) -> Stream:
    """A stream to THEM."""
    echo_type = {"encaprtp": ENCAPRTP, "rtploopback": RTPLOOPBACK, "media": 0}[mode]
    loop = Loop(THEM, mode, "PCMU", echo_type)
    return Stream(loop, plan, Start(TAG, 0xABCD_EF01, 0xFFFE, 0xFFFF_FF00))


@dataclass
class Wire:
    """Carries both ways; ``forward`` and ``reverse`` are the numbers of packets that are lost."""

    forward: frozenset[int] = NOTHING
    reverse: frozenset[int] = NOTHING
    delay: Callable[[int], float] = lambda _number: ONE_WAY_S
    residence_s: float = 0.0
    manner: Manner = GOOD
    control_passes: bool = True
    echo_from: Address = THEM
    events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    order: count[int] = field(default_factory=count)
    rtp_sent: int = 0
    to: set[Address] = field(default_factory=set)

    def run(self, one: Stream, *, until: float = 30.0) -> dict[str, Any]:
        """Let stream and mirror talk until nothing is left to do; return the stream's facts."""
        mirror = Mirror(
            one.loop.mode, one.loop.echo_type, self.manner, hosts=frozenset({US.host}),
            control=Address(US.host, US.port + 1), ssrc=0x1234_5678,
        )  # fmt: skip
        now = 0.0
        one.start(now)
        while not one.is_over(now) and now < until:
            for send in one.data_to_send():
                self.to.add(send.to)
                if send.number is None:
                    continue
                self.rtp_sent += 1
                one.sent(send.number, now)
                if send.number not in self.forward:
                    self._later(
                        now + self.delay(send.number), self._heard(mirror, one, send.octets)
                    )
            due = min(filter(None, (one.next_timer(), *(event[0] for event in self.events[:1]))))
            now = max(now, due)
            while self.events and self.events[0][0] <= now:
                heapq.heappop(self.events)[2](now)
            one.handle_timer(now)
        if self.control_passes:
            for packet in mirror.report():
                one.receive(packet.octets, Address(THEM.host, THEM.port + 1), now)
        return dict(one.facts())

    def _heard(self, mirror: Mirror, one: Stream, octets: bytes) -> Callable[[float], None]:
        def heard(now: float) -> None:
            number = mirror.echoed
            for echo in mirror.receive(octets, US, now + self.residence_s, now):
                if number not in self.reverse:
                    at = now + self.residence_s + self.delay(number)
                    self._later(at, partial(one.receive, echo.octets, self.echo_from))

        return heard

    def _later(self, at: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (at, next(self.order), action))


@pytest.mark.parametrize("mode", ["encaprtp", "rtploopback", "media"])
def test_three_echoes_are_enough(mode: Mode) -> None:
    """No more is sent once they are back, and the round trip is the wire's."""
    wire = Wire()
    facts = wire.run(stream(mode))
    assert (facts["echoed"], facts["lost"], facts["forward_lost"], facts["reverse_lost"]) == (
        3,
        0,
        0,
        0,
    )
    assert facts["rtt_s"] == pytest.approx(2 * ONE_WAY_S, abs=0.000_2)
    assert facts["source"] == str(THEM)
    assert 3 <= wire.rtp_sent <= 5
    assert wire.to == {THEM, Address(THEM.host, THEM.port + 1)}


def test_without_an_echo_ten_packets_leave_and_no_more() -> None:
    """Then there is silence until the window closes."""
    wire = Wire(forward=frozenset(range(100)), control_passes=False)
    one = stream()
    facts = wire.run(one)
    assert (facts["sent"], facts["echoed"], facts["lost"]) == (10, 0, 10)
    assert (facts["forward_lost"], facts["reverse_lost"]) == (None, None)
    assert facts["rtt_s"] is None
    assert one.data_to_send() == []


def test_rtcp_says_that_nothing_arrived() -> None:
    """The mirror's empty report came: the way back is open, the way there is not."""
    facts = Wire(forward=frozenset(range(100))).run(stream())
    assert (facts["rtcp"], facts["far_heard"]) == (1, 0)
    assert (facts["forward_lost"], facts["reverse_lost"]) == (10, 0)


def test_rtcp_says_that_all_arrived() -> None:
    """No echo, but the mirror heard ten: they were lost on the way back."""
    facts = Wire(reverse=frozenset(range(100))).run(stream())
    assert facts["far_heard"] == 10
    assert (facts["forward_lost"], facts["reverse_lost"]) == (0, 10)


def test_encaprtp_tells_which_way_packets_are_lost() -> None:
    """Five lost on the way there, three on the way back, of two hundred."""
    wire = Wire(
        forward=frozenset({3, 4, 50, 60, 199 - 20}), reverse=frozenset({10, 11, 90}),
        manner=Manner(echoes_max=200),
    )  # fmt: skip
    facts = wire.run(stream(plan=LONG))
    assert facts["counted"] == 200
    assert (facts["lost"], facts["forward_lost"], facts["reverse_lost"]) == (8, 5, 3)


def test_direct_loopback_tells_only_that_packets_are_lost() -> None:
    """Without the mirror's sequence numbers of its own there is no direction."""
    wire = Wire(forward=frozenset({3}), reverse=frozenset({9}), manner=Manner(echoes_max=200))
    facts = wire.run(stream("rtploopback", LONG))
    assert (facts["lost"], facts["forward_lost"], facts["reverse_lost"]) == (2, None, None)


def test_a_mirror_that_stops_is_no_loss() -> None:
    """It may echo three of five; what came later is not counted."""
    facts = Wire(delay=lambda _n: 0.050).run(stream())
    assert facts["sent"] > facts["counted"] == facts["echoed"] == 3
    assert facts["lost"] == 0


def test_residence_is_taken_off_the_round_trip() -> None:
    """Encapsulation says how long the mirror kept the packet; the others cannot."""
    slow = Wire(residence_s=0.120)
    assert slow.run(stream())["rtt_s"] == pytest.approx(2 * ONE_WAY_S, abs=0.000_3)
    facts = Wire(residence_s=0.120).run(stream("rtploopback"))
    assert facts["rtt_s"] == pytest.approx(2 * ONE_WAY_S + 0.120, abs=0.000_3)


def test_jitter_of_an_even_wire_is_none() -> None:
    """Only the mirror's clock of 125 us is left."""
    facts = Wire(manner=Manner(echoes_max=200)).run(stream(plan=LONG))
    assert facts["jitter_s"] < 0.000_01
    assert facts["forward_jitter_s"] < 0.000_15
    assert facts["reverse_jitter_s"] < 0.000_15


def test_jitter_converges_as_rfc_3550_says() -> None:
    """Every other packet 4 ms late each way: |D| is 8 ms there and back, and J approaches it."""
    wire = Wire(
        delay=lambda number: ONE_WAY_S + 0.004 * (number % 2), manner=Manner(echoes_max=200)
    )
    facts = wire.run(stream(plan=LONG))
    assert facts["jitter_s"] == pytest.approx(0.008, rel=0.02)
    assert facts["forward_jitter_s"] == pytest.approx(0.004, rel=0.06)


def test_reordered_and_doubled_echoes_are_counted_once() -> None:
    """An early packet that comes late is no loss; a second copy is no echo."""
    wire = Wire(
        delay=lambda number: 0.060 if number == 5 else ONE_WAY_S, manner=Manner(echoes_max=200)
    )
    one = stream(plan=StreamPlan(packets_max=50, enough=None))
    facts = wire.run(one)
    assert facts["reordered"] >= 1
    assert facts["echoed"] == 50
    copy = serialize_rtp(RtpPacket(ENCAPRTP, 1, 1, 1, b"", marker=False))
    one.receive(copy, THEM, 9.0)
    again = serialize_rtp(RtpPacket(0, 1, 1, 1, tagged(TAG, 7, "PCMU")))
    one.receive(again, THEM, 9.0)
    assert (one.facts()["echoed"], one.facts()["duplicates"]) == (50, 1)


def test_mos_only_from_fifty_packets() -> None:
    """Forty-nine say nothing about loss."""
    long_enough = Manner(echoes_max=200)
    few = Wire(manner=long_enough).run(stream(plan=StreamPlan(packets_max=49, enough=None)))
    assert "mos" not in few
    fifty = Wire(manner=long_enough).run(stream(plan=StreamPlan(packets_max=50, enough=None)))
    assert fifty["mos"] == pytest.approx(4.41, abs=0.01)
    lossy = Wire(forward=frozenset(range(10, 20)), manner=long_enough).run(stream(plan=LONG))
    assert lossy["mos"] == pytest.approx(3.92, abs=0.01)  # 5 % at 80 ms: R 77.4


def test_an_echo_from_elsewhere_counts_and_is_named() -> None:
    """Asymmetric RTP: an echo all the same, from another address than was answered."""
    facts = Wire(echo_from=Address(THEM.host, 30_002)).run(stream())
    assert facts["echoed"] == 3
    assert facts["source"] == "198.51.100.2:30002" != facts["remote"]


def test_tone_without_a_tag_is_media_loopback() -> None:
    """Somebody's codec took the tag away; the tone came back, and that is all that is known."""
    one = stream("media")
    one.start(0.0)
    one.data_to_send()
    untagged = tagged(TAG, 0, "PCMU")[32:] * 2
    for number in range(3):
        one.receive(serialize_rtp(RtpPacket(0, number, 0, 9, untagged[:160])), THEM, 0.1)
    facts = one.facts()
    assert (facts["echoed"], facts["rtt_s"], facts["lost"]) == (3, None, 0)
    assert one.is_enough
    assert not one.foreign


@pytest.mark.parametrize("mode", ["encaprtp", "rtploopback"])
def test_a_voice_from_the_mirror_is_foreign_at_once(mode: Mode) -> None:
    """Where packets come back as they were, one packet of it is too many."""
    one = stream(mode)
    one.start(0.0)
    one.receive(serialize_rtp(RtpPacket(0, 1, 1, 1, LOUD)), THEM, 0.1)
    assert str(THEM) in one.foreign


def test_a_voice_through_a_codec_is_foreign_after_three_packets() -> None:
    """A frame in which the tone begins is no voice: it takes three in a row, 60 ms of speech."""
    one = stream("media")
    one.start(0.0)
    voice = serialize_rtp(RtpPacket(0, 1, 1, 1, LOUD))
    untagged = serialize_rtp(RtpPacket(0, 2, 1, 1, (tagged(TAG, 0, "PCMU")[32:] * 2)[:160]))
    for _n in range(3):
        one.receive(voice, THEM, 0.1)
        one.receive(voice, THEM, 0.1)
        one.receive(untagged, THEM, 0.1)
        assert not one.foreign
    for _n in range(3):
        one.receive(voice, THEM, 0.1)
    assert str(THEM) in one.foreign


def test_comfort_noise_is_no_voice() -> None:
    """A mirror that has nothing to play yet sends silence."""
    one = stream("media")
    one.start(0.0)
    for _n in range(50):
        one.receive(serialize_rtp(RtpPacket(0, 1, 1, 1, b"\xff" * FRAME_OCTETS)), THEM, 0.1)
    one.receive(serialize_rtp(RtpPacket(13, 1, 1, 1, b"\x40")), THEM, 0.1)  # RFC 3389
    assert not one.foreign
    assert one.echoes.echoed == 0


def test_a_stranger_needs_more_than_a_stray_packet() -> None:
    """A scanner's datagram stops no PSAP's tests; sound that goes on does."""
    one = stream()
    one.start(0.0)
    for _n in range(FOREIGN_MAX):
        one.receive(serialize_rtp(RtpPacket(0, 1, 1, 1, LOUD)), STRANGER, 0.1)
        assert not one.foreign
    one.receive(b"\x00" * 40, STRANGER, 0.1)
    one.receive(serialize_rtp(RtpPacket(0, 1, 1, 1, LOUD)), STRANGER, 0.1)
    assert str(STRANGER) in one.foreign


def test_another_calls_echo_is_not_ours() -> None:
    """A tag of another call, a number that was never sent, an inner SSRC of somebody else."""
    one = stream()
    one.start(0.0)
    for payload in (tagged("f" * 16, 0, "PCMU"), tagged(TAG, 4, "PCMU")):
        one.receive(serialize_rtp(RtpPacket(0, 1, 1, 1, payload)), THEM, 0.1)
    assert one.facts()["echoed"] == 0
    assert not one.foreign


def test_rtcp_of_strangers_is_not_believed() -> None:
    """Only the mirror's host may say what it heard."""
    one = stream()
    one.start(0.0)
    control = one.data_to_send()[0].octets
    one.receive(control, STRANGER, 0.1)
    assert one.facts()["rtcp"] == 0


def test_packets_are_twenty_ms_apart_and_numbered() -> None:
    """Sequence and timestamp go on over their ends; the first packet is marked."""
    one = stream()
    one.start(10.0)
    now, seen = 10.0, []
    for _n in range(4):
        seen += [parse_rtp(send.octets) for send in one.data_to_send() if send.number is not None]
        now = one.next_timer() or now
        one.handle_timer(now)
    assert now == pytest.approx(10.08)
    assert [packet.sequence for packet in seen] == [0xFFFE, 0xFFFF, 0, 1]
    assert [packet.timestamp for packet in seen] == [0xFFFF_FF00, 0xFFFF_FFA0, 0x40, 0xE0]
    assert [packet.marker for packet in seen] == [True, False, False, False]
    assert len({packet.ssrc for packet in seen}) == 1


def test_a_loop_that_was_busy_does_not_burst() -> None:
    """After half a second without a timer one packet is sent, not twenty-five."""
    one = stream()
    one.start(0.0)
    one.data_to_send()
    one.handle_timer(0.5)
    assert len(one.data_to_send()) == 1
    assert one.next_timer() == pytest.approx(0.5, abs=0.03)


def test_nothing_leaves_after_stop() -> None:
    """The call is over."""
    one = stream()
    one.start(0.0)
    one.stop()
    one.handle_timer(1.0)
    assert one.data_to_send() == []
