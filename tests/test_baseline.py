"""Who usually answers: learnt from the first answers, replaced after many or by a person."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from psapwatch.baseline import (
    ANSWERERS_MAX,
    LEARNING_PASSES,
    NEW_ANSWERER_PASSES,
    Answerer,
    Baseline,
    from_json,
    to_json,
)
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.verdict import Cause, Outcome
from samples import answered, attempt, sent

PSAP: Final = Answerer("PSAP SBC 9.2", "198.51.100.9", to_tag=8)
FIREWALL: Final = Answerer("", "", to_tag=32)


def _evidence(code: int, by: Answerer, method: str = "INVITE", **more: Any) -> Evidence:
    contact = f"<sip:psap@{by.contact}:5060;transport=udp>" if by.contact else ""
    seen = answered(
        0.02, code, method, server=by.server, contact=contact, to_tag="t" * by.to_tag,
        source="198.51.100.9:5060", from_peer=True, phase_s=0.02, late=False, **more,
    )  # fmt: skip
    return attempt(seen=(sent(method=method), seen))


def _learnt(code: int = 200, by: Answerer = PSAP, times: int = LEARNING_PASSES) -> Baseline:
    found = Baseline()
    for _nth in range(times):
        found = found.learn(by, code)
    return found


def test_an_answer_is_read_from_what_its_author_keeps() -> None:
    """Server, the host of Contact, where it came from, the certificate, the To tag's length."""
    tls = Observation(Kind.TLS_UP, 0.01, {"fingerprint": "ab" * 32})
    elsewhere = answered(
        server="x", contact="<sips:a:b@[2001:db8::9]:5061>", to_tag="0123", from_peer=False,
        source="203.0.113.7:5060",
    )  # fmt: skip
    evidence = attempt(seen=(tls, elsewhere))
    assert Answerer.of(evidence, elsewhere) == Answerer(
        "x", "[2001:db8::9]", "203.0.113.7:5060", "ab" * 32, 4
    )


@pytest.mark.parametrize(
    ("seen", "usual", "differs"),
    [
        (PSAP, PSAP, ()),
        (Answerer("Kamailio"), PSAP, ("Server",)),
        (Answerer(), Answerer("x"), ("Server",)),
        (Answerer("x"), Answerer("x", "192.0.2.1"), ()),  # a refusal need not carry a Contact
        (Answerer("x", "192.0.2.2"), Answerer("x", "192.0.2.1"), ("Contact",)),
        (Answerer(source="192.0.2.3:5060"), Answerer(), ("source",)),
        (Answerer(certificate="a"), Answerer(certificate="b"), ("certificate",)),
        (Answerer(certificate="a"), Answerer(), ()),  # a connection used again shows none
        (Answerer(to_tag=8), Answerer(to_tag=32), ("To tag length",)),
        (Answerer(to_tag=8), Answerer(to_tag=-1), ()),
    ],
)
def test_differences_are_named(seen: Answerer, usual: Answerer, differs: tuple[str, ...]) -> None:
    """What one of the two does not tell is no difference; a Server that is missing is one."""
    assert tuple(each.what for each in seen.differs(usual)) == differs
    assert seen.is_another(usual) == bool({"Server", "Contact", "source"} & {*differs})


def test_another_answerer_is_told_once_the_usual_one_is_known() -> None:
    """A good answer by another is degraded, and the sentence says by what that is known."""
    newer = _evidence(200, Answerer("Kamailio 5.7", "203.0.113.1"))
    assert diagnose(Case(newer, _learnt(times=LEARNING_PASSES - 1))).outcome is Outcome.PASS
    verdict = diagnose(Case(newer, _learnt()))
    assert (verdict.outcome, verdict.cause) == (Outcome.DEGRADED, Cause.MISROUTED)
    assert "Server Kamailio 5.7, usually PSAP SBC 9.2" in verdict.why
    assert "Contact 203.0.113.1, usually 198.51.100.9" in verdict.why


