"""The answering point: server transactions, scripts, and that every call it takes can be ended."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from psapwatch.endpoint import Address, TransportName
from psapwatch.sip.answering_point import TRANSACTIONS_MAX, AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS, Script, Step
from psapwatch.sip.offer import build_offer, read_answer
from psapwatch.sip.request import (
    Caller,
    ack_failure,
    cancel,
    dialog_of,
    in_dialog,
    invite,
    options,
)
from psapwatch.sip.wire import Malformed, Request, Response, parse, serialize

HERE = Address("192.0.2.20", 5060)
CALLER = Address("192.0.2.10", 20_001)
WHO = Caller(
    "UDP", str(CALLER), f"sip:probe@{CALLER}", "sip:911-path-test@example.net", "caller", "c@x"
)
MANGLED = ("wrong_branch", "wrong_sent_by", "two_vias", "short_content_length", "compact", "folded")
UNREADABLE = ("lf_only", "truncated", "garbage", "no_cseq")
NOT_UNDERSTOOD = (*MANGLED, *UNREADABLE, "wrong_cseq")


@dataclass
class Line:
    """An answering point and its one caller, with time moved by hand."""

    script: Script
    transport: TransportName = "udp"
    now: float = 0.0
    sent: list[tuple[float, bytes, Address]] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.point = AnsweringPoint(
            self.script, name="Boston PD", tag=lambda: f"tag{next(numbers)}", address=HERE
        )

    def send(self, request: Request | Response | bytes) -> list[Response]:
        """Send one message and return what comes back at once."""
        octets = request if isinstance(request, bytes) else serialize(request)
        self.point.receive(octets, CALLER, self.now, self.transport)
        return [message for message in self._take() if isinstance(message, Response)]

    def wait(self, seconds: float) -> list[tuple[float, Request | Response]]:
        """Let time pass; return what was sent and when."""
        until, came = self.now + seconds, []
        while (due := self.point.next_timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.point.handle_timer(self.now)
            came += [(self.now, message) for message in self._take()]
        self.now = until
        return came

    def _take(self) -> list[Request | Response]:
        out = self.point.data_to_send()
        self.sent += [(self.now, octets, to) for octets, to in out]
        return [parse(octets) for octets, _to in out]


def call(branch: str = "z9hG4bKone", urn: str = "urn:service:test.sos") -> Request:
    """A test INVITE."""
    offer = build_offer("192.0.2.10", 40_000, 1)
    request = invite(WHO, branch, ("sip:psap@192.0.2.20",), offer, "application/sdp")
    return Request("INVITE", urn, request.headers, request.body)


def keepalive(branch: str = "z9hG4bKtwo") -> Request:
    """An OPTIONS."""
    return options(WHO, branch, "sip:psap@192.0.2.20")


def inside(request: Request, answer: Response, method: str, cseq: int = 1) -> Request:
    """ACK or BYE in the dialog of a 2xx."""
    return in_dialog(WHO, dialog_of(answer, request, ""), f"z9hG4bK{method}", method, cseq)[0]


def test_a_test_call_is_answered_mirrored_and_hung_up() -> None:
    """200 with a mirror's SDP; BYE to the caller's Contact 500 ms after the ACK; nothing stays."""
    line, request = Line(SCRIPTS["mirror"]), call()
    (answer,) = line.send(request)
    assert (answer.code, answer.to_tag) == (200, "tag1")
    media = read_answer(answer.body, str(answer.header("Content-Type")))
    assert (media.what, media.address) == ("mirror", "192.0.2.20")
    assert line.point.open_calls == 1
    line.send(inside(request, answer, "ACK"))
    ((at, bye),) = line.wait(0.6)
    assert isinstance(bye, Request)
    assert (at, bye.method, bye.uri, bye.from_tag, bye.to_tag) == (
        0.5, "BYE", f"sip:probe@{CALLER}", "tag1", "caller",
    )  # fmt: skip
    assert line.sent[-1][2] == CALLER
    assert line.point.open_calls == 0
    line.send(Response(200, "OK", bye.headers))
    assert line.wait(64) == []


def test_a_multipart_answer_names_the_psap_and_the_urn() -> None:
    """RFC 6881 ED-78: the text part says who answered and that it was a test."""
    (answer,) = Line(SCRIPTS["multipart"]).send(call())
    media = read_answer(answer.body, str(answer.header("Content-Type")))
    assert media.what == "mirror"
    assert media.text.splitlines()[:2] == ["Boston PD", "urn:service:test.sos"]


def test_a_response_goes_where_the_request_came_from_and_says_so() -> None:
    """RFC 3581: received and rport are filled in."""
    (answer,) = Line(SCRIPTS["mirror"]).send(keepalive())
    assert answer.vias[0].received == "192.0.2.10"
    assert answer.vias[0].rport == 20_001


@pytest.mark.parametrize("request_", [call(), keepalive()], ids=["INVITE", "OPTIONS"])
def test_a_repeated_request_gets_the_same_octets(request_: Request) -> None:
    """RFC 3261 17.2: a final is said again, not made again."""
    line = Line(Script(invite=(Step(486),)))
    line.send(request_)
    line.send(request_)
    assert line.sent[0][1] == line.sent[1][1]
    assert len({octets for _at, octets, _to in line.sent}) == 1


def test_a_2xx_is_repeated_until_its_ack_and_absorbs_the_repeated_invite() -> None:
    """T1 doubling to T2 (13.3.1.4); RFC 6026 7.1 absorbs repeats of the INVITE meanwhile."""
    line, request = Line(SCRIPTS["no_bye"]), call()
    (answer,) = line.send(request)
    assert line.send(request) == []
    assert [at for at, _message in line.wait(12)] == [0.5, 1.5, 3.5, 7.5, 11.5]
    line.send(inside(request, answer, "ACK"))
    assert line.wait(60) == []


def test_without_an_ack_the_call_is_ended_at_64_t1() -> None:
    """32 s of repeating in vain, then BYE."""
    line = Line(SCRIPTS["mirror"])
    line.send(call())
    came = [(at, m) for at, m in line.wait(40) if isinstance(m, Request)]
    assert came[0][1].method == "BYE"
    assert 32 <= came[0][0] <= 36
    assert line.point.open_calls == 0


def test_a_refusal_is_repeated_until_its_ack() -> None:
    """Timer G on datagrams; on a stream once is enough."""
    line, request = Line(Script(invite=(Step(486),))), call()
    (refusal,) = line.send(request)
    assert [at for at, _message in line.wait(4)] == [0.5, 1.5, 3.5]
    line.send(ack_failure(request, refusal))
    assert line.wait(60) == []
    stream = Line(Script(invite=(Step(486),)), transport="tcp")
    stream.send(request)
    assert stream.wait(60) == []


def test_cancel_ends_what_rings() -> None:
    """200 to the CANCEL and 487 to the INVITE; without an INVITE 481."""
    line, request = Line(SCRIPTS["ringing_for_ever"]), call()
    assert [response.code for response in line.send(request)] == [100]
    assert [m.code for _at, m in line.wait(1) if isinstance(m, Response)] == [180]
    assert line.point.open_calls == 1
    codes = [(response.code, response.cseq[1]) for response in line.send(cancel(request))]
    assert codes == [(200, "CANCEL"), (487, "INVITE")]
    assert line.point.open_calls == 0
    stray = cancel(call("z9hG4bKother"))
    assert [response.code for response in line.send(stray)] == [481]


def test_expires_ends_an_unanswered_invitation() -> None:
    """487 by the far side itself, even if the caller died (RFC 3261 13.3.1)."""
    line = Line(SCRIPTS["expires"])
    line.send(call())
    ((at, answer),) = line.wait(5.4)
    assert isinstance(answer, Response)
    assert (at, answer.code) == (5.0, 487)
    assert line.point.open_calls == 0


def test_bye_ends_the_dialog_and_an_unknown_one_is_told() -> None:
    """200 inside the dialog, again when repeated, 481 where there is none."""
    line, request = Line(SCRIPTS["no_bye"]), call()
    (answer,) = line.send(request)
    line.send(inside(request, answer, "ACK"))
    bye = inside(request, answer, "BYE", 2)
    assert [response.code for response in line.send(bye)] == [200]
    assert [response.code for response in line.send(bye)] == [200]
    assert line.point.open_calls == 0
    (lost,) = line.send(
        in_dialog(WHO, dialog_of(lost_dialog(answer), request, ""), "z9hG4bKb", "BYE", 3)[0]
    )
    assert lost.code == 481


def lost_dialog(answer: Response) -> Response:
    """The same answer from somebody who never gave it."""
    headers = tuple((n, v.replace("tag1", "tag99")) for n, v in answer.headers)
    return Response(answer.code, answer.reason, headers)


@pytest.mark.parametrize(
    "urn",
    ["urn:service:sos", "urn:service:sos.test", "sip:psap@192.0.2.20", "urn:service:test:sos"],
)
def test_what_is_not_a_test_urn_is_refused_whatever_the_script_says(urn: str) -> None:
    """404: this can never take a real call."""
    line = Line(SCRIPTS["mirror"])
    assert [response.code for response in line.send(call(urn=urn))] == [404]
    assert line.point.open_calls == 0


def test_a_callback_is_an_invite_to_the_callers_contact() -> None:
    """The script that a test call must never meet; a refusal of it is acknowledged."""
    line, request = Line(SCRIPTS["callback"]), call()
    (answer,) = line.send(request)
    line.send(inside(request, answer, "ACK"))
    came = [m for _at, m in line.wait(1.2) if isinstance(m, Request) and m.method == "INVITE"]
    assert len(came) == 1
    assert came[0].uri == f"sip:probe@{CALLER}"
    assert came[0].call_id != request.call_id
    refusal = serialize(Response(603, "Decline", came[0].headers))
    line.point.receive(refusal, CALLER, line.now)
    ((ack, _to),) = line.point.data_to_send()
    assert ack.startswith(b"ACK ")


def test_forks_are_two_dialogs_that_end_one_by_one() -> None:
    """Two 2xx with different To tags; each wants its own ACK and BYE."""
    line, request = Line(SCRIPTS["forked"]), call()
    answers = line.send(request)
    answers += [m for _at, m in line.wait(0.1) if isinstance(m, Response)]
    assert len({answer.to_tag for answer in answers}) == 2
    assert line.point.open_calls == 2
    for number, answer in enumerate(answers):
        line.send(inside(request, answer, "ACK"))
        bye = in_dialog(WHO, dialog_of(answer, request, ""), f"z9hG4bKb{number}", "BYE", 2)[0]
        line.send(bye)
    assert line.point.open_calls == 0


def test_elsewhere_leaves_by_its_own_door() -> None:
    """What a script sends from another port is handed over apart."""
    line = Line(SCRIPTS["other_port"])
    assert line.send(keepalive()) == []
    ((octets, to),) = line.point.data_to_send_elsewhere()
    assert octets.startswith(b"SIP/2.0 200")
    assert to == CALLER


def test_bye_before_the_ack_and_bye_never() -> None:
    """Some hang up before they see the ACK, some never do."""
    line = Line(SCRIPTS["bye_before_ack"])
    line.send(call())
    came = [m.method for _at, m in line.wait(0.1) if isinstance(m, Request)]
    assert came == ["BYE"]
    line, request = Line(SCRIPTS["no_bye"]), call()
    (answer,) = line.send(request)
    line.send(inside(request, answer, "ACK"))
    assert line.wait(600) == []
    assert line.point.open_calls == 1, "a call that nobody ended must be seen"


def test_a_2xx_can_be_repeated_whatever_is_acknowledged() -> None:
    """Seven repeats in spite of the ACK, then BYE: how a lost ACK looks."""
    line, request = Line(SCRIPTS["repeated_200"]), call()
    (answer,) = line.send(request)
    line.send(inside(request, answer, "ACK"))
    came = [m for _at, m in line.wait(31)]
    assert [isinstance(m, Response) for m in came[:7]] == [True] * 7
    assert isinstance(came[7], Request)


@pytest.mark.parametrize("name", UNREADABLE)
def test_some_mangles_are_malformed(name: str) -> None:
    """What a strict reader must refuse is really sent so."""
    line = Line(SCRIPTS[name])
    line.point.receive(serialize(call()), CALLER, 0.0)
    ((octets, _to),) = line.point.data_to_send()
    with pytest.raises(Malformed):
        parse(octets)


@pytest.mark.parametrize("name", MANGLED)
def test_some_mangles_can_be_read(name: str) -> None:
    """Odd, but one message: it differs from the plain answer and still parses."""
    odd, plain = Line(SCRIPTS[name]), Line(SCRIPTS["mirror"])
    (answer,) = odd.send(call())
    plain.send(call())
    assert (answer.code, answer.call_id) == (200, "c@x")
    assert odd.sent[0][1] != plain.sent[0][1]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mirror", "mirror"), ("loopback_space", "mirror"), ("no_loopback", "no_loopback"),
        ("port_zero", "refused"), ("loopback_source", "source"), ("two_types", "bad"),
        ("recvonly", "bad"), ("no_sdp", "no_sdp"), ("text_only", "no_sdp"),
    ],
)  # fmt: skip
def test_each_answer_reads_as_what_it_is_named(name: str, what: str) -> None:
    """The SDP of a script is judged as the table of answers judges it."""
    (answer,) = Line(SCRIPTS[name]).send(call())
    assert read_answer(answer.body, answer.header("Content-Type") or "").what == what


@pytest.mark.parametrize("name", sorted(SCRIPTS.keys() - set(NOT_UNDERSTOOD)))
def test_a_caller_that_minds_the_rfc_leaves_no_call_open(name: str) -> None:
    """Against every script: ACK each final, BYE each 2xx, CANCEL after 8 s; nothing stays open."""
    line, request = Line(SCRIPTS[name]), call()
    pending = line.send(request)
    answered: set[str] = set()
    for _second in range(80):
        for answer in pending:
            if answer.cseq[1] != "INVITE" or answer.code < 200:
                continue
            if answer.code >= 300:
                line.send(ack_failure(request, answer))
                continue
            line.send(inside(request, answer, "ACK"))
            if answer.to_tag not in answered:
                answered.add(answer.to_tag)
                dialog = dialog_of(answer, request, "")
                line.send(in_dialog(WHO, dialog, f"z9hG4bK{answer.to_tag}", "BYE", 2)[0])
        if line.now == 8 and not answered:
            line.send(cancel(request))
        pending = [m for _at, m in line.wait(1) if isinstance(m, Response)]
    stays = {"cancel_unanswered": 1}  # until its transaction is forgotten, after 180 s
    assert line.point.open_calls == stays.get(name, 0)


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_call_that_the_caller_never_understood_is_ended_by_the_far_side(name: str) -> None:
    """Whatever its 200 looked like, without an ACK the answering point hangs up."""
    line = Line(SCRIPTS[name])
    line.point.receive(serialize(call()), CALLER, 0.0)
    while (due := line.point.next_timer()) is not None and due <= 70:
        line.point.handle_timer(due)
    assert line.point.open_calls == 0


def test_hanging_up_ends_a_call_whose_answer_was_lost() -> None:
    """BYE goes to the caller's Contact, and the 200 is not repeated any more."""
    line = Line(SCRIPTS["mirror"])
    line.send(call())
    assert line.point.open_calls == 1
    line.point.hang_up(line.now)
    ((octets, to),) = line.point.data_to_send()
    assert octets.startswith(b"BYE sip:")
    assert to == CALLER
    assert line.point.open_calls == 0
    came = [message for _at, message in line.wait(70)]
    assert {each.method for each in came if isinstance(each, Request)} <= {"BYE"}
    assert [each for each in came if isinstance(each, Response)] == []


