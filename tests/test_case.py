"""A case: one attempt with the rows of the battery beside it, kept and judged again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.battery import SIGNATURES, SILENT, Row, Signature
from psapwatch.case import Case, from_json, to_json
from psapwatch.cli.main import cli
from psapwatch.diagnosis import diagnose, rows_of
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.exhibits import EXHIBITS_MAX, Exhibits
from psapwatch.incident import Incident
from psapwatch.verdict import Cause, Outcome
from samples import answered, attempt, sent
from store.material import incident, opened

LOST: Final = (sent(), Observation(Kind.SILENT, 4.0, {"method": "INVITE", "after_s": 4.0}))
PASSED: Final = (
    sent(),
    answered(0.02, phase_s=0.02, late=False, from_peer=True, source="198.51.100.1:5060"),
)
REJECTED: Final = (
    sent(),
    Observation(
        Kind.ICMP,
        0.1,
        {"family": 4, "icmp_type": 3, "code": 13, "offender": "192.0.2.1", "errno": "EHOSTUNREACH"},
    ),
)
OURS: Final = (sent(), Observation(Kind.LOCAL_ERROR, 0.1, {"error": "EMFILE"}))
NOTHING: Final = (sent(),)

attempts: Final = st.sampled_from([LOST, PASSED, REJECTED, OURS, NOTHING])
rows: Final[st.SearchStrategy[Row]] = st.sampled_from(get_args(Row))


def _tried(*seen: Observation, probe: str = "options", number: int = 0) -> Evidence:
    evidence = attempt(seen=seen)
    return replace(evidence, probe=probe, attempt_id=f"a-{number}")


def _case(seen: tuple[Observation, ...], battery: dict[Row, tuple[Observation, ...]]) -> Case:
    tried = {row: _tried(*each, number=n) for n, (row, each) in enumerate(battery.items(), 1)}
    return Case(_tried(*seen, probe="call"), battery=tried)


@given(attempts, st.dictionaries(rows, attempts))
def test_every_case_gets_one_verdict(
    seen: tuple[Observation, ...], battery: dict[Row, tuple[Observation, ...]]
) -> None:
    """Whatever was tried: a battery refines the cause of a silence and changes nothing else."""
    alone, case = diagnose(_case(seen, {})), _case(seen, battery)
    verdict = diagnose(case)
    assert verdict == diagnose(case)
    assert (verdict.outcome, verdict.plane) == (alone.outcome, alone.plane)
    if verdict.cause is not alone.cause:
        assert alone.cause in SILENT
        assert verdict.cause in {each.cause for each in SIGNATURES}
    assert from_json(json.loads(json.dumps(to_json(case)))) == case


@given(attempts)
def test_one_attempt_alone_yields_no_differential_cause(seen: tuple[Observation, ...]) -> None:
    """Without a row to compare it with, a lost call is a lost call."""
    assert diagnose(_case(seen, {})).cause in {
        *(Cause.CALLS_BLOCKED, Cause.EXPLICIT_REJECT, Cause.PROBER_FAULT),
        *(Cause.UNKNOWN, Cause.NONE),
    }


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda each: each.cause.value)
def test_every_signature_names_its_cause_and_says_why(signature: Signature) -> None:
    """The rows of a signature beside a lost call; what passes and fails is in the sentence."""
    battery: dict[Row, tuple[Observation, ...]] = dict.fromkeys(signature.fails, LOST)
    battery |= dict.fromkeys(signature.passes, PASSED)
    verdict = diagnose(_case(LOST, battery))
    assert verdict.cause is signature.cause
    assert " pass" in verdict.why
    assert verdict.why.startswith("no answer to INVITE")


def test_a_row_that_was_refused_says_nothing() -> None:
    """Nobody listens on every transport: a refusal is no loss."""
    refused = (sent(), Observation(Kind.CONNECT_FAILED, 0.1, {"error": "refused", "detail": ""}))
    case = _case(LOST, {"large_call_tcp": refused})
    assert rows_of(case) == {"large_call_tcp": Outcome.INCONCLUSIVE}
    assert diagnose(case).cause is Cause.CALLS_BLOCKED


@pytest.mark.parametrize("wrong", [{}, {"v": 2}, {"v": 1}, {"v": 1, "evidence": 7}])
def test_what_is_no_case_is_refused(wrong: dict[str, object]) -> None:
    """A file of something else is a sentence, not a traceback."""
    with pytest.raises(ValueError, match=r"case|evidence"):
        from_json(wrong)


def _incident(cause: Cause, outcomes: dict[str, str]) -> Incident:
    return replace(incident(), firewall="fw-east", cause=cause, evidence={"outcomes": outcomes})


def _take(
    exhibits: Exhibits,
    row: Row,
    seen: tuple[Observation, ...],
    key: str = "p01/e",
    *,
    is_repeated: bool = False,
) -> None:
    evidence = _tried(*seen, probe="call" if row == "call" else "options")
    case = Case(evidence)
    exhibits.take(row, key, case, diagnose(case), is_repeated=is_repeated)


def test_an_incident_has_the_case_of_what_fails_and_of_what_passes_beside_it() -> None:
    """Rows come out as the incident has them, and fewer rows do not replace a better case."""
    exhibits = Exhibits()
    _take(exhibits, "options", PASSED)  # nothing fails yet: not remembered
    _take(exhibits, "call", LOST)
    only = _incident(Cause.CALLS_BLOCKED, {"call": "fail"})
    (told,) = exhibits.news([only], lambda _each: {"p01/e"})
    assert set(told[1].battery) == {"call"}
    _take(exhibits, "options", PASSED)
    both = _incident(Cause.INVITE_BLOCKED, {"call": "fail", "options": "pass"})
    (told,) = exhibits.news([both], lambda _each: {"p01/e"})
    assert diagnose(told[1]).cause is Cause.INVITE_BLOCKED
    assert list(exhibits.news([both], lambda _each: {"p01/e"})) == []
    mending = _incident(Cause.INVITE_BLOCKED, {"options": "pass"})
    assert list(exhibits.news([mending], lambda _each: {"p01/e"})) == []


def test_what_passed_when_it_was_sent_again_is_a_row_of_its_own() -> None:
    """A limit on calls is told by those; of OPTIONS the same says nothing of calls."""
    exhibits = Exhibits()
    _take(exhibits, "call", LOST)
    for row in ("small_call", "reference"):
        _take(exhibits, row, PASSED, "reference/fw-east", is_repeated=True)
    found = _incident(Cause.RATE_LIMITED, {"repeated_call": "pass", "reference": "pass"})
    ((_id, case),) = exhibits.news([found], lambda _each: {"p01/e"})
    assert set(case.battery) == {"repeated_call", "reference"}
    assert diagnose(case).cause is Cause.RATE_LIMITED


def test_the_case_of_an_ip_family_shows_the_other_one_beside_it() -> None:
    """Both legs are tried by the same checks: the leg says which row an attempt is of."""
    exhibits = Exhibits()
    for seen, leg in ((LOST, "[2001:db8::1]:5060"), (PASSED, "192.0.2.9:5060")):
        case = Case(replace(_tried(*seen), leg=leg, attempt_id=leg))
        exhibits.take("options", "p01/e", case, diagnose(case))
    outcomes = {"options": "fail", "other_family": "pass"}
    found = replace(_incident(Cause.ADDRESS_FAMILY, outcomes), scope="family", member="6")
    ((_id, kept),) = exhibits.news([found], lambda _each: {"p01/e"})
    assert {row: each.leg[0] for row, each in kept.battery.items()} == {
        "options": "[",
        "other_family": "1",
    }
    assert diagnose(kept).cause is Cause.ADDRESS_FAMILY


def test_another_psaps_attempts_are_no_part_of_a_case() -> None:
    """A case of one answering point shows that answering point."""
    exhibits = Exhibits()
    _take(exhibits, "call", LOST, key="p02/e")
    found = _incident(Cause.CALLS_BLOCKED, {"call": "fail"})
    assert list(exhibits.news([found], lambda _each: {"p01/e"})) == []


def test_what_is_remembered_is_bounded() -> None:
    """However many paths fail, the oldest failures are forgotten first."""
    exhibits = Exhibits()
    for number in range(2 * EXHIBITS_MAX):
        _take(exhibits, "call", LOST, key=f"p{number}/e")
    found = _incident(Cause.CALLS_BLOCKED, {"call": "fail"})
    assert list(exhibits.news([found], lambda _each: {"p0/e"})) == []
    assert list(exhibits.news([found], lambda _each: {f"p{2 * EXHIBITS_MAX - 1}/e"}))


def test_a_case_is_kept_with_its_incident_and_judged_again(tmp_path: Path) -> None:
    """Stored beside the incident, redacted; ``explain --case`` reads what ``show`` writes."""
    case = _case(LOST, {"options": PASSED, "call": LOST})

    async def scene() -> Case | None:
        async with opened(tmp_path / "psapwatch.db") as store:
            store.save_incident(incident())
            store.save_case(incident().id, case)
            store.save_incident(replace(incident(), changes=1))
            assert await store.case("no-such-incident") is None
            return await store.case(incident().id)

    assert asyncio.run(scene()) == case
    shown = CliRunner().invoke(
        cli, ["explain", "--case", "-"], input=json.dumps({"id": "i", "case": to_json(case)})
    )
    assert shown.exit_code == 0, shown.output
    assert "judged: fail: invite_blocked" in shown.output
    assert "told from others by: test calls to the PSAPs, as scheduled fail" in shown.output
    refused = CliRunner().invoke(cli, ["explain", "--case", "-"], input="[]")
    assert refused.exit_code != 0


def test_a_call_that_was_answered_100_is_not_blocked_by_its_method() -> None:
    """The INVITE arrived: it is the final response that is lost, whatever OPTIONS do."""
    trying = answered(0.02, 100, "INVITE", phase_s=0.02, late=False, from_peer=True)
    lost = Observation(Kind.SILENT, 8.0, {"method": "INVITE", "after_s": 8.0})
    case = _case((sent(), trying, lost), {"options": PASSED})
    assert diagnose(case).cause is Cause.FINAL_RESPONSE_LOST
