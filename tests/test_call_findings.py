"""What a call's answer, media and far-end report are taken to mean."""

from __future__ import annotations

from typing import Any

import pytest

from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.evidence import Evidence, Fact, Kind, Observation, Packet
from psapwatch.sip.saw import Saw
from psapwatch.verdict import Cause, Outcome, Plane, Verdict

INVITE = (
    b"INVITE urn:service:test.sos SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc;rport\r\n"
    b"From: <sip:a@example.net>;tag=1\r\nTo: <urn:service:test.sos>\r\nCall-ID: x\r\n"
    b"CSeq: 1 INVITE\r\nContact: <sip:path-test@192.0.2.1:5060>\r\nMax-Forwards: 70\r\n"
    b"Content-Type: application/sdp\r\nContent-Length: 65\r\n\r\n"
    b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 40000 RTP/AVP 0 8 112 113\r\na=x\r\n"
)
SENT = Saw(
    via="192.0.2.1:5060", branch="z9hG4bKabc", contact="sip:path-test@192.0.2.1:5060",
    media="192.0.2.1:40000",
)  # fmt: skip


def response(**more: Fact) -> Observation:
    """A 200 to INVITE."""
    facts: dict[str, Fact] = {
        "code": 200, "method": "INVITE", "source": "198.51.100.2:5060", "from_peer": True,
        "server": "", "contact": "", "to_tag": "t", "phase_s": 0.02, "late": False,
    }  # fmt: skip
    return Observation(Kind.RESPONSE, 0.02, {**facts, **more})


def answer(text: str = "", **more: Fact) -> Observation:
    """A mirror's answer."""
    return Observation(Kind.ANSWER, 0.02, {"what": "mirror", "detail": "", "text": text, **more})


def heard(**more: Fact) -> Observation:
    """Media of which nothing came back."""
    facts: dict[str, Fact] = {
        "mode": "encaprtp", "remote": "198.51.100.2:30000", "source": "", "sent": 10,
        "counted": 10, "echoed": 0, "lost": 10, "forward_lost": None, "reverse_lost": None,
        "rejected": "", "far_heard": None, "far_told": None,
        "ended_by": "far", "ended_after_s": 0.52,
    }  # fmt: skip
    return Observation(Kind.MEDIA, 0.6, {**facts, **more})


def judged(*seen: Observation, **case: Any) -> Verdict:
    """The verdict on a call that saw this."""
    evidence = Evidence(
        "a", "p", "e", "f", "udp", "c", "call", "l", "s", "i", 0.0, 1.0, seen,
        (Packet(0.0, "out", "198.51.100.2:5060", INVITE),),
    )  # fmt: skip
    return diagnose(Case(evidence, **case))


ECHOED: dict[str, Fact] = {"echoed": 3, "counted": 3, "lost": 0, "source": "198.51.100.2:30000"}


@pytest.mark.parametrize(
    ("facts", "outcome", "cause", "words"),
    [
        (ECHOED, Outcome.PASS, Cause.NONE, ""),
        ({}, Outcome.FAIL, Cause.MEDIA_BLOCKED, "after 0.52 s, as one that heard nothing"),
        ({"ended_after_s": 0.07}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "reverse: none of 10"),
        ({"ended_after_s": 0.33}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "reverse"),
        ({"ended_after_s": 0.02}, Outcome.FAIL, Cause.MEDIA_BLOCKED, "heard nothing"),
        ({"ended_after_s": 2.0}, Outcome.FAIL, Cause.MEDIA_BLOCKED, "heard nothing"),
        ({"ended_by": "us"}, Outcome.FAIL, Cause.MEDIA_BLOCKED, "neither reports nor hangs up"),
        ({"far_heard": 0}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "forward: none of 10"),
        ({"far_heard": 10}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "reports that it heard 10"),
        ({"far_told": 10}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "reverse: none of 10"),
        ({"far_told": 0, "ended_after_s": 0.07}, Outcome.FAIL, Cause.MEDIA_BLOCKED, "heard 0"),
        ({"far_heard": 0, "far_told": 0}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "forward"),
        ({"far_heard": 0, "ended_by": "us"}, Outcome.FAIL, Cause.ONE_WAY_MEDIA, "forward"),
        ({"rejected": "3/13 from 203.0.113.1"}, Outcome.FAIL, Cause.MEDIA_BLOCKED, "203.0.113.1"),
        ({"sent": 1, "ended_after_s": 0.01}, Outcome.PASS, Cause.NONE, ""),
        ({**ECHOED, "source": "198.51.100.2:30002"}, Outcome.DEGRADED, Cause.UNREACHABLE, ":30002"),
        ({**ECHOED, "counted": 49, "lost": 20}, Outcome.PASS, Cause.NONE, ""),
        ({**ECHOED, "counted": 100, "lost": 4}, Outcome.PASS, Cause.NONE, ""),
        (
            {**ECHOED, "counted": 100, "lost": 5, "forward_lost": 4, "reverse_lost": 1},
            Outcome.DEGRADED, Cause.INTERMITTENT_LOSS, "4 on the way there, 1 on the way back",
        ),
        ({**ECHOED, "counted": 100, "lost": 50}, Outcome.DEGRADED, Cause.INTERMITTENT_LOSS, "50"),
    ],
)  # fmt: skip
def test_media(facts: dict[str, Fact], outcome: Outcome, cause: Cause, words: str) -> None:
    """Cause and direction by what came back, what the far side reports, and when it hangs up."""
    verdict = judged(response(), answer(), heard(**facts))
    assert (verdict.outcome, verdict.cause) == (outcome, cause)
    assert words in verdict.why
    if cause in (Cause.MEDIA_BLOCKED, Cause.ONE_WAY_MEDIA):
        assert verdict.plane is Plane.MEDIA


