"""Broken SIP, ICMP, lost connections and the daemon's stop: the call is ended in every state."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Credentials
from psapwatch.evidence import Kind
from psapwatch.sip.answering_script import MANGLES, Mangle
from psapwatch.sip.call import CallPlan
from psapwatch.sip.wire import Request, Response, parse, serialize
from sip.line import CHALLENGE, CONTACT, PEER, CallLine, answer_to

USER = Credentials("probe", "secret")
HOLD = CallPlan(hold_s=2.0)


# --- what breaks the rules


def mangled(line: CallLine, how: Mangle, code: int = 200) -> bytes:
    """The answer to the INVITE as a broken element would write it."""
    answer = answer_to(line.last("INVITE"), code, headers=(("Contact", CONTACT),))
    return MANGLES[how](serialize(answer))


@pytest.mark.parametrize("how", ["lf_only", "no_cseq"])
def test_a_malformed_2xx_is_ended(how: Mangle) -> None:
    """It counts as no response, but somebody answered: ACK and BYE, also for its repeats."""
    line = CallLine()
    line.until(0.1)
    octets = mangled(line, how)
    line.malformed(octets)
    assert line.names() == ["INVITE", "ACK", "BYE"]
    assert line.last("BYE").uri == CONTACT.strip("<>")
    assert line.last("BYE").to_tag == "far"
    assert line.told(Kind.RESPONSE) == []
    line.malformed(octets)
    assert line.names() == ["INVITE", "ACK", "BYE", "ACK"]
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


def test_a_malformed_2xx_is_judged_by_its_body() -> None:
    """An ordinary call in broken SIP is an ordinary call."""
    line = CallLine()
    whole = answer_to(line.last("INVITE"), 200, headers=(("Content-Type", "application/sdp"),))
    whole = Response(200, "OK", whole.headers, b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n")
    octets = MANGLES["no_cseq"](serialize(whole))
    line.malformed(octets)
    assert line.facts(Kind.UNSAFE)["why"] == "no_loopback"


def test_a_malformed_ringing_is_cancelled() -> None:
    """A phone that rings in broken SIP rings."""
    line = CallLine()
    octets = mangled(line, "no_cseq", 180)
    line.malformed(octets)
    assert line.names() == ["INVITE", "CANCEL"]
    assert line.facts(Kind.UNSAFE)["why"] == "ringing"


def test_a_malformed_answer_to_cancel_is_none_to_the_invite() -> None:
    """The branch is the same, the CSeq's method is not."""
    line = CallLine()
    line.answer(100, tag="")
    line.until(8.0)
    octets = MANGLES["lf_only"](serialize(answer_to(line.last("CANCEL"), 200)))
    line.malformed(octets)
    assert line.names() == ["INVITE", "CANCEL"]


@pytest.mark.parametrize("how", ["garbage", "wrong_branch", "truncated"])
def test_what_cannot_be_ours_is_only_noted(how: Mangle) -> None:
    """Garbage, another's branch; and a truncated datagram MUST be discarded (18.3)."""
    line = CallLine()
    octets = mangled(line, how)
    kind = Kind.DISCARDED if how == "truncated" else Kind.MALFORMED
    line.malformed(octets, kind)
    assert line.names() == ["INVITE"]
    assert len(line.told(kind)) == 1


def test_a_response_to_another_request_is_discarded() -> None:
    """17.1.3: it is a fact, and the INVITE goes on waiting."""
    line = CallLine()
    line.machine.receive(parse(mangled(line, "wrong_cseq")), 0.0, 0.0, PEER)
    line.take()
    assert "code" not in line.told(Kind.DISCARDED)[0].facts
    assert line.names() == ["INVITE"]


READDRESSED = pytest.mark.parametrize("how", ["wrong_branch", "wrong_sent_by", "two_vias"])


@READDRESSED
def test_an_answer_under_another_via_is_discarded_and_ended(how: Mangle) -> None:
    """8.1.3.3, 18.1.2: no response is counted; but somebody has answered, and is not left there."""
    line = CallLine()
    octets = mangled(line, how)
    for _repeat in range(2):
        line.machine.receive(parse(octets), 0.0, 0.0, PEER)
        line.take()
    assert [seen["code"] for seen in line.told(Kind.DISCARDED)] == [200, 200]
    assert line.told(Kind.RESPONSE) == []
    assert line.names() == ["INVITE", "ACK", "BYE", "ACK"]
    line.machine.receive(parse(readdressed(line, how, "BYE")), 0.0, 0.0, PEER)
    line.take()
    assert line.ended() == ("bye_sent", True), "as nobody else could have answered it"


