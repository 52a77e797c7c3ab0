"""One OPTIONS exchange: its answers, its silence, its errors, and who may ask us."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Address, Credentials
from psapwatch.evidence import Kind, Observation
from psapwatch.sip.wire import Request
from sip.line import CHALLENGE, PEER, STRANGER, OptionsLine, answer_to

USER = Credentials("probe", "secret")


def test_an_answer_ends_the_attempt_and_says_who_gave_it() -> None:
    """A 200 is one RESPONSE with its facts, and the machine closes after Timer K."""
    line = OptionsLine()
    line.until(0.08)
    line.answer(200, "OPTIONS", headers=(("Server", "desk/1"), ("Contact", "<sip:d@h>")))
    assert line.is_over()
    assert line.facts(Kind.RESPONSE) == {
        "code": 200,
        "method": "OPTIONS",
        "source": "192.0.2.10:5060",
        "from_peer": True,
        "server": "desk/1",
        "contact": "<sip:d@h>",
        "to_tag": "far",
        "phase_s": 0.08,
        "late": False,
    }
    line.until(5.07)
    assert not line.is_closed()
    line.until(5.08)
    assert line.is_closed()
    assert line.names() == ["OPTIONS"]


def test_the_long_silence_has_the_transmissions_of_the_rfc() -> None:
    """With patience beyond Timer F: eleven transmissions, and silence told at 32 s."""
    line = OptionsLine(give_up_after_s=60.0)
    line.until(100.0)
    assert line.times("OPTIONS") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    (silent,) = line.told(Kind.SILENT)
    assert (silent.at_s, dict(silent.facts)) == (32.0, {"method": "OPTIONS", "after_s": 32.0})
    assert line.is_closed()
    assert [seen["nth"] for seen in line.told(Kind.SENT)] == list(range(1, 12))


def test_giving_up_stops_the_transmissions_and_goes_on_listening() -> None:
    """At 4 s the attempt is over; a late answer is told as late; Timer F closes it."""
    line = OptionsLine()
    line.until(4.0)
    assert line.is_over()
    assert line.facts(Kind.SILENT)["after_s"] == 4.0
    line.until(20.0)
    assert line.times("OPTIONS") == [0, 0.5, 1.5, 3.5]
    line.answer(200, "OPTIONS")
    assert line.facts(Kind.RESPONSE)["late"] is True
    line.until(32.0)
    assert line.is_closed()
    assert len(line.told(Kind.SILENT)) == 1


def test_giving_up_comes_before_a_transmission_of_the_same_moment() -> None:
    """A deadline that falls on Timer E sends nothing more."""
    line = OptionsLine(give_up_after_s=3.5)
    line.until(10.0)
    assert line.times("OPTIONS") == [0, 0.5, 1.5]


def test_a_provisional_is_told_and_awaited() -> None:
    """100 and then silence: both are facts."""
    line = OptionsLine()
    line.until(0.1)
    line.answer(100, "OPTIONS")
    assert not line.is_over()
    line.until(4.0)
    assert [seen["code"] for seen in line.told(Kind.RESPONSE)] == [100]
    assert line.is_over()


def test_a_challenge_is_answered_once() -> None:
    """22.2: credentials, new branch, next CSeq; the phase is that of the second request."""
    line = OptionsLine(credentials=USER)
    line.until(0.2)
    line.answer(401, "OPTIONS", headers=(("WWW-Authenticate", CHALLENGE),))
    first, second = line.all("OPTIONS")
    assert second.cseq == (2, "OPTIONS")
    assert second.vias[0].branch != first.vias[0].branch
    assert str(second.header("Authorization")).startswith("Digest ")
    assert not line.is_over()
    line.until(0.3)
    line.answer(200, "OPTIONS")
    assert line.told(Kind.RESPONSE)[-1]["phase_s"] == pytest.approx(0.1)
    assert line.is_over()


def test_a_second_challenge_is_the_verdict() -> None:
    """Credentials that are refused are not tried again."""
    line = OptionsLine(credentials=USER)
    for _round in range(2):
        line.answer(407, "OPTIONS", headers=(("Proxy-Authenticate", CHALLENGE),))
    assert line.is_over()
    assert line.names() == ["OPTIONS", "OPTIONS"]
    assert [seen["code"] for seen in line.told(Kind.RESPONSE)] == [407, 407]


@pytest.mark.parametrize("credentials", [None, USER])
def test_a_challenge_that_cannot_be_answered_is_the_verdict(
    credentials: Credentials | None,
) -> None:
    """Without credentials, or for a nonce that could not be sent back."""
    line = OptionsLine(credentials=credentials)
    nul = CHALLENGE.replace("psap", "ps\0p")
    response = answer_to(line.last("OPTIONS"), 401, headers=(("WWW-Authenticate", nul),))
    line.machine.receive(response, 0.0, 0.0, PEER)
    line.take()
    assert line.is_over()
    assert line.names() == ["OPTIONS"]


def test_repeated_finals_are_counted() -> None:
    """A repeated 200 is no second answer."""
    line = OptionsLine()
    for _copy in range(3):
        line.answer(200, "OPTIONS")
    assert len(line.told(Kind.RESPONSE)) == 1
    assert [seen["count"] for seen in line.told(Kind.REPEATED)] == [1, 2]


def test_icmp_ends_the_attempt_and_a_late_answer_is_still_heard() -> None:
    """18.4: unreachable is a failure; nothing more leaves; the socket listens on."""
    line = OptionsLine()
    line.icmp(3, 3)
    assert line.is_over()
    line.until(10.0)
    assert line.times("OPTIONS") == [0]
    line.answer(200, "OPTIONS")
    assert line.facts(Kind.RESPONSE)["late"] is True


@pytest.mark.parametrize(
    ("family", "icmp_type", "code"),
    [(4, 11, 0), (4, 11, 1), (4, 4, 0), (4, 3, 4), (6, 3, 0), (6, 2, 0)],
)
def test_icmp_that_is_only_noted(family: int, icmp_type: int, code: int) -> None:
    """18.4: time exceeded and source quench are ignored; too big is the size's business."""
    line = OptionsLine()
    line.icmp(icmp_type, code, family)
    assert not line.is_over()
    assert len(line.told(Kind.ICMP)) == 1


