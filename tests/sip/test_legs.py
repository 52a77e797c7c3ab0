"""The dialogs of a call: each 2xx is acknowledged as often as it comes, each dialog ended once."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Credentials
from psapwatch.evidence import Kind
from psapwatch.sip.call import CallPlan
from psapwatch.sip.legs import FORKS_MAX
from psapwatch.sip.wire import Request, parse, serialize
from sip.line import CHALLENGE, CONTACT, PEER, TARGET, CallLine, answer_to

USER = Credentials("probe", "secret")
HOLD = CallPlan(hold_s=2.0)


# --- answered calls


def test_an_answered_call_is_acknowledged_and_ended() -> None:
    """ACK: new branch, same number; BYE: the next number; both to the Contact; then ENDED."""
    line = CallLine()
    line.until(0.1)
    line.accept()
    invite, ack, bye = line.last("INVITE"), line.last("ACK"), line.last("BYE")
    assert ack.vias[0].branch not in (invite.vias[0].branch, bye.vias[0].branch)
    assert (ack.cseq, bye.cseq) == ((1, "ACK"), (2, "BYE"))
    assert ack.uri == bye.uri == line.hop("ACK") == line.hop("BYE") == CONTACT.strip("<>")
    assert line.facts(Kind.ANSWER)["what"] == "mirror"
    assert line.told(Kind.ENDED) == []
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    assert line.is_over()
    line.settle()
    assert line.names() == ["INVITE", "ACK", "BYE"]


def test_the_routes_of_a_dialog_are_those_of_its_2xx() -> None:
    """12.1.2: reversed Record-Route for ACK and BYE, the first as the next hop."""
    line = CallLine()
    routes = (("Record-Route", "<sip:near;lr>, <sip:far;lr>"), ("Contact", CONTACT))
    line.accept(headers=routes)
    for name in ("ACK", "BYE"):
        assert line.last(name).all("Route") == ("<sip:far;lr>", "<sip:near;lr>")
        assert line.last(name).uri == CONTACT.strip("<>")
        assert line.hop(name) == "sip:far;lr"


def test_a_strict_router_is_obeyed() -> None:
    """12.2.1.1: its URI is the Request-URI, the Contact the last Route."""
    line = CallLine()
    line.accept(headers=(("Record-Route", "<sip:strict>"), ("Contact", CONTACT)))
    for name in ("ACK", "BYE"):
        assert line.last(name).uri == line.hop(name) == "sip:strict"
        assert line.last(name).all("Route") == (CONTACT,)


def test_without_a_contact_the_call_is_ended_along_the_road() -> None:
    """A 2xx must have one; whoever answered without is still ended."""
    line = CallLine()
    line.accept(headers=())
    assert line.last("BYE").uri == TARGET
    assert line.hop("ACK") is None
    assert line.hop("BYE") is None


def test_an_unreadable_record_route_does_not_leave_a_call_open() -> None:
    """ACK and BYE leave for the Contact."""
    line = CallLine()
    octets = serialize(answer_to(line.last("INVITE"), 200, headers=(("Contact", CONTACT),)))
    octets = octets.replace(b"\r\nContact", b"\r\nRecord-Route: garbage<<\r\nContact")
    line.machine.receive(parse(octets), 0.0, 0.0, PEER)
    line.take()
    assert line.names() == ["INVITE", "ACK", "BYE"]


def test_a_2xx_that_cannot_be_acknowledged_is_told() -> None:
    """Its tag cannot be sent back: it is not ended, and that is said."""
    line = CallLine()
    octets = serialize(answer_to(line.last("INVITE"), 200, tag="no"))
    line.machine.receive(parse(octets.replace(b"tag=no", b"tag=n\0")), 0.0, 0.0, PEER)
    line.take()
    assert line.facts(Kind.TEARDOWN_FAILED)["method"] == "BYE"
    assert line.ended() == ("no_answer", False)
    line.settle()


def test_every_repeated_2xx_is_acknowledged_again() -> None:
    """13.2.2.4: the very same ACK for each; the BYE stays one transaction."""
    line = CallLine()
    line.accept()
    for at in (0.3, 0.8, 1.8):
        line.until(at)
        line.accept()
    acks = [one.octets for one in line.sent if one.name == "ACK"]
    assert len(acks) == 4
    assert len(set(acks)) == 1
    assert len({bye.vias[0].branch for bye in line.all("BYE")}) == 1
    assert [(seen["code"], seen["count"]) for seen in line.told(Kind.REPEATED)] == [
        (200, 1),
        (200, 2),
        (200, 3),
    ]
    assert len(line.told(Kind.ANSWER)) == 1
    line.answer(200, "BYE")
    line.until(20.0)
    line.accept()
    assert line.names(since=20.0) == ["ACK"], "also after the call has ended"
    line.settle()


def test_forks_are_ended_one_by_one() -> None:
    """Each dialog gets its ACK and its BYE, numbered on its own; ENDED waits for the last."""
    line = CallLine()
    for tag in ("one", "two", "three"):
        line.accept(tag=tag)
    assert [bye.to_tag for bye in line.all("BYE")] == ["one", "two", "three"]
    assert {bye.cseq for bye in line.all("BYE")} == {(2, "BYE")}
    assert [seen["to_tag"] for seen in line.told(Kind.FORKED)] == ["two", "three"]
    for bye in line.all("BYE")[:2]:
        line.receive(answer_to(bye, 200))
    assert line.told(Kind.ENDED) == []
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)
    line.settle()


def test_a_fork_that_comes_after_the_end_is_ended() -> None:
    """RFC 6026: within Timer M every new To tag is one more dialog."""
    line = CallLine()
    line.accept(tag="one")
    line.answer(200, "BYE")
    line.until(31.0)
    line.accept(tag="two")
    assert line.names(since=31.0) == ["ACK", "BYE"]
    line.answer(200, "BYE")
    line.settle()


def test_the_number_of_forks_is_bounded() -> None:
    """Beyond it the failure is told, for nobody sends eight answers by design."""
    line = CallLine()
    for number in range(FORKS_MAX + 1):
        line.accept(tag=f"t{number}")
    assert len(line.all("BYE")) == FORKS_MAX
    assert "forks" in str(line.facts(Kind.TEARDOWN_FAILED)["why"])
    for bye in line.all("BYE"):
        line.receive(answer_to(bye, 200))
    assert line.ended() == ("bye_sent", False)
    line.settle()


def test_an_unanswered_bye_is_repeated_and_told_at_the_deadline() -> None:
    """Timer E's moments; the attempt says so at its deadline, and once; F ends it."""
    line = CallLine()
    line.accept()
    line.until(8.0)
    assert line.is_over()
    assert line.facts(Kind.TEARDOWN_FAILED) == {"method": "BYE", "why": "no answer for 8.0 s"}
    line.settle()
    assert line.times("BYE") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert len(line.told(Kind.TEARDOWN_FAILED)) == 1
    assert line.ended() == ("bye_sent", False)
    assert line.told(Kind.ENDED)[0].at_s == 32.0


