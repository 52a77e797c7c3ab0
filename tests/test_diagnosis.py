"""From evidence to a verdict: every row of the response tables, and what has no response."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.baseline import Baseline
from psapwatch.case import Case
from psapwatch.diagnosis import RULES, Rule, diagnose
from psapwatch.evidence import Evidence, Fact, Kind, Observation
from psapwatch.responses import meaning_of
from psapwatch.verdict import Cause, Outcome, Plane, Verdict


def _seen(kind: Kind, at_s: float = 0.1, **facts: Fact) -> Observation:
    return Observation(kind, at_s, facts)


def _response(code: int, method: str = "OPTIONS", **facts: Fact) -> Observation:
    plain: dict[str, Fact] = {
        "code": code,
        "method": method,
        "source": "198.51.100.9:5060",
        "from_peer": True,
        "server": "",
        "contact": "",
        "to_tag": "t",
        "phase_s": 0.02,
        "late": False,
    }
    return Observation(Kind.RESPONSE, 0.1, plain | facts)


_NO_BASELINE = Baseline()


def _judge(*seen: Observation, baseline: Baseline = _NO_BASELINE) -> Verdict:
    evidence = Evidence(
        "a", "ma-boston", "east", "fw-east", "udp", "check", "options", "198.51.100.9:5060",
        "192.0.2.10", "c", 1.7e9, 1.0,
        (_seen(Kind.SENT, 0.0, method="OPTIONS", nth=1, size=400), *seen),
    )  # fmt: skip
    return diagnose(Case(evidence, baseline))


_P, _D, _F, _I = Outcome.PASS, Outcome.DEGRADED, Outcome.FAIL, Outcome.INCONCLUSIVE

# code: (outcome to OPTIONS, cause), (outcome to INVITE, cause); RFC 3261 21, RFC 6881 15
_ROWS: list[tuple[int, tuple[Outcome, Cause], tuple[Outcome, Cause]]] = [
    (202, (_P, Cause.NONE), (_P, Cause.NONE)),
    (302, (_D, Cause.MISROUTED), (_F, Cause.MISROUTED)),
    (400, (_I, Cause.PROBER_FAULT), (_I, Cause.PROBER_FAULT)),
    (401, (_P, Cause.NONE), (_D, Cause.TEST_CALL_REFUSED)),
    (403, (_D, Cause.EXPLICIT_REJECT), (_D, Cause.TEST_CALL_REFUSED)),
    (404, (_D, Cause.PSAP_ENDPOINT), (_D, Cause.TEST_CALL_REFUSED)),
    (405, (_P, Cause.NONE), (_F, Cause.MISROUTED)),
    (407, (_P, Cause.NONE), (_D, Cause.TEST_CALL_REFUSED)),
    (408, (_F, Cause.CALLS_BLOCKED), (_F, Cause.CALLS_BLOCKED)),
    (410, (_F, Cause.MISROUTED), (_F, Cause.MISROUTED)),
    (416, (_P, Cause.NONE), (_D, Cause.TEST_CALL_REFUSED)),
    (480, (_D, Cause.PSAP_ENDPOINT), (_D, Cause.PSAP_ENDPOINT)),
    (482, (_F, Cause.MISROUTED), (_F, Cause.MISROUTED)),
    (483, (_F, Cause.MISROUTED), (_F, Cause.MISROUTED)),
    (486, (_D, Cause.PSAP_ENDPOINT), (_D, Cause.TEST_CALL_REFUSED)),
    (488, (_D, Cause.PSAP_ENDPOINT), (_D, Cause.TEST_CALL_REFUSED)),
    (500, (_F, Cause.SERVICE_UNAVAILABLE), (_F, Cause.SERVICE_UNAVAILABLE)),
    (501, (_P, Cause.NONE), (_F, Cause.MISROUTED)),
    (503, (_F, Cause.SERVICE_UNAVAILABLE), (_F, Cause.SERVICE_UNAVAILABLE)),
    (504, (_F, Cause.CALLS_BLOCKED), (_F, Cause.CALLS_BLOCKED)),
    (513, (_I, Cause.PROBER_FAULT), (_D, Cause.CONTENT_BLOCKED)),
    (600, (_D, Cause.PSAP_ENDPOINT), (_D, Cause.TEST_CALL_REFUSED)),
    (603, (_D, Cause.PSAP_ENDPOINT), (_D, Cause.TEST_CALL_REFUSED)),
    (604, (_F, Cause.MISROUTED), (_F, Cause.MISROUTED)),
]


@pytest.mark.parametrize(("code", "to_options", "to_invite"), _ROWS)
def test_response_rows(
    code: int, to_options: tuple[Outcome, Cause], to_invite: tuple[Outcome, Cause]
) -> None:
    """Each final response means what its row says, for both methods."""
    for method, expected in (("OPTIONS", to_options), ("INVITE", to_invite)):
        verdict = _judge(_response(code, method))
        assert (verdict.outcome, verdict.cause) == expected


@pytest.mark.parametrize("code", [299, 399, 450, 499, 555, 599, 666, 699])
@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
def test_unknown_codes_count_as_their_class(code: int, method: str) -> None:
    """A code that nobody registered means what x00 means (RFC 3261 8.1.3.2)."""
    unknown = meaning_of(code, method, usual_pass=False, retry_after=False)
    of_class = 200 if code < 300 else code // 100 * 100
    assert unknown == meaning_of(of_class, method, usual_pass=False, retry_after=False)


@pytest.mark.parametrize(
    ("code", "cause"),
    [(403, Cause.EXPLICIT_REJECT), (603, Cause.EXPLICIT_REJECT), (404, Cause.MISROUTED)],
)
def test_a_first_refusal_after_passes_is_suspected(code: int, cause: Cause) -> None:
    """Rule B: where 2xx was usual, a first refusal is taken for a policy on the way."""
    verdict = _judge(_response(code, "INVITE"), baseline=Baseline(usual_code=200))
    assert (verdict.outcome, verdict.cause) == (_F, cause)


def test_a_503_that_names_a_time_proves_the_path() -> None:
    """Retry-After is the far end's own word."""
    verdict = _judge(_response(503, "INVITE", retry_after="120"))
    assert (verdict.outcome, verdict.cause) == (_D, Cause.SERVICE_UNAVAILABLE)


