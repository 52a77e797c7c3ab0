"""Calls that a killed daemon left open: learned about, ended, told (detection.md 7)."""

from __future__ import annotations

import pytest

from psapwatch.evidence import Kind
from psapwatch.sip.wire import Response
from sip.line import CallLine


def resumed(age_s: float, answer: Response | None = None, octets: bytes | None = None) -> CallLine:
    """A call that a killed daemon left open, taken up ``age_s`` after its INVITE."""
    line = CallLine(starts=False)
    line.now = 1000.0
    line.machine.resume(1000.0, age_s=age_s, answer=answer, octets=octets)
    line.take()
    assert line.is_over()
    return line


def test_a_call_with_its_2xx_on_record_is_ended_with_bye() -> None:
    """ACK once more and BYE; no INVITE; a repeat of the 2xx is acknowledged."""
    first = CallLine()
    answer = first.accept()
    line = resumed(700.0, answer)
    assert line.names() == ["ACK", "BYE"]
    assert line.last("BYE").to_tag == "far"
    line.receive(answer)
    assert line.names() == ["ACK", "BYE", "ACK"]
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


def test_within_timer_b_the_identical_invite_is_sent_again() -> None:
    """To the letter as the ledger has it; a 100 is answered by CANCEL."""
    octets = CallLine().sent[0].octets
    line = resumed(10.0, octets=octets)
    assert [one.octets for one in line.sent] == [octets]
    line.answer(100, tag="")
    assert line.names() == ["INVITE", "CANCEL"]
    line.answer(487)
    assert line.ended() == ("cancelled", True)
    line.settle()


def test_a_resumed_call_that_was_answered_is_ended() -> None:
    """Its 2xx comes again: ACK and BYE."""
    line = resumed(3.0)
    line.accept()
    assert line.names() == ["INVITE", "ACK", "BYE"]
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


@pytest.mark.parametrize(
    ("age_s", "sends"), [(1.0, [0, 0.5, 1.5, 3.5]), (31.0, [0, 0.5]), (31.9, [0])]
)
def test_a_resumed_invite_is_repeated_within_timer_b_only(age_s: float, sends: list[float]) -> None:
    """Like any other for 4 s, but never later than Timer B of its first life; then we listen."""
    line = resumed(age_s)
    line.settle()
    assert [at - 1000.0 for at in line.times("INVITE")] == sends
    assert line.ended() == ("no_answer", True)


def test_after_timer_b_only_cancel_is_sent() -> None:
    """No INVITE leaves: it would be a new call."""
    line = resumed(40.0)
    assert line.names() == ["CANCEL"]
    line.answer_to_unsent_invite(487)
    assert line.ended() == ("cancelled", True)
    line.settle()
    assert line.all("INVITE") == []


def test_after_timer_b_481_says_that_nothing_is_there() -> None:
    """The far side has forgotten the INVITE: the row can be closed."""
    line = resumed(40.0)
    line.answer(481, "CANCEL")
    assert line.ended() == ("cancelled", True)
    line.settle()


def test_after_timer_b_an_answer_is_still_ended() -> None:
    """A 2xx that comes all the same gets ACK and BYE."""
    line = resumed(40.0)
    line.answer_to_unsent_invite(200)
    assert line.names() == ["CANCEL", "ACK", "BYE"]
    line.answer(200, "BYE")
    line.settle()


def test_after_timer_b_silence_is_told() -> None:
    """CANCEL stayed without effect: unconfirmed, and closed after 64*T1."""
    line = resumed(40.0)
    line.settle()
    assert line.ended() == ("cancelled", False)
    assert line.told(Kind.ENDED)[0].at_s == 1032.0
