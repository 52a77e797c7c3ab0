"""A call with media as a machine: its timers, its order of events, and its end."""

from __future__ import annotations

from functools import partial

import pytest

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind, Observation
from psapwatch.net.srtp import cipher_maker
from psapwatch.rtp.packet import RtpPacket, serialize_rtp
from psapwatch.rtp.stream import Start, StreamPlan
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.media_call import HANG_UP_S, HOLD_S, LATE_ECHO_S, MediaCall, loop_of
from psapwatch.sip.offer import build_offer, key_offered, read_answer
from psapwatch.sip.request import Caller, invite
from psapwatch.sip.wire import parse

US = Address("192.0.2.1", 5060)
THEM = Address("198.51.100.2", 5060)
PLAN = StreamPlan()


class NoPorts:
    """A ``Door`` that opens ports of which nobody hears."""

    is_full = False

    def open(self) -> Address | None:
        """A pair, by name."""
        return Address(THEM.host, 30_000)

    def close(self, local: Address) -> None:
        """Nothing was open."""


class Pair:
    """A call and an answering point with nothing between them; no RTP is carried."""

    def __init__(self, script: str, key: bytes = b"") -> None:
        numbers = iter(range(1, 10_000))
        caller = Caller("UDP", str(US), f"sip:t@{US}", "sip:a@example.net", "tag", "call-id")
        body = build_offer(US.host, 40_000, 1, key=key)
        request = invite(caller, "z9hG4bKinvite", (f"sip:{THEM}",), body, "application/sdp")
        call = Call(
            request, caller, peer=THEM, target_uri=f"sip:{THEM}", reliable=False,
            plan=CallPlan(
                hold_s=PLAN.window_s + HOLD_S, profile=key_offered(body)[0]
            ),
            token=lambda octets: f"{next(numbers):0{2 * octets}x}",
        )  # fmt: skip
        make = cipher_maker() if key else None
        secure = partial(make, key) if make else None
        self.machine = MediaCall(call, PLAN, Start("0" * 16, 1, 1, 1), secure)
        self.point = AnsweringPoint(
            SCRIPTS[script], name="PSAP", tag=lambda: f"{next(numbers):016x}", address=THEM
        )
        self.point.mirror_through(NoPorts(), make)
        self.now = 0.0
        self.events: list[Observation] = []
        self.rtp = 0
        self.machine.start(0.0)
        self.machine.ledgered(0.0)
        self.exchange()

    def exchange(self) -> None:
        """Carry messages both ways until both are silent."""
        while True:
            while (seen := self.machine.next_event()) is not None:
                self.events.append(seen)
            self.rtp += sum(send.number is not None for send in self.machine.media_to_send())
            sends = self.machine.data_to_send()
            for send in sends:
                self.point.receive(send.octets, US, self.now)
            answers = self.point.data_to_send()
            for octets, _to in answers:
                self.machine.receive(parse(octets), self.now, self.now, THEM)
            if not sends and not answers:
                return

    def run(self, until: float) -> None:
        """Let time pass, from deadline to deadline; each one must lead to a later one."""
        idle = 0
        while True:
            due = [at for at in (self.machine.next_timer(), self.point.next_timer()) if at]
            if not due or min(due) > until:
                return
            idle = idle + 1 if min(due) <= self.now else 0
            assert idle < 20, f"a deadline that nothing is done about, at {self.now}"
            self.now = max(self.now, min(due))
            self.machine.handle_timer(self.now)
            self.point.handle_timer(self.now)
            self.exchange()

    def kinds(self) -> list[Kind]:
        """What was told, in order."""
        return [seen.kind for seen in self.events]


@pytest.mark.parametrize("script", ["mirror", "no_bye", "bye_after_2_s", "bye_before_ack"])
def test_media_is_told_once_and_before_the_end(script: str) -> None:
    """MEDIA, then ENDED, each once; then the machine closes by the transactions' own timers."""
    pair = Pair(script)
    pair.run(100.0)
    told = [kind for kind in pair.kinds() if kind in (Kind.MEDIA, Kind.ENDED)]
    assert told == [Kind.MEDIA, Kind.ENDED]
    assert pair.machine.over
    assert pair.machine.closed


def test_a_bye_just_before_ours_is_due_leaves_no_deadline_behind() -> None:
    """Its late echoes are waited for; the moment of our own BYE passes and is not asked for."""
    pair = Pair("no_bye")
    bye_due = PLAN.window_s + HANG_UP_S
    pair.run(bye_due - LATE_ECHO_S / 2)
    pair.now = bye_due - LATE_ECHO_S / 2
    [dialog] = pair.point._dialogs.values()
    pair.point._hang_up(dialog, pair.now)
    pair.exchange()
    assert not pair.machine.over
    pair.run(100.0)
    media = next(seen for seen in pair.events if seen.kind is Kind.MEDIA)
    assert media["ended_by"] == "far"
    assert pair.machine.closed


def test_ending_the_daemon_ends_media_first() -> None:
    """Nothing leaves after ``end``; what was measured so far is told."""
    pair = Pair("no_bye")
    pair.run(0.05)
    sent = pair.rtp
    pair.machine.end(pair.now)
    pair.exchange()
    pair.run(100.0)
    assert pair.rtp == sent > 0
    assert [k for k in pair.kinds() if k in (Kind.MEDIA, Kind.ENDED)] == [Kind.MEDIA, Kind.ENDED]


def test_without_rtp_back_ten_packets_leave_and_it_ends_by_itself() -> None:
    """The whole window, the wait for a BYE, then ours."""
    pair = Pair("no_bye")
    pair.run(100.0)
    media = next(seen for seen in pair.events if seen.kind is Kind.MEDIA)
    assert (pair.rtp, media["sent"], media["ended_by"]) == (10, 10, "us")
    assert media["ended_after_s"] == pytest.approx(PLAN.window_s + HANG_UP_S, abs=0.05)


def test_packets_that_the_key_does_not_open_are_counted_and_no_more() -> None:
    """Two sides that do not agree on the keys: no echo, nothing unsafe, and the reason is known."""
    make = cipher_maker()
    assert make is not None
    pair = Pair("no_bye", key=bytes(30))
    theirs = make(bytes(30), bytes(30)).seal(serialize_rtp(RtpPacket(0, 1, 1, 9, bytes(160))))
    pair.run(0.05)
    for _nth in range(3):
        pair.machine.media_arrived(theirs, pair.now, pair.now, Address(THEM.host, 30_000))
    pair.run(100.0)
    media = next(seen for seen in pair.events if seen.kind is Kind.MEDIA)
    assert (media["echoed"], media["strays"], media["unopened"]) == (0, 0, 3)
    assert Kind.UNSAFE not in pair.kinds()


def test_an_answer_without_an_rtpmap_is_understood() -> None:
    """G.711's payload types are static (RFC 3551): many answers do not spell them out."""
    sdp = (
        b"v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\n"
        b"m=audio 30000 RTP/AVP 8\r\na=loopback:rtp-media-loopback\r\na=loopback-mirror\r\n"
    )
    answer = read_answer(sdp, "application/sdp")
    assert answer.what == "mirror"
    assert loop_of(answer).encoding == "PCMA"
