"""What looks like a person is ended at once and told: ringing, ordinary audio, a callback."""

from __future__ import annotations

import pytest

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind
from psapwatch.sip.call import CallPlan
from psapwatch.sip.wire import Request
from sip.line import STRANGER, CallLine

HOLD = CallPlan(hold_s=2.0)


@pytest.mark.parametrize("code", [180, 181, 182, 183, 199])
def test_what_was_not_heard_at_commissioning_is_cancelled_at_once(code: int) -> None:
    """It looks like a ringing phone: UNSAFE once, CANCEL in the same moment."""
    line = CallLine()
    line.until(0.2)
    line.answer(code)
    assert line.times("CANCEL") == [0.2]
    facts = line.facts(Kind.UNSAFE)
    assert facts["why"] == "ringing"
    assert str(code) in str(facts["detail"])
    line.answer(code)
    assert len(line.told(Kind.UNSAFE)) == 1
    assert len(line.all("CANCEL")) == 1
    line.answer(487)
    assert line.ended() == ("cancelled", True)
    line.settle()


def test_a_provisional_heard_at_commissioning_is_allowed() -> None:
    """The supervised first call recorded 183: the call goes on."""
    line = CallLine(CallPlan(provisionals_allowed=frozenset({100, 183})))
    line.answer(183)
    assert line.told(Kind.UNSAFE) == []
    assert line.names() == ["INVITE"]
    line.accept()
    assert line.names() == ["INVITE", "ACK", "BYE"]


def test_ringing_after_we_gave_up_is_cancelled_and_told() -> None:
    """A late 180 is as unsafe as an early one."""
    line = CallLine()
    line.until(9.0)
    line.answer(180)
    assert line.times("CANCEL") == [9.0]
    assert line.facts(Kind.UNSAFE)["why"] == "ringing"


def test_audio_without_loopback_is_unsafe() -> None:
    """An ordinary call was accepted: ACK and BYE at once, and the alarm."""
    line = CallLine(HOLD)
    line.answer(200, body=b"v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 4000 RTP/AVP 0\r\n")
    assert line.names() == ["INVITE", "ACK", "BYE"]
    assert line.facts(Kind.ANSWER)["what"] == "no_loopback"
    assert line.facts(Kind.UNSAFE)["why"] == "no_loopback"


@pytest.mark.parametrize(
    ("text", "is_unsafe"),
    [
        ("Town PSAP\r\nurn:service:sos\r\n", True),
        ("Town PSAP\r\nURN:service:SOS.police\r\n", True),
        ("Town PSAP\r\nurn:service:sos.tester\r\n", True),
        ("Town PSAP\r\nurn:service:test.sos\r\n", False),
        ("Town PSAP\r\nurn:service:sos.test\r\n", False),  # the order mistaken, not the meaning
    ],
)
def test_text_that_names_the_live_service_is_unsafe(text: str, *, is_unsafe: bool) -> None:
    """The text part of a 200 says which service took the call (ED-78)."""
    line = CallLine()
    line.answer(200, body=text.encode(), kind="text/plain")
    assert [seen["why"] for seen in line.told(Kind.UNSAFE)] == (["live_urn"] if is_unsafe else [])
    assert line.names() == ["INVITE", "ACK", "BYE"]


def callback(to: str = "<sip:911-path-test@example.net>") -> Request:
    """An INVITE to us, outside every dialog."""
    return Request(
        "INVITE",
        "sip:somebody@198.51.100.7:20000",
        (
            ("Via", "SIP/2.0/UDP 192.0.2.20:5070;branch=z9hG4bKback;rport"),
            ("From", "<sip:taker@psap.example.gov>;tag=t"),
            ("To", to),
            ("Call-ID", "their-call"),
            ("CSeq", "1 INVITE"),
        ),
    )


def test_a_call_back_to_us_is_declined_and_unsafe() -> None:
    """603, UNSAFE, and our own call is ended: its INVITE was heard, so CANCEL leaves."""
    line = CallLine()
    line.answer(100, tag="")
    line.receive(callback(), Address("192.0.2.20", 5070))
    assert line.names() == ["INVITE", "603", "CANCEL"]
    assert line.facts(Kind.UNSAFE) == {"why": "callback", "detail": "192.0.2.20:5070"}


def test_a_strangers_invite_is_no_callback() -> None:
    """Who neither names us nor sits where we call cannot stop a PSAP's tests."""
    line = CallLine(HOLD)
    line.accept()
    line.receive(callback("<sip:100@198.51.100.7>"), STRANGER)
    assert line.told(Kind.UNSAFE) == []
    assert line.names() == ["INVITE", "ACK"]


def test_a_fork_without_loopback_is_unsafe() -> None:
    """Each answerer is judged."""
    line = CallLine()
    line.accept(tag="one")
    line.answer(200, tag="two", body=b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n")
    assert line.facts(Kind.UNSAFE)["why"] == "no_loopback"
    assert len(line.all("BYE")) == 2