_SILENT = _seen(Kind.SILENT, 4.0, method="OPTIONS", after_s=4.0)

_WITHOUT_A_RESPONSE: list[tuple[tuple[Observation, ...], Outcome, Cause, Plane]] = [
    (
        (_seen(Kind.MALFORMED, code=200, why="no CSeq", source="x"),),
        _D,
        Cause.MALFORMED_RESPONSE,
        Plane.SIGNALLING,
    ),
    ((_SILENT,), _F, Cause.CALLS_BLOCKED, Plane.PATH),
    ((_response(100), _SILENT), _F, Cause.FINAL_RESPONSE_LOST, Plane.SIGNALLING),
    ((_seen(Kind.LOCAL_ERROR, error="EMFILE", detail=""),), _I, Cause.PROBER_FAULT, Plane.SELF),
    ((_seen(Kind.NOT_TRIED, why="too soon"),), _I, Cause.NONE, Plane.SELF),
    (
        (_seen(Kind.NAME_ERROR, name="x.example", error="nxdomain", detail=""),),
        _F,
        Cause.NAME_RESOLUTION,
        Plane.NAME,
    ),
    (
        (_seen(Kind.CONNECT_FAILED, error="refused", detail=""),),
        _F,
        Cause.CONNECTION_REFUSED,
        Plane.PATH,
    ),
    (
        (_seen(Kind.CONNECT_FAILED, error="timeout", detail=""),),
        _F,
        Cause.CALLS_BLOCKED,
        Plane.PATH,
    ),
    (
        (_seen(Kind.CONNECT_FAILED, error="unreachable", detail=""),),
        _F,
        Cause.UNREACHABLE,
        Plane.PATH,
    ),
    (
        (_seen(Kind.CONNECTION_LOST, error="reset", detail=""),),
        _F,
        Cause.EXPLICIT_REJECT,
        Plane.PATH,
    ),
    (
        (_seen(Kind.CONNECTION_LOST, error="closed", detail=""),),
        _F,
        Cause.SERVICE_UNAVAILABLE,
        Plane.PATH,
    ),
    (
        (_seen(Kind.TLS_FAILED, error="certificate", detail="expired"),),
        _F,
        Cause.TLS_CERTIFICATE,
        Plane.TLS,
    ),
    (
        (_seen(Kind.TLS_FAILED, error="name", detail="other.example"),),
        _F,
        Cause.TLS_CERTIFICATE,
        Plane.TLS,
    ),
    (
        (_seen(Kind.TLS_FAILED, error="alert", detail="handshake_failure"),),
        _F,
        Cause.TLS_FAILURE,
        Plane.TLS,
    ),
    ((_seen(Kind.TLS_FAILED, error="timeout", detail=""),), _F, Cause.TLS_FAILURE, Plane.TLS),
    (
        (_seen(Kind.TLS_FAILED, error="alert", detail="unknown_ca", ours=True),),
        _I,
        Cause.PROBER_FAULT,
        Plane.TLS,
    ),
]


