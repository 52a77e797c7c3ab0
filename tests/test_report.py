"""One attempt as people read it."""

from __future__ import annotations

import json
from dataclasses import replace

from psapwatch import evidence as evidence_json
from psapwatch.evidence import Kind, Observation, Packet
from psapwatch.report import (
    LINES_MAX,
    attempt_json,
    ladder,
    message_text,
    phase_summary,
    verdict_line,
)
from psapwatch.verdict import PASSED, Cause, Outcome, Plane, Verdict
from samples import FAILED, LEG, OK_TEXT, OPTIONS_TEXT, answered, attempt, sent

ELSEWHERE = "203.0.113.5:5060"
BLOCKED = (
    Observation(Kind.RESOLVED, 0.0, {"name": "psap1.example.gov", "duration_s": 0.002}),
    sent(0.002),
    sent(0.502, 2),
    Observation(
        Kind.ICMP,
        0.51,
        {"family": 4, "icmp_type": 3, "code": 13, "offender": "192.0.2.1", "errno": 113},
    ),
    Observation(Kind.SILENT, 4.0, {"after_s": 4.0, "method": "OPTIONS"}),
)
PACKETS = (
    Packet(0.002, "out", LEG, OPTIONS_TEXT),
    Packet(0.502, "out", LEG, OPTIONS_TEXT),
    Packet(0.52, "in", ELSEWHERE, OK_TEXT),
)

LADDER = """\
keepalive (options) on ma-boston/east through fw-east over udp, 2025-06-18 17:16:40 UTC
attempt a-1, Call-ID abc123@192.0.2.10
  seconds  192.0.2.10:20311                       198.51.100.9:5060
    0.000  * resolved: name psap1.example.gov, duration_s 0.002
    0.002  |--- OPTIONS sip:psap1.example.gov ------------------->|  69 octets
    0.502  |--- OPTIONS sip:psap1.example.gov ------------------->|  69 octets, again
    0.510  * icmp: family 4, icmp_type 3, code 13, offender 192.0.2.1, errno 113
    0.520  |<-- 200 OK -------------------------------------------|  46 octets  203.0.113.5:5060
    4.000  * silent: after_s 4, method OPTIONS
"""

WITHOUT_TRANSCRIPT = """\
    0.002  |--- OPTIONS ----------------------------------------->|  400 octets
    0.502  |--- OPTIONS ----------------------------------------->|  400 octets, transmission 2
"""


def test_a_ladder_shows_messages_and_observations_in_order() -> None:
    """Arrows for messages, stars for the rest, and who answered when it was somebody else."""
    assert ladder(attempt(seen=BLOCKED, transcript=PACKETS)) == LADDER


def test_without_a_transcript_the_observations_draw_the_arrows() -> None:
    """A pass whose octets were not kept still shows what happened."""
    assert WITHOUT_TRANSCRIPT in ladder(attempt(seen=BLOCKED))
    late = ladder(attempt(seen=(sent(), answered(9.0, late=True))))
    assert "<-- 200 to OPTIONS" in late
    assert late.rstrip().endswith("late")


def test_a_ladder_never_carries_what_would_drive_a_terminal() -> None:
    """Reason phrases, peers and facts are escaped and every line is bounded."""
    evil = b"SIP/2.0 200 \x1b[2J\x07" + b"A" * 5000 + b"\r\n\r\n"
    seen = (Observation(Kind.ANSWER, 1.0, {"what": "mirror", "text": "\x1b]0;owned\x07\n" * 99}),)
    drawn = ladder(
        attempt(seen=seen, transcript=(Packet(0.1, "in", "\x1b[1m" * 40, evil),)),
    )
    lines = drawn.splitlines()
    assert all(line.isprintable() and len(line) < 200 for line in lines)
    assert len(lines) == 5


def test_a_ladder_is_bounded() -> None:
    """An endless call is cut, and the cut is told."""
    many = tuple(Packet(number / 10, "in", LEG, OK_TEXT) for number in range(LINES_MAX + 30))
    lines = ladder(attempt(seen=(), transcript=many)).splitlines()
    assert len(lines) == 3 + LINES_MAX + 1
    assert lines[-1].strip() == "… 30 more"


def test_the_summary_is_one_line() -> None:
    """Phases, retransmissions and silence, in the order in which they came."""
    assert phase_summary(attempt()) == "final 20 ms"
    assert phase_summary(attempt(seen=BLOCKED)) == (
        "resolve 2 ms, 1 retransmission, silent: after_s 4, method OPTIONS"
    )
    assert phase_summary(attempt(seen=())) == "nothing was answered"
    slow = (sent(), sent(0.5, 2), sent(1.5, 3), answered(1.52))
    assert phase_summary(attempt(seen=slow)) == "final 1.52 s, 2 retransmissions"


def test_a_verdict_is_one_line() -> None:
    """Outcome, cause, plane and the measured sentence; a pass names no cause."""
    assert verdict_line(FAILED) == "fail: calls_blocked (path): no answer in 4 s"
    assert verdict_line(PASSED) == "pass (signalling): answered as expected"
    evil = Verdict(Outcome.FAIL, Cause.UNKNOWN, Plane.PATH, "line\nbreak")
    assert verdict_line(evil) == r"fail: unknown (path): line\nbreak"


def test_the_json_reads_back_as_the_same_evidence() -> None:
    """Nothing of an attempt is lost, and the whole is plain JSON."""
    whole = attempt(seen=BLOCKED, transcript=PACKETS)
    plain = json.loads(json.dumps(attempt_json(whole, FAILED)))
    assert evidence_json.from_json(plain["attempt"]) == whole
    assert plain["verdict"]["cause"] == "calls_blocked"
    assert plain["ladder"] == LADDER
    assert plain["phases"] == {"resolve": 0.002}
    assert plain["transcript"][0]["text"].startswith("OPTIONS sip:psap1.example.gov SIP/2.0\n")


def test_a_message_keeps_its_lines_and_nothing_else_invisible() -> None:
    """CR LF become line breaks; everything else is spelt out."""
    shown = message_text(replace(PACKETS[0], octets=b"A: b\r\nC: \x1b[0m\xff\r\n\r\nbody"))
    assert shown == "A: b\nC: \\x1b[0m\\xff\n\nbody"