@READDRESSED
def test_ringing_under_another_via_is_cancelled(how: Mangle) -> None:
    """A telephone that rings is a person who may pick up."""
    line = CallLine()
    line.machine.receive(parse(mangled(line, how, 180)), 0.0, 0.0, PEER)
    line.take()
    assert line.names() == ["INVITE", "CANCEL"]
    assert line.facts(Kind.UNSAFE)["why"] == "ringing"
    line.machine.receive(parse(readdressed(line, how, "CANCEL")), 0.0, 0.0, PEER)
    line.take()
    line.until(20.0)
    assert line.names() == ["INVITE", "CANCEL"], "it was heard, and is not sent again"


def readdressed(line: CallLine, how: Mangle, method: str) -> bytes:
    """A 200 to our last request of a method, under another Via."""
    return MANGLES[how](serialize(answer_to(line.last(method), 200)))


def test_two_finals_of_one_answerer() -> None:
    """After the 2xx a refusal changes nothing: the call is up and is ended."""
    line = CallLine()
    line.accept()
    line.answer(486)
    assert line.names() == ["INVITE", "ACK", "BYE"]
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)


# --- errors of the way


def test_icmp_before_a_provisional_stops_the_invite_and_listens() -> None:
    """Over at once, nothing more leaves; an answer that comes all the same is ended."""
    line = CallLine()
    line.until(0.7)
    line.icmp()
    assert line.is_over()
    line.until(10.0)
    assert line.times("INVITE") == [0, 0.5]
    line.accept()
    assert line.names(since=10.0) == ["ACK", "BYE"]
    line.answer(200, "BYE")
    line.settle()


def test_icmp_before_a_provisional_without_an_answer() -> None:
    """It closes 64*T1 after the last transmission; patience says nothing more."""
    line = CallLine()
    line.until(0.7)
    line.icmp()
    line.settle()
    assert line.told(Kind.SILENT) == []
    assert line.told(Kind.ENDED)[0].at_s == 32.5
    assert line.ended() == ("no_answer", True)


def test_icmp_after_a_provisional_cancels() -> None:
    """Something was heard: it is ended as far as that goes."""
    line = CallLine()
    line.answer(100, tag="")
    line.icmp()
    assert line.names() == ["INVITE", "CANCEL"]
    assert line.is_over()
    line.settle()
    assert line.ended() == ("cancelled", False)


def test_icmp_that_means_nothing_changes_nothing() -> None:
    """TTL exceeded is noted (18.4)."""
    line = CallLine()
    line.icmp(11, 0)
    assert not line.is_over()
    line.until(0.5)
    assert line.times("INVITE") == [0, 0.5]


def test_icmp_about_a_bye_does_not_stop_it() -> None:
    """It may come through next time."""
    line = CallLine()
    line.accept()
    line.icmp(3, 3)
    line.until(1.5)
    assert line.times("BYE") == [0, 0.5, 1.5]


@pytest.mark.parametrize("kind", [Kind.CONNECTION_LOST, Kind.TLS_FAILED])
def test_a_connection_lost_before_anything_was_heard_closes_the_call(kind: Kind) -> None:
    """No answer can come over it, and 9.1 forbids CANCEL."""
    line = CallLine(reliable=True)
    line.fail(kind, error="reset")
    assert line.is_closed()
    assert line.names() == ["INVITE"]
    assert line.ended() == ("no_answer", True)


def test_a_connection_lost_after_a_provisional_cancels_over_a_new_one() -> None:
    """CANCEL leaves; what carries it is the pump's business."""
    line = CallLine(reliable=True)
    line.answer(100, tag="")
    line.fail(Kind.CONNECTION_LOST, error="reset")
    assert line.names() == ["INVITE", "CANCEL"]
    line.settle()


def test_a_connection_lost_in_a_held_call_sends_bye() -> None:
    """The call is up over there, and must not stay so."""
    line = CallLine(HOLD, reliable=True)
    line.accept()
    line.fail(Kind.CONNECTION_LOST, error="closed")
    assert line.names() == ["INVITE", "ACK", "BYE"]