def test_a_slow_path_puts_the_prompt_bye_off() -> None:
    """The round trip of signalling is taken off before the far side is called slow."""
    slow = response(phase_s=0.8)
    assert judged(slow, answer(), heard(ended_after_s=0.9)).cause is Cause.ONE_WAY_MEDIA


@pytest.mark.parametrize(
    ("text", "contact", "outcome"),
    [
        ("Boston PD\r\nurn:service:test.sos\r\n", "", Outcome.PASS),
        ("\r\n  boston  pd \r\n", "", Outcome.PASS),
        ("Cambridge ECC\r\nurn:service:test.sos", "", Outcome.DEGRADED),
        ("Somerville PD\r\nurn:service:test.sos", "", Outcome.FAIL),
        ("Somerville PD", "<sip:boston-pd@198.51.100.2>", Outcome.FAIL),
        ("", "<sip:boston-pd@198.51.100.2>", Outcome.PASS),
        ("", '"Cambridge ECC" <sip:ua@198.51.100.2>', Outcome.DEGRADED),
        ("", "<sip:cambridge-ecc@198.51.100.2:5060>", Outcome.DEGRADED),
        ("", "<sip:ua-17@198.51.100.2>", Outcome.PASS),
        ("", "", Outcome.PASS),
    ],
)
def test_identity(text: str, contact: str, outcome: Outcome) -> None:
    """Expected, an alternate, somebody else; a Contact that names a machine proves nothing."""
    verdict = judged(
        response(contact=contact), answer(text), heard(**ECHOED),
        expected_name="Boston PD", alternates=("Cambridge ECC",),
    )  # fmt: skip
    assert verdict.outcome is outcome
    assert verdict.cause is (Cause.NONE if outcome is Outcome.PASS else Cause.MISROUTED)


def test_another_answering_points_media_say_nothing_of_this_one() -> None:
    """Misrouted goes before mute."""
    verdict = judged(response(), answer("Somerville PD"), heard(), expected_name="Boston PD")
    assert verdict.cause is Cause.MISROUTED


def test_unsafe_goes_before_everything() -> None:
    """Foreign media in a call to another PSAP is unsafe first of all."""
    unsafe = Observation(Kind.UNSAFE, 0.1, {"why": "foreign_media", "detail": "sound"})
    verdict = judged(response(), answer("X"), heard(), unsafe, expected_name="Boston PD")
    assert verdict.cause is Cause.UNSAFE_ANSWER


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ""),
        ({"via": "203.0.113.1:1024"}, "via 192.0.2.1:5060 arrived as 203.0.113.1:1024"),
        ({"contact": "sip:path-test@203.0.113.1:1024"}, "contact sip:path-test@192.0.2.1:5060"),
        ({"media": "203.0.113.1:40000"}, "media 192.0.2.1:40000 arrived as 203.0.113.1:40000"),
        ({"media": ""}, "media 192.0.2.1:40000 arrived as"),
        ({"via": "203.0.113.1", "branch": "z9hG4bKother"}, ""),
        ({"source": "203.0.113.1:1024", "size": "1"}, ""),
    ],
)
def test_rewriting(changes: dict[str, str], named: str) -> None:
    """Our branch with other addresses is a gateway; another branch a proxy, another source NAT."""
    plain = {f: getattr(SENT, f) for f in ("via", "branch", "contact", "media")}
    saw = str(Saw(**{**plain, **changes}))
    verdict = judged(response(saw=saw), answer(), heard(**ECHOED))
    assert verdict.cause is (Cause.ALG_REWRITE if named else Cause.NONE)
    assert named in verdict.why


@pytest.mark.parametrize("header", ["", "1", "x" * 5_000, '1;via="', '1;color="red"', "\x00"])
def test_a_strange_header_of_that_name_is_no_report(header: str) -> None:
    """Whoever sends one that is not ours, nothing follows from it."""
    assert judged(response(saw=header), answer(), heard(**ECHOED)).cause is Cause.NONE


def test_what_was_seen_cannot_break_out_of_its_header() -> None:
    """Quotes, line ends and other alphabets in what a stranger sent stay harmless."""
    evil = 'sip:a"@b\r\nX: y;z\\ é'
    text = str(Saw("udp", "1.2.3.4:5", "h", "z9", evil, "", "9", ""))
    assert "\r" not in text
    assert "\n" not in text
    read = Saw.parse(text)
    assert read is not None
    assert read.contact == "sip:a_@b__X: y_z_ _"


@pytest.mark.parametrize(
    ("echo", "cause"), [("", Cause.NONE), ("same", Cause.NONE), ("other", Cause.ALG_REWRITE)]
)
def test_location_that_is_read_back(echo: str, cause: Cause) -> None:
    """Another place than was sent was changed on the way."""
    assert judged(response(), answer(location=echo), heard(**ECHOED)).cause is cause


def test_a_refused_location_is_our_own_fault() -> None:
    """Geolocation-Error in a 200: the path is healthy, our location is not (RFC 6442 4.3)."""
    verdict = judged(response(geolocation_error='100 ;code="x"'), answer(), heard(**ECHOED))
    assert (verdict.outcome, verdict.cause) == (Outcome.DEGRADED, Cause.PROBER_FAULT)