@pytest.mark.parametrize(("seen", "outcome", "cause", "plane"), _WITHOUT_A_RESPONSE)
def test_without_a_response(
    seen: tuple[Observation, ...], outcome: Outcome, cause: Cause, plane: Plane
) -> None:
    """Silence, names, connections and TLS each have their cause and plane."""
    verdict = _judge(*seen)
    assert (verdict.outcome, verdict.cause, verdict.plane) == (outcome, cause, plane)


@pytest.mark.parametrize(
    ("family", "icmp_type", "code", "cause"),
    [
        (4, 3, 9, Cause.EXPLICIT_REJECT),
        (4, 3, 10, Cause.EXPLICIT_REJECT),
        (4, 3, 13, Cause.EXPLICIT_REJECT),
        (6, 1, 1, Cause.EXPLICIT_REJECT),
        (6, 1, 5, Cause.EXPLICIT_REJECT),
        (6, 1, 6, Cause.EXPLICIT_REJECT),
        (4, 3, 3, Cause.CONNECTION_REFUSED),
        (6, 1, 4, Cause.CONNECTION_REFUSED),
        (4, 3, 1, Cause.UNREACHABLE),
        (6, 1, 0, Cause.UNREACHABLE),
        (4, 3, 4, Cause.LARGE_MESSAGE_UDP_LOST),
        (4, 11, 0, Cause.CALLS_BLOCKED),
    ],
)
def test_icmp_names_its_sender(family: int, icmp_type: int, code: int, cause: Cause) -> None:
    """A filter that says so is an explicit reject, with its address; TTL exceeded is no verdict."""
    icmp = _seen(
        Kind.ICMP, family=family, icmp_type=icmp_type, code=code, offender="192.0.2.1", errno="x"
    )
    verdict = _judge(icmp, _SILENT)
    assert verdict.cause is cause
    assert ("192.0.2.1" in verdict.why) == (cause is not Cause.CALLS_BLOCKED)


def test_a_name_that_fails_beside_an_answer_is_degraded() -> None:
    """A dead resolver and a block must not look alike: the last address still answers."""
    gone = _seen(Kind.NAME_ERROR, 0.0, name="x.example", error="timeout", detail="")
    verdict = _judge(gone, _response(200))
    assert (verdict.outcome, verdict.cause) == (_D, Cause.NAME_RESOLUTION)


def test_an_answer_from_elsewhere_is_never_sole_proof() -> None:
    """The right branch from the wrong address degrades a pass."""
    verdict = _judge(_response(200, from_peer=False))
    assert (verdict.outcome, verdict.cause) == (_D, Cause.UNREACHABLE)


def test_a_late_answer_does_not_pass() -> None:
    """What came after give-up leaves the attempt failed."""
    assert _judge(_SILENT, _response(200, late=True)).cause is Cause.CALLS_BLOCKED


@pytest.mark.parametrize(
    ("seen", "outcome", "cause"),
    [
        (_seen(Kind.ANSWER, what="mirror", detail="", text=""), _P, Cause.NONE),
        (_seen(Kind.ANSWER, what="refused", detail="", text=""), _D, Cause.TEST_CALL_REFUSED),
        (_seen(Kind.ANSWER, what="no_sdp", detail="", text=""), _D, Cause.TEST_CALL_REFUSED),
        (_seen(Kind.ANSWER, what="source", detail="", text=""), _D, Cause.MALFORMED_RESPONSE),
        (_seen(Kind.UNSAFE, why="no_loopback", detail=""), _D, Cause.UNSAFE_ANSWER),
        (_seen(Kind.FORKED, to_tag="b"), _F, Cause.MISROUTED),
        (_seen(Kind.TEARDOWN_FAILED, method="BYE", why="no answer"), _D, Cause.TEARDOWN_BLOCKED),
    ],
)
def test_what_a_2xx_brings(seen: Observation, outcome: Outcome, cause: Cause) -> None:
    """A 200 to a test INVITE is judged by its answer and by how the call ended."""
    verdict = _judge(_response(200, "INVITE"), seen)
    assert (verdict.outcome, verdict.cause) == (outcome, cause)