@pytest.mark.parametrize(
    ("usual", "code", "by", "outcome", "cause"),
    [
        # the usual answerer's own policy proves the path
        (404, 404, PSAP, Outcome.DEGRADED, Cause.TEST_CALL_REFUSED),
        (486, 488, PSAP, Outcome.DEGRADED, Cause.TEST_CALL_REFUSED),
        (486, 404, PSAP, Outcome.DEGRADED, Cause.TEST_CALL_REFUSED),
        # an element on the way that answers in place of the far end does not
        (486, 403, FIREWALL, Outcome.FAIL, Cause.EXPLICIT_REJECT),
        (486, 404, FIREWALL, Outcome.FAIL, Cause.MISROUTED),
        (486, 603, FIREWALL, Outcome.FAIL, Cause.EXPLICIT_REJECT),
        (486, 500, FIREWALL, Outcome.FAIL, Cause.CALLS_BLOCKED),
        (486, 500, PSAP, Outcome.FAIL, Cause.SERVICE_UNAVAILABLE),
        # a first refusal after a history of 200 is suspected whoever gives it
        (200, 403, PSAP, Outcome.FAIL, Cause.EXPLICIT_REJECT),
        (200, 404, PSAP, Outcome.FAIL, Cause.MISROUTED),
        (200, 404, FIREWALL, Outcome.FAIL, Cause.MISROUTED),
        # the usual refusal from another: noticed in the words, no failure of the path
        (404, 404, FIREWALL, Outcome.DEGRADED, Cause.TEST_CALL_REFUSED),
    ],
)
def test_a_refusal_is_compared_with_the_baseline(
    usual: int, code: int, by: Answerer, outcome: Outcome, cause: Cause
) -> None:
    """Rule B, Ep and Im of the response table: who refuses decides what it means."""
    verdict = diagnose(Case(_evidence(code, by), _learnt(usual)))
    assert (verdict.outcome, verdict.cause) == (outcome, cause)
    assert ("usually PSAP SBC 9.2" in verdict.why) == (by is FIREWALL)


def test_only_the_far_end_may_ask_to_be_left_alone() -> None:
    """503 with Retry-After proves the path unless another than usual says it."""
    for by, outcome in ((PSAP, Outcome.DEGRADED), (FIREWALL, Outcome.FAIL)):
        verdict = diagnose(Case(_evidence(503, by, retry_after="30"), _learnt()))
        assert (verdict.outcome, verdict.cause) == (outcome, Cause.SERVICE_UNAVAILABLE)


def test_a_newcomer_replaces_the_usual_answerer_after_twenty_passes() -> None:
    """Until then each of its answers is told; then the one before is the stranger."""
    newcomer, known = Answerer("new SBC", "203.0.113.5"), _learnt()
    for _nth in range(NEW_ANSWERER_PASSES):
        assert known.stranger(newcomer)
        known = known.learn(newcomer, 200)
    assert known.answerers == (newcomer,)
    assert not known.stranger(newcomer)
    assert known.stranger(PSAP)


def test_a_cluster_has_several_usual_answerers() -> None:
    """Those heard while learning are all usual; one that comes later is added to them."""
    nodes = [Answerer("SBC", f"192.0.2.{nth}") for nth in range(3)]
    known = Baseline()
    for nth in range(LEARNING_PASSES):
        known = known.learn(nodes[nth % 2], 200)
    assert not any(map(known.stranger, nodes[:2]))
    for nth in range(2 * NEW_ANSWERER_PASSES):
        known = known.learn(nodes[2 * (nth % 2)], 200)
    assert not any(map(known.stranger, nodes))
    assert set(known.answerers) == set(nodes)


def test_what_is_kept_is_bounded() -> None:
    """A far end that never answers twice alike fills no memory."""
    known = Baseline()
    for nth in range(1000):
        known = known.learn(Answerer(f"Server {nth}"), 200)
    assert len(known.answerers) <= ANSWERERS_MAX


def test_answers_that_are_all_alike_change_nothing() -> None:
    """A path at rest costs no write; To tags of changing length count for nothing."""
    known = _learnt()
    assert known.learn(PSAP, 202) is known
    loose = known.learn(Answerer(PSAP.server, PSAP.contact, to_tag=9), 200)
    assert loose.learn(Answerer(PSAP.server, PSAP.contact, to_tag=7), 200) is loose


def test_a_code_becomes_usual_after_twenty_answers() -> None:
    """A PSAP that refuses from now on with 486, which proves the path, is known for it in time."""
    known = _learnt()
    for _nth in range(NEW_ANSWERER_PASSES):
        assert known.usual_pass
        known = known.learn(PSAP, 486)
    assert known.usual_code == 486


def test_an_accepted_answer_is_usual_at_once() -> None:
    """A person takes a 404 of another answerer as right: it is the only usual one from then on."""
    known = _learnt().accept(FIREWALL, 404, "ann", 1.7e9)
    verdict = diagnose(Case(_evidence(404, FIREWALL), known))
    assert (verdict.outcome, verdict.cause) == (Outcome.DEGRADED, Cause.TEST_CALL_REFUSED)
    assert "usually" not in verdict.why
    assert known.stranger(PSAP)


def test_a_baseline_is_read_back_as_it_was_kept() -> None:
    """Every field, through JSON text; what is none is refused."""
    known = _learnt().learn(FIREWALL, 200).accept(FIREWALL, 200, "ann", 5.0).learn(PSAP, 486)
    assert known.newcomer is not None
    assert from_json(json.loads(json.dumps(to_json(known)))) == known
    with pytest.raises(ValueError, match="not a baseline"):
        from_json({"server": "a"})