def test_a_bye_that_is_young_at_the_deadline_is_not_called_a_failure() -> None:
    """Answered at 7.9 s, a call cannot have ended by 8 s."""
    line = CallLine()
    line.until(1.0)
    line.answer(100)
    line.until(7.9)
    line.accept()
    line.until(8.0)
    assert line.is_over()
    assert line.told(Kind.TEARDOWN_FAILED) == []
    line.until(8.1)
    line.answer(200, "BYE")
    assert line.ended() == ("bye_sent", True)


@pytest.mark.parametrize(
    ("code", "confirmed"),
    [(200, True), (202, True), (481, True), (408, False), (403, False), (500, False)],
)
def test_what_an_answer_to_bye_means(code: int, *, confirmed: bool) -> None:
    """15.1.1: 2xx and 481 say that the dialog is gone; anything else is a failed teardown."""
    line = CallLine()
    line.accept()
    line.answer(100, "BYE")
    assert line.told(Kind.ENDED) == []
    line.answer(code, "BYE")
    assert line.ended() == ("bye_sent", confirmed)
    assert len(line.told(Kind.TEARDOWN_FAILED)) == (0 if confirmed else 1)
    line.settle()


@pytest.mark.parametrize(
    ("code", "header", "answer"),
    [
        (401, "WWW-Authenticate", "Authorization"),
        (407, "Proxy-Authenticate", "Proxy-Authorization"),
    ],
)
def test_a_challenged_bye_is_sent_once_more_with_credentials(
    code: int, header: str, answer: str
) -> None:
    """22.2: new branch, next number; a second challenge is a failed teardown."""
    line = CallLine(credentials=USER)
    line.accept()
    line.answer(code, "BYE", headers=((header, CHALLENGE),))
    first, second = line.all("BYE")
    assert (first.cseq[0], second.cseq[0]) == (2, 3)
    assert first.vias[0].branch != second.vias[0].branch
    assert str(second.header(answer)).startswith("Digest ")
    assert line.told(Kind.ENDED) == []
    line.answer(code, "BYE", headers=((header, CHALLENGE),))
    assert line.facts(Kind.TEARDOWN_FAILED)["why"] == f"answered {code}"
    assert line.ended() == ("bye_sent", False)
    line.settle()
    assert len({bye.vias[0].branch for bye in line.all("BYE")}) == 2