def test_a_repeated_2xx_means_a_lost_ack() -> None:
    """Three repetitions after our ACK: it does not arrive (RFC 3261 13.3.1.4)."""
    answer = _seen(Kind.ANSWER, what="mirror", detail="", text="")
    again = _seen(Kind.REPEATED, code=200, count=3)
    assert _judge(_response(200, "INVITE"), answer, again).cause is Cause.ACK_LOST


def test_refused_credentials_are_our_fault() -> None:
    """A second challenge answers our credentials: no path is judged by that."""
    verdict = _judge(_response(401), _response(401))
    assert (verdict.outcome, verdict.cause) == (_I, Cause.PROBER_FAULT)


_FACTS: dict[Kind, dict[str, Any]] = {
    Kind.RESPONSE: dict(_response(200).facts),
    Kind.SILENT: {"method": "INVITE", "after_s": 4.0},
    Kind.ICMP: {"family": 4, "icmp_type": 3, "code": 13, "offender": "192.0.2.1", "errno": "x"},
    Kind.TLS_FAILED: {"error": "alert", "detail": "x"},
    Kind.CONNECT_FAILED: {"error": "refused", "detail": ""},
    Kind.CONNECTION_LOST: {"error": "framing", "detail": ""},
    Kind.NAME_ERROR: {"name": "x", "error": "timeout", "detail": ""},
    Kind.LOCAL_ERROR: {"error": "ENOBUFS", "detail": ""},
    Kind.MALFORMED: {"code": 200, "why": "x", "source": "y"},
    Kind.ANSWER: {"what": "mirror", "detail": "", "text": ""},
    Kind.REPEATED: {"code": 200, "count": 4},
    Kind.ENDED: {"how": "bye_sent", "confirmed": True},
    Kind.UNSAFE: {"why": "ringing", "detail": "180"},
}


@given(
    st.lists(st.sampled_from(sorted(_FACTS)), max_size=8),
    st.lists(st.sampled_from([100, 180, 200, 302, 401, 404, 486, 487, 503]), max_size=3),
)
def test_total_and_deterministic(kinds: list[Kind], codes: list[int]) -> None:
    """Whatever was seen, in whatever order: one verdict, the same twice, never an exception."""
    seen = [Observation(Kind(kind), 0.1, _FACTS[Kind(kind)]) for kind in kinds]
    seen += [_response(code, "INVITE") for code in codes]
    first = _judge(*seen)
    assert first == _judge(*seen)
    assert first.why


_ANYTHING: dict[str, Fact] = {
    "after_s": 4.0, "code": 200, "count": 9, "detail": "", "echoed": 0, "ended_after_s": 5.0,
    "ended_by": "us", "errno": "EHOSTUNREACH", "error": "reset", "family": 4, "far_heard": None,
    "far_told": None, "from_peer": True, "icmp_type": 3, "late": True, "method": "OPTIONS",
    "name": "psap.example.gov", "offender": "192.0.2.1", "rejected": "", "sent": 10,
    "text": "Another PSAP", "what": "refused", "why": "ringing", "by": "ttl", "n": 1,
    "who": "192.0.2.1",
}  # fmt: skip
"""Facts with which every kind of observation is trouble, and no response is a final in time."""


@pytest.mark.parametrize(
    ("kind", "rule"),
    [pytest.param(kind, rule, id=rule.__name__) for kind, rule in RULES if kind is not None],
)
def test_a_rule_finds_only_in_what_it_speaks_of(kind: Kind, rule: Rule) -> None:
    """A rule that is not asked without its kind finds nothing without it, and something with it."""

    def found(kinds: list[Kind]) -> bool:
        seen = tuple(Observation(each, 0.1, _ANYTHING) for each in kinds)
        names = ("a", "ma-boston", "east", "fw", "udp", "check", "call", "leg", "192.0.2.10", "c")
        evidence = Evidence(*names, 1.7e9, 1.0, seen)  # type: ignore[arg-type]
        return rule(Case(evidence, expected_name="Boston")) is not None

    assert found([kind, Kind.ANSWER])  # a 2xx that repeats tells of a lost ACK only once it was one
    assert not found([each for each in Kind if each is not kind])