def test_nothing_is_kept_for_ever() -> None:
    """A day of keep-alives and calls leaves no transaction and no dialog behind."""
    line = Line(SCRIPTS["mirror"])
    for number in range(2_000):
        line.send(keepalive(f"z9hG4bKk{number}"))
        request = call(f"z9hG4bKc{number}")
        (answer,) = line.send(request)
        line.send(inside(request, answer, "ACK"))
        line.wait(40)
    assert len(line.point._transactions) < 10
    assert len(line.point._dialogs) < 10
    assert len(line.point._kept.ended) < 10
    assert len(line.point.log) == line.point.log.maxlen


def test_a_flood_is_bounded() -> None:
    """Beyond its bound requests go unanswered rather than into memory."""
    line = Line(SCRIPTS["mirror"])
    for number in range(TRANSACTIONS_MAX + 50):
        line.point.receive(serialize(keepalive(f"z9hG4bKf{number}")), CALLER, 0.0)
    assert len(line.point.data_to_send()) == TRANSACTIONS_MAX


@pytest.mark.parametrize(
    "octets", [b"", b"\r\n\r\n", b"\x00\xff", b"INVITE\r\n\r\n", b"OPTIONS x SIP/2.0\r\n\r\n"]
)
def test_garbage_is_counted_and_not_answered(octets: bytes) -> None:
    """Whatever comes in, nothing is raised."""
    line = Line(SCRIPTS["mirror"])
    line.point.receive(octets, CALLER, 0.0)
    assert line.point.data_to_send() == []
    assert line.point.unreadable == 1
