"""One test call: its ledger row, refusal, patience, CANCEL, credentials; ENDED is told once."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Credentials
from psapwatch.evidence import Kind
from psapwatch.sip.call import CallPlan
from sip.line import CHALLENGE, PEER, CallLine, answer_to

USER = Credentials("probe", "secret")
PATIENT = CallPlan(give_up_after_s=100.0, silent_after_s=100.0)
INVITE_SENDS = [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]


# --- the ledger


def test_the_invite_waits_for_its_ledger_row() -> None:
    """Nothing leaves before ``ledgered``, and then exactly the octets that the row holds."""
    line = CallLine(starts=False)
    line.start()
    assert line.names() == []
    due = line.machine.ledger_due
    line.now = 0.3
    line.ledgered()
    assert line.sent[0].octets == due
    line.ledgered()
    assert line.times("INVITE") == [0.3], "told twice, it still leaves once"


@pytest.mark.parametrize(
    ("kind", "facts"),
    [(Kind.NOT_TRIED, {"why": "too soon"}), (Kind.LOCAL_ERROR, {"error": "ledger"})],
)
def test_a_refused_row_means_that_nothing_leaves(kind: Kind, facts: dict[str, str]) -> None:
    """The attempt is over at once, and a row that comes after all changes nothing."""
    line = CallLine(starts=False)
    line.start()
    line.fail(kind, **facts)
    assert line.is_closed()
    assert line.ended() == ("no_answer", True)
    line.ledgered()
    line.settle()
    assert line.names() == []


@pytest.mark.parametrize("what", ["lost", "ended", "icmp"])
def test_an_end_before_the_row_is_kept_until_the_row_is_written(what: str) -> None:
    """ENDED closes the row, so it must not come before it; the INVITE does not leave."""
    line = CallLine(starts=False)
    line.start()
    if what == "lost":
        line.fail(Kind.CONNECTION_LOST, error="reset")
    elif what == "icmp":
        line.icmp()
    else:
        line.end()
    assert line.told(Kind.ENDED) == []
    line.now = 0.4
    line.ledgered()
    assert line.ended() == ("no_answer", True)
    assert line.is_closed()
    assert line.names() == []


def test_an_end_before_the_start_places_no_call() -> None:
    """The daemon stopped while the flow came up."""
    line = CallLine(starts=False)
    line.end()
    line.start()
    line.ledgered()
    line.settle()
    assert line.names() == []


# --- refused calls


def test_a_refusal_is_acknowledged_in_its_own_transaction() -> None:
    """17.1.1.3: same branch, To from the response, along the road; told as rejected."""
    line = CallLine()
    line.until(0.1)
    refusal = line.answer(486, tag="busy", headers=(("Retry-After", "30"),))
    invite, ack = line.last("INVITE"), line.last("ACK")
    assert ack.vias[0].branch == invite.vias[0].branch
    assert ack.header("To") == refusal.header("To")
    assert line.hop("ACK") is None
    assert line.ended() == ("rejected", True)
    assert line.facts(Kind.RESPONSE)["retry_after"] == "30"
    assert line.is_over()
    line.settle()


def test_each_repeated_refusal_is_acknowledged_until_timer_d() -> None:
    """The repeats of a 5xx get an ACK each and are counted; 32 s later nobody listens."""
    line = CallLine()
    for at in (0.1, 0.6, 1.6):
        line.until(at)
        line.answer(500)
    assert line.names() == ["INVITE", "ACK", "ACK", "ACK"]
    assert [seen["count"] for seen in line.told(Kind.REPEATED)] == [1, 2]
    line.until(32.0)
    assert not line.is_closed()
    line.until(32.1)
    assert line.is_closed()


@pytest.mark.parametrize("code", [300, 302, 416, 484, 600])
def test_nothing_is_ever_retried_elsewhere(code: int) -> None:
    """A redirect or a 416 is never followed: that could ring a call-taker."""
    line = CallLine(credentials=USER)
    line.answer(code, headers=(("Contact", "<urn:service:sos>"),))
    line.settle()
    assert line.names() == ["INVITE", "ACK"]


def test_a_2xx_after_a_refusal_is_ended_all_the_same() -> None:
    """Against RFC 3261 16.7, but somebody took the call."""
    line = CallLine()
    line.answer(486, tag="busy")
    line.accept(tag="awake")
    line.answer(200, "BYE")
    assert line.names() == ["INVITE", "ACK", "ACK", "BYE"]
    assert line.last("BYE").to_tag == "awake"
    line.settle()


# --- patience and CANCEL


def test_silence_is_given_up_at_four_seconds_and_listened_to_until_35_5() -> None:
    """The attempt is over, nothing more leaves, and nothing that nobody heard is cancelled."""
    line = CallLine()
    line.until(4.0)
    assert line.is_over()
    assert line.facts(Kind.SILENT) == {"method": "INVITE", "after_s": 4.0}
    line.until(35.4)
    assert not line.is_closed()
    line.settle()
    assert line.times("INVITE") == [0, 0.5, 1.5, 3.5]
    assert line.names() == ["INVITE"] * 4
    assert line.ended() == ("no_answer", True)
    assert line.told(Kind.ENDED)[0].at_s == 35.5


def test_timer_a_and_b_of_a_call_without_patience_of_its_own() -> None:
    """Seven transmissions, and the end at 32 s."""
    line = CallLine(PATIENT)
    line.settle()
    assert line.times("INVITE") == INVITE_SENDS
    assert line.told(Kind.SILENT)[0].at_s == line.told(Kind.ENDED)[0].at_s == 32.0
    assert line.ended() == ("no_answer", True)


def test_a_call_that_only_got_100_is_cancelled_at_its_deadline() -> None:
    """9.1: one CANCEL in the INVITE's transaction; the 487 is acknowledged and ends it."""
    line = CallLine()
    line.until(0.1)
    line.answer(100, tag="")
    line.until(7.9)
    assert line.names() == ["INVITE"]
    line.until(8.0)
    invite, cancel = line.last("INVITE"), line.last("CANCEL")
    assert cancel.vias[0].branch == invite.vias[0].branch
    assert line.hop("CANCEL") is None
    assert line.facts(Kind.SILENT)["after_s"] == 8.0
    assert line.is_over()
    line.until(8.1)
    line.answer(200, "CANCEL")
    assert line.told(Kind.ENDED) == []
    line.answer(487)
    assert line.ended() == ("cancelled", True)
    line.settle()
    assert line.names() == ["INVITE", "CANCEL", "ACK"]