@pytest.mark.parametrize(
    ("family", "icmp_type", "code"),
    [(4, 3, 0), (4, 3, 1), (4, 3, 2), (4, 3, 3), (4, 3, 13), (4, 12, 0), (6, 1, 1), (6, 1, 4)],
)
def test_icmp_that_ends_the_attempt(family: int, icmp_type: int, code: int) -> None:
    """18.4: host, network, port, protocol unreachable and parameter problem; prohibitions."""
    line = OptionsLine()
    line.icmp(icmp_type, code, family)
    assert line.is_over()


@pytest.mark.parametrize("kind", [Kind.CONNECTION_LOST, Kind.TLS_FAILED, Kind.LOCAL_ERROR])
def test_a_lost_connection_closes_it(kind: Kind) -> None:
    """No answer can come any more: it is over and closed at once."""
    line = OptionsLine(reliable=True)
    line.fail(kind, error="reset")
    assert line.is_over()
    assert line.is_closed()
    assert line.machine.next_timer() is None


def test_ending_forgets_it() -> None:
    """The daemon stops: an OPTIONS holds nothing open."""
    line = OptionsLine()
    line.end()
    assert line.is_closed()
    assert line.names() == ["OPTIONS"]


def test_strays_are_discarded_by_their_reason() -> None:
    """8.1.3.3, 17.1.3, 18.1.2: two Vias, another branch, another sent-by."""
    line = OptionsLine()
    request = line.last("OPTIONS")
    good = answer_to(request, 200)
    via = str(request.header("Via"))
    for other in (
        f"{via}, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK9",
        via.replace("branch=", "branch=z9hG4bKx"),
        via.replace("198.51.100.7", "203.0.113.1"),
    ):
        headers = tuple((n, other if n == "Via" else value) for n, value in good.headers)
        line.receive(type(good)(200, "OK", headers))
    reasons = [seen["why"] for seen in line.told(Kind.DISCARDED)]
    assert reasons == ["many_vias", "no_match", "sent_by"]
    assert not line.is_over()