@pytest.mark.parametrize("method", ["CANCEL", "BYE"])
def test_what_was_on_the_lost_connection_is_sent_again(method: str) -> None:
    """A stream repeats nothing when it is gone: the same request once more, over a new one."""
    line = CallLine(reliable=True)
    if method == "BYE":
        line.accept()
    else:
        line.answer(180)
    line.fail(Kind.CONNECTION_LOST, error="reset")
    octets = [one.octets for one in line.sent if one.name == method]
    assert len(octets) == 2
    assert octets[0] == octets[1]
    line.settle()


def test_an_invite_that_our_own_side_could_not_send_is_over() -> None:
    """The only transmission failed: nobody can have heard it."""
    line = CallLine()
    line.fail(Kind.LOCAL_ERROR, error="ENETUNREACH")
    assert line.is_closed()
    assert line.ended() == ("no_answer", True)


def test_a_local_error_of_a_repeat_goes_on_listening() -> None:
    """The first transmission may have been heard."""
    line = CallLine()
    line.until(0.5)
    line.fail(Kind.LOCAL_ERROR, error="ENOBUFS")
    assert line.is_over()
    assert not line.is_closed()
    line.until(3.0)
    line.accept()
    assert line.names(since=3.0) == ["ACK", "BYE"]


# --- the end that is asked for


def in_state(name: str) -> CallLine:
    """A call brought to a state."""
    line = CallLine(HOLD, credentials=USER)
    line.until(0.1)
    if name == "proceeding":
        line.answer(100, tag="")
    elif name == "held":
        line.accept()
    elif name == "ending":
        line.answer(200)
    elif name == "cancelling":
        line.answer(180)
    elif name == "challenged":
        line.answer(401, headers=(("WWW-Authenticate", CHALLENGE),))
    elif name == "rejected":
        line.answer(486)
    elif name == "listening":
        line.until(5.0)
    elif name == "ended":
        line.accept()
        line.ask("BYE")
    elif name == "closed":
        line.until(60.0)
    else:
        assert name == "calling"
    return line


STATES = {
    "calling": ([], "no_answer"),
    "proceeding": (["CANCEL"], "cancelled"),
    "held": (["BYE"], "bye_sent"),
    "ending": ([], "bye_sent"),
    "cancelling": ([], "cancelled"),
    "challenged": ([], "rejected"),
    "rejected": ([], "rejected"),
    "listening": ([], "no_answer"),
    "ended": ([], "bye_received"),
    "closed": ([], "no_answer"),
}


@pytest.mark.parametrize("name", STATES)
def test_ending_in_every_state(name: str) -> None:
    """``end`` sends what the protocol allows at that moment, and the call closes in time."""
    sends, how = STATES[name]
    line = in_state(name)
    before = len(line.sent)
    line.end()
    assert [one.name for one in line.sent[before:]] == sends
    if line.machine.ledger_due is not None:
        line.ledgered()
    line.end()
    line.settle()
    assert line.ended()[0] == how


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("error", ["icmp", "lost", "local", "nothing"])
def test_every_state_closes_in_bounded_time(name: str, error: str) -> None:
    """Whatever happened and whatever goes wrong then, silence afterwards closes the call."""
    line = in_state(name)
    if error == "icmp":
        line.icmp()
    elif error == "lost":
        line.fail(Kind.CONNECTION_LOST, error="reset")
    elif error == "local":
        line.fail(Kind.LOCAL_ERROR, error="EPERM")
    if line.machine.ledger_due is not None:
        line.fail(Kind.LOCAL_ERROR, error="ledger")
    line.settle(within_s=72.0)
    assert line.is_over()


@pytest.mark.parametrize("name", sorted(STATES.keys() - {"closed"}))
def test_a_2xx_in_any_state_is_acknowledged_while_anybody_listens(name: str) -> None:
    """The rule that outlives every other: who answers is acknowledged and ended."""
    line = in_state(name)
    line.end()
    line.receive(answer_to(line.all("INVITE")[0], 200, tag="new"))
    new = [one.message for one in line.sent if one.message.to_tag == "new"]
    assert [one.method for one in new if isinstance(one, Request)] == ["ACK", "BYE"]
    for bye in {bye.to_tag: bye for bye in line.all("BYE")}.values():
        line.receive(answer_to(bye, 200))
    if line.machine.ledger_due is not None:
        line.ledgered()
    line.settle()
