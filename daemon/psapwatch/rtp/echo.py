"""What came back of a stream: echoes matched to packets, lost ones by direction, times (layer L1).

Forward is from us to the mirror. Only ``encaprtp`` (its own sequence numbers) and RTCP tell which
way a packet was lost; direct and media loopback tell no more than that it did not come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from psapwatch.evidence import Fact
from psapwatch.rtp.packet import (
    CLOCK_HZ,
    SEQUENCE_WRAP,
    WRAP,
    Encapsulated,
    ReceptionReport,
    RtpPacket,
)
from psapwatch.rtp.quality import PACKETS_MIN, mos, mouth_to_ear_ms, r_factor

RESIDENCE_MAX_S: Final = 1.0
"""RFC 6849 implies one origin for both stamps of a mirror; beyond this they have none."""


class Jitter:
    """Interarrival jitter, seconds (RFC 3550 6.4.1, A.8)."""

    __slots__ = ("_last", "seconds")

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._last: float | None = None

    def transit(self, transit_s: float) -> None:
        """Take one packet's arrival minus its sending, on whatever clocks."""
        if self._last is not None:
            before = self.seconds or 0.0
            self.seconds = before + (abs(transit_s - self._last) - before) / 16
        self._last = transit_s


@dataclass(slots=True)
class Echoes:
    """Counts what comes back of the packets that were sent."""

    sent_at: list[float] = field(default_factory=list)
    """Loop seconds of each packet, by number."""
    rtts: dict[int, float] = field(default_factory=dict)
    """Network round trip of each echoed packet, by number: the mirror's residence is taken off."""
    unnumbered: int = 0
    """Our tone without its tag: media loopback through somebody's codec."""
    duplicates: int = 0
    reordered: int = 0
    rtcp: int = 0
    far_heard: int | None = None
    """How many of ours the mirror says it received (RTCP, so the way back is open)."""
    far_told: int | None = None
    """The same from its BYE, which says nothing of the way back."""
    _outer: set[int] = field(default_factory=set)
    _jitter: Jitter = field(default_factory=Jitter)
    _forward: Jitter = field(default_factory=Jitter)
    _reverse: Jitter = field(default_factory=Jitter)
    _highest: int = -1

    @property
    def echoed(self) -> int:
        """How many packets came back."""
        return len(self.rtts) + self.unnumbered

    def plain(self, number: int, arrived_at: float) -> None:
        """Take the echo of a packet by its tag."""
        if number in self.rtts:
            self.duplicates += 1
            return
        rtt_s = max(0.0, arrived_at - self.sent_at[number])
        self.rtts[number] = rtt_s
        self._jitter.transit(rtt_s)
        self.reordered += number < self._highest
        self._highest = max(self._highest, number)

    def encapsulated(
        self, number: int, outer: RtpPacket, inside: Encapsulated, arrived_at: float
    ) -> None:
        """Take an ``encaprtp`` echo, which tells what the mirror saw and when."""
        self._outer.add(outer.sequence)
        is_new = number not in self.rtts
        self.plain(number, arrived_at)
        if not is_new:
            return
        residence_s = (outer.timestamp - inside.received) % WRAP / CLOCK_HZ
        if residence_s < RESIDENCE_MAX_S:
            self.rtts[number] = max(0.0, self.rtts[number] - residence_s)
        self._forward.transit(_apart(inside.received, inside.inner.timestamp))
        self._reverse.transit(arrived_at - _apart(outer.timestamp, 0))

    def heard_note(self, arrived_at: float) -> None:
        """Take our tone without a number: it dates from the first packet at the earliest."""
        self.unnumbered += 1
        if self.unnumbered == 1 and not self.rtts and self.sent_at:
            self._jitter.transit(arrived_at - self.sent_at[0])

    def reported(self, reports: tuple[ReceptionReport, ...], ssrc: int, first: int) -> None:
        """Take an RTCP packet: what the mirror received of ours, nothing if it does not say."""
        self.rtcp += 1
        ours = next((report for report in reports if report.ssrc == ssrc), None)
        expected = 0
        if ours is not None:
            expected = (ours.highest - first) % SEQUENCE_WRAP + 1 - ours.lost
        self.far_heard = max(self.far_heard or 0, min(expected, len(self.sent_at)))

    def facts(self) -> dict[str, Fact]:
        """Say what was measured; ``None`` where it cannot be known."""
        counted = self._highest + 1 if self.rtts else len(self.sent_at)
        lost = counted - len(self.rtts) if self.rtts or not self.unnumbered else 0
        forward, reverse = self._directions(lost)
        facts: dict[str, Fact] = {
            "sent": len(self.sent_at),
            "counted": counted,
            "echoed": self.echoed,
            "lost": lost,
            "forward_lost": forward,
            "reverse_lost": reverse,
            "rtt_s": median(self.rtts.values()) if self.rtts else None,
            "jitter_s": self._jitter.seconds,
            "forward_jitter_s": self._forward.seconds,
            "reverse_jitter_s": self._reverse.seconds,
            "duplicates": self.duplicates,
            "reordered": self.reordered,
            "rtcp": self.rtcp,
            "far_heard": self.far_heard,
            "far_told": self.far_told,
        }
        if counted >= PACKETS_MIN and self.rtts:
            loss = 100 * max(forward or 0, reverse or 0) / counted
            if forward is None:  # one way or the other: taken for the worse
                loss = 100 * lost / counted
            r = r_factor(mouth_to_ear_ms(median(self.rtts.values())), loss)
            facts |= {"r_factor": r, "mos": mos(r)}
        return facts

    def _directions(self, lost: int) -> tuple[int | None, int | None]:
        """Lost on the way there and on the way back, where anything tells them apart.

        Gaps in the mirror's own sequence numbers were lost on the way back; what it never sent
        was lost on the way there, or before its first packet that came.
        """
        if self._outer:
            first = next(iter(self._outer))
            offsets = [_signed(number - first) for number in self._outer]
            gaps = max(offsets) - min(offsets) + 1 - len(self._outer)
            reverse = min(gaps, lost)
            return lost - reverse, reverse
        if self.far_heard is not None and not self.echoed:
            # What left after its last packet it cannot know of: not lost, only not told.
            return len(self.sent_at) if not self.far_heard else 0, self.far_heard
        if self.far_told and not self.echoed:
            return 0, self.far_told
        return (0, 0) if self.rtts and not lost else (None, None)


def _apart(later: int, earlier: int) -> float:
    return (later - earlier) % WRAP / CLOCK_HZ


def _signed(difference: int) -> int:
    half = SEQUENCE_WRAP // 2
    return (difference + half) % SEQUENCE_WRAP - half