def test_what_is_malformed_is_noted() -> None:
    """It is evidence; the verdict comes from what follows."""
    line = OptionsLine()
    line.machine.malformed(b"?", Observation(Kind.MALFORMED, 0.0, {"code": 200}), 0.0, PEER)
    line.take()
    assert len(line.told(Kind.MALFORMED)) == 1
    assert not line.is_over()


def test_an_answer_from_elsewhere_is_told_as_such() -> None:
    """The source is no part of matching, but of the evidence."""
    line = OptionsLine()
    line.answer(200, "OPTIONS", source=Address("192.0.2.10", 5061))
    assert line.facts(Kind.RESPONSE)["from_peer"] is False


def asked(method: str, to: str = "<sip:911-path-test@example.net>", via: str = ";rport") -> Request:
    """A request from outside any dialog."""
    return Request(
        method,
        "sip:somebody@198.51.100.7:20000",
        (
            ("Via", f"SIP/2.0/UDP 192.0.2.20:5070;branch=z9hG4bKx{via}"),
            ("From", "<sip:them@192.0.2.20>;tag=t"),
            ("To", to),
            ("Call-ID", "another-call"),
            ("CSeq", f"1 {method}"),
        ),
    )


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("OPTIONS", "200"),
        ("INVITE", "603"),
        ("BYE", "481"),
        ("CANCEL", "481"),
        ("MESSAGE", "405"),
        ("REFER", "405"),
    ],
)
def test_what_the_far_side_is_told(method: str, code: str) -> None:
    """Outside a dialog: OPTIONS yes, a callback never, the rest as RFC 3261 has it."""
    line = OptionsLine()
    line.receive(asked(method), Address("192.0.2.20", 5070))
    assert line.names() == ["OPTIONS", code]
    assert line.facts(Kind.REQUEST_IN)["method"] == method
    assert line.sent[-1].message.all("Allow") == ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
    assert bool(line.told(Kind.UNSAFE)) is (method == "INVITE")


def test_an_ack_is_never_answered() -> None:
    """Of the ACK to our 603 only the fact remains."""
    line = OptionsLine()
    line.receive(asked("ACK"))
    assert line.names() == ["OPTIONS"]


@pytest.mark.parametrize(
    ("via", "port"), [(";rport", 40_000), ("", 5070), (";received=192.0.2.20", 5070)]
)
def test_where_a_response_goes(via: str, port: int) -> None:
    """18.2.2: to where the request came from; the port is Via's unless rport asks otherwise."""
    line = OptionsLine()
    line.receive(asked("OPTIONS", via=via), Address("192.0.2.20", 40_000))
    assert line.sent[-1].uri == f"sip:192.0.2.20:{port}"


def test_over_a_stream_a_response_goes_back_along_it() -> None:
    """18.2.2: the connection that the request came over."""
    line = OptionsLine(reliable=True)
    line.receive(asked("OPTIONS", via=""), PEER)
    assert line.sent[-1].uri == f"sip:{PEER}"


def test_a_response_over_ipv6_has_its_brackets() -> None:
    """RFC 3261 25.1: an IPv6 reference stands in brackets."""
    line = OptionsLine()
    line.receive(asked("OPTIONS"), Address("2001:db8::1", 5070))
    assert line.sent[-1].uri == "sip:[2001:db8::1]:5070"


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_strangers_are_told_nothing(method: str) -> None:
    """A scanner on an open port gets no answer, and its INVITE is no callback."""
    line = OptionsLine()
    line.receive(asked(method, to="<sip:100@198.51.100.7>"), STRANGER)
    assert line.names() == ["OPTIONS"]
    assert line.told(Kind.UNSAFE) == []
    assert line.facts(Kind.REQUEST_IN)["source"] == str(STRANGER)


def test_a_repeated_request_gets_the_same_tag() -> None:
    """8.2.6.2: all responses to one request carry one To tag."""
    line = OptionsLine()
    for _copy in range(2):
        line.receive(asked("INVITE"))
    tags = {one.message.to_tag for one in line.sent if one.name == "603"}
    assert len(tags) == 1