@pytest.mark.parametrize("nonce", ["n1", "n\0"])
def test_a_challenged_bye_without_an_answer_is_told(nonce: str) -> None:
    """No credentials, or a nonce that could not be sent back."""
    line = CallLine(credentials=None if nonce == "n1" else USER)
    line.accept()
    challenge = CHALLENGE.replace("n1", nonce)
    response = answer_to(line.last("BYE"), 401, headers=(("WWW-Authenticate", challenge),))
    line.machine.receive(response, line.now, line.now, PEER)
    line.take()
    assert line.ended() == ("bye_sent", False)


# --- the far side hangs up


def test_a_held_call_is_ended_by_the_far_side() -> None:
    """A mirror answer may stay up for its media; the far side's BYE gets 200 and ends it."""
    line = CallLine(HOLD)
    line.accept()
    assert line.names() == ["INVITE", "ACK"]
    line.until(0.5)
    line.ask("BYE")
    assert line.names() == ["INVITE", "ACK", "200"]
    assert line.ended() == ("bye_received", True)
    line.ask("BYE")
    assert line.names()[-1] == "200", "a repeated BYE is answered again"
    line.settle()
    assert line.all("BYE") == []


def test_a_held_call_is_ended_by_us_when_nobody_hangs_up() -> None:
    """At the end of its time our BYE leaves."""
    line = CallLine(HOLD)
    line.until(0.2)
    line.accept()
    line.until(10.0)
    assert line.times("BYE")[0] == 2.2


def test_a_held_call_is_bounded_by_the_calls_deadline() -> None:
    """No call stays up beyond ``give_up_after_s``."""
    line = CallLine(CallPlan(hold_s=60.0))
    line.accept()
    line.until(8.0)
    assert line.times("BYE") == [8.0]
    assert line.is_over()
    assert line.told(Kind.SILENT) == []


def test_only_a_mirror_is_held() -> None:
    """Whatever else answers is ended at once."""
    line = CallLine(HOLD)
    line.answer(200)
    assert line.names() == ["INVITE", "ACK", "BYE"]


def test_byes_that_cross_end_the_call_once() -> None:
    """Our BYE is on the way when theirs comes: no more repeats, and any answer is harmless."""
    line = CallLine()
    line.accept()
    line.until(0.1)
    line.ask("BYE")
    assert line.ended() == ("bye_received", True)
    line.until(0.2)
    line.answer(481, "BYE")
    line.settle()
    assert line.times("BYE") == [0.0]
    assert line.told(Kind.TEARDOWN_FAILED) == []


@pytest.mark.parametrize(
    ("method", "code"),
    [("INVITE", "488"), ("UPDATE", "488"), ("OPTIONS", "200"), ("CANCEL", "481"), ("INFO", "405")],
)
def test_what_is_told_inside_the_dialog(method: str, code: str) -> None:
    """A re-INVITE is declined and the call stays as it is; none of it is a callback."""
    line = CallLine(HOLD)
    line.accept()
    line.ask(method)
    assert line.names()[-1] == code
    assert line.told(Kind.UNSAFE) == []
    assert line.told(Kind.ENDED) == []


@pytest.mark.parametrize("tag", ["nobody", "far"])
def test_a_bye_of_no_dialog_gets_481(tag: str) -> None:
    """Another From tag, or our tag mistaken: the held call stays."""
    line = CallLine(HOLD)
    line.accept()
    first = line.last("INVITE")
    to = str(first.header("From"))
    bye = Request(
        "BYE",
        "sip:path-test@198.51.100.7:20000",
        (
            ("Via", "SIP/2.0/UDP 192.0.2.20;branch=z9hG4bKx"),
            ("From", f"<urn:service:test.sos>;tag={tag}"),
            ("To", to if tag == "nobody" else to.replace("ourtag", "theirtag")),
            ("Call-ID", first.call_id),
            ("CSeq", "1 BYE"),
        ),
    )
    line.receive(bye)
    assert line.names()[-1] == "481"
    assert line.told(Kind.ENDED) == []