def test_a_cancel_is_remembered_until_a_late_provisional() -> None:
    """9.1: given up in silence, a 100 at 20 s lets CANCEL leave at once."""
    line = CallLine()
    line.until(20.0)
    assert line.times("CANCEL") == []
    line.answer(100, tag="")
    assert line.times("CANCEL") == [20.0]
    line.answer(487)
    assert line.ended() == ("cancelled", True)
    line.settle()


def test_a_late_2xx_is_acknowledged_and_ended() -> None:
    """Given up at 4 s, answered at 33 s: beyond Timer B, and still ended."""
    line = CallLine()
    line.until(33.0)
    line.accept()
    assert line.names(since=33.0) == ["ACK", "BYE"]
    assert line.facts(Kind.RESPONSE)["late"] is True
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


def test_a_late_refusal_is_acknowledged() -> None:
    """Given up at 4 s, refused at 10 s."""
    line = CallLine()
    line.until(10.0)
    line.answer(503)
    assert line.names(since=10.0) == ["ACK"]
    assert line.ended() == ("rejected", True)
    line.settle()


def test_a_200_that_crosses_the_cancel_is_ended_with_bye() -> None:
    """9.1: CANCEL has no effect on an INVITE that was answered."""
    line = CallLine()
    line.answer(100, tag="")
    line.until(8.01)
    line.accept()
    line.answer(200, "CANCEL")
    assert line.names() == ["INVITE", "CANCEL", "ACK", "BYE"]
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


@pytest.mark.parametrize("code", [481, 200, 500, 401])
def test_no_answer_to_cancel_ends_the_invite(code: int) -> None:
    """Only the INVITE's own final does; after 64*T1 the call counts as cancelled, unconfirmed."""
    line = CallLine(credentials=USER)
    line.answer(100, tag="")
    line.until(8.1)
    line.answer(code, "CANCEL", headers=(("WWW-Authenticate", CHALLENGE),))
    line.until(39.9)
    assert line.told(Kind.ENDED) == []
    line.until(40.0)
    assert line.ended() == ("cancelled", False)
    assert line.facts(Kind.TEARDOWN_FAILED) == {"method": "CANCEL", "why": "no final response"}
    line.settle()
    assert len({cancel.vias[0].branch for cancel in line.all("CANCEL")}) == 1


def test_an_unanswered_cancel_is_repeated() -> None:
    """CANCEL is a non-INVITE transaction: Timer E's moments after 8 s."""
    line = CallLine()
    line.answer(100, tag="")
    line.settle()
    moments = [8.0, 8.5, 9.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 35.5, 39.5]
    assert line.times("CANCEL") == moments
    assert line.ended() == ("cancelled", False)


def test_over_a_stream_each_request_leaves_once() -> None:
    """TCP repeats for us: INVITE, CANCEL and BYE have no Timers A and E."""
    line = CallLine(reliable=True)
    line.answer(100, tag="")
    line.settle()
    assert line.names() == ["INVITE", "CANCEL"]
    line = CallLine(reliable=True)
    line.accept()
    line.settle()
    assert line.names() == ["INVITE", "ACK", "BYE"]


# --- credentials


def test_a_challenged_invite_is_repeated_after_a_row_of_its_own() -> None:
    """22.2: nothing leaves until ``ledgered``; new branch and number; ACK repeats credentials."""
    line = CallLine(credentials=USER)
    line.until(0.1)
    line.answer(401, headers=(("WWW-Authenticate", CHALLENGE),))
    assert line.names() == ["INVITE", "ACK"]
    due = line.machine.ledger_due
    assert due is not None
    line.until(0.3)
    assert not line.is_over()
    line.ledgered()
    first, second = line.all("INVITE")
    assert line.sent[-1].octets == due
    assert (first.cseq[0], second.cseq[0]) == (1, 2)
    assert first.vias[0].branch != second.vias[0].branch
    line.until(0.4)
    line.accept()
    ack, bye = line.last("ACK"), line.last("BYE")
    assert ack.header("Authorization") == second.header("Authorization")
    assert (ack.cseq, bye.cseq) == ((2, "ACK"), (3, "BYE"))
    assert line.told(Kind.RESPONSE)[-1]["phase_s"] == pytest.approx(0.1)
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


def test_the_second_invite_has_its_own_patience() -> None:
    """Silent for 4 s after its own transmission; CANCEL not before it was heard."""
    line = CallLine(credentials=USER)
    line.until(1.0)
    line.answer(407, headers=(("Proxy-Authenticate", CHALLENGE),))
    line.ledgered()
    line.until(4.9)
    assert not line.is_over()
    line.until(5.0)
    assert line.facts(Kind.SILENT)["after_s"] == 4.0
    line.settle()
    assert line.all("CANCEL") == []
    assert line.ended() == ("no_answer", True)


def test_credentials_that_are_refused_are_not_tried_again() -> None:
    """The second challenge is the verdict; its ACK carries the credentials."""
    line = CallLine(credentials=USER)
    line.answer(401, headers=(("WWW-Authenticate", CHALLENGE),))
    line.ledgered()
    line.answer(401, headers=(("WWW-Authenticate", CHALLENGE),))
    assert line.machine.ledger_due is None
    assert line.names() == ["INVITE", "ACK", "INVITE", "ACK"]
    assert line.last("ACK").header("Authorization") is not None
    assert line.ended() == ("rejected", True)
    line.settle()


@pytest.mark.parametrize("how", ["refused", "ended", "deadline"])
def test_a_second_row_that_does_not_come_ends_the_call(how: str) -> None:
    """The first INVITE was rejected, and the second never leaves."""
    line = CallLine(credentials=USER)
    line.answer(401, headers=(("WWW-Authenticate", CHALLENGE),))
    if how == "refused":
        line.fail(Kind.NOT_TRIED, why="stopped")
    elif how == "ended":
        line.end()
        line.ledgered()
    else:
        line.until(8.0)
        assert line.is_over()
        line.ledgered()
    line.settle()
    assert line.names() == ["INVITE", "ACK"]
    assert line.ended() == ("rejected", True)
    assert line.told(Kind.SILENT) == []


@pytest.mark.parametrize("credentials", [None, USER])
def test_a_challenge_that_cannot_be_answered_is_the_verdict(
    credentials: Credentials | None,
) -> None:
    """Without credentials, or for a nonce that could not be sent back."""
    line = CallLine(credentials=credentials)
    nul = CHALLENGE.replace("n1", "n\0")
    response = answer_to(line.last("INVITE"), 401, headers=(("WWW-Authenticate", nul),))
    line.machine.receive(response, 0.0, 0.0, PEER)
    line.take()
    assert line.ended() == ("rejected", True)
    assert line.machine.ledger_due is None


def test_a_challenge_after_giving_up_is_not_answered() -> None:
    """Nobody waits for that call any more."""
    line = CallLine(credentials=USER)
    line.until(5.0)
    line.answer(401, headers=(("WWW-Authenticate", CHALLENGE),))
    assert line.machine.ledger_due is None
    assert line.ended() == ("rejected", True)
