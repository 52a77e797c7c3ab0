"""The battery: what passes and what fails together names the cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.battery import (
    ASKS,
    SIGNATURES,
    Outcomes,
    Row,
    Signature,
    as_rows,
    in_words,
    is_variant,
    named_cause,
    row_of,
    tell_apart,
)
from psapwatch.detection import Standing, State
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Firewall, Path, Psap, Source
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.tried import NEEDED, SINGLES_NEEDED, Result, Tried
from psapwatch.verdict import Cause, Outcome

PASS, FAIL = Outcome.PASS, Outcome.FAIL
FIREWALL = Firewall("fw-east", (Source("192.0.2.1"),))


def _path(psap: str, transport: str = "udp") -> Path:
    return Path(Psap(psap, ""), "fw-east", "v", FIREWALL, "sip:x.example.net", transport)  # type: ignore[arg-type]


def _outcomes(signature: Signature) -> dict[Row, Outcome]:
    return dict.fromkeys(signature.fails, FAIL) | dict.fromkeys(signature.passes, PASS)


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda each: in_words(each)[:60])
def test_a_signature_is_named_by_what_it_says(signature: Signature) -> None:
    """Each names its cause, and none stands behind one that takes its place."""
    found = tell_apart(_outcomes(signature))
    assert found is not None
    assert found.cause is signature.cause


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda each: in_words(each)[:60])
def test_nothing_is_named_while_a_row_is_missing(signature: Signature) -> None:
    """A row that was not tried proves nothing, in either direction."""
    for row in (*signature.fails, *signature.passes):
        rest = {each: outcome for each, outcome in _outcomes(signature).items() if each != row}
        found = tell_apart(rest)
        assert found is not signature


@given(st.dictionaries(st.sampled_from(sorted(ASKS)), st.sampled_from(Outcome)))
def test_any_outcomes_name_one_cause_or_none(outcomes: Outcomes) -> None:
    """Total and deterministic, whatever was tried."""
    assert tell_apart(outcomes) is tell_apart(dict(outcomes))


def _tried(*results: tuple[Row, bool, float]) -> Tried:
    tried = Tried()
    for row, passed, at in results:
        tried.take("fw-east", row, Result(PASS if passed else FAIL, "so", "p1/fw-east", at))
    return tried


PASSED: tuple[Row, bool, float] = ("small_call", True, 1.0)


def test_a_row_speaks_once_enough_attempts_agree() -> None:
    """Where a share is lost, one attempt of a row passes or fails by chance."""
    few = _tried(*[PASSED] * (NEEDED - 1))
    enough = _tried(*[PASSED] * NEEDED)
    mixed = _tried(*[PASSED] * NEEDED, ("small_call", False, 2.0))
    outcomes = [
        each.about("firewall", "fw-east", (), 0.0, 9.0)["small_call"].outcome
        for each in (few, enough, mixed)
    ]
    assert outcomes == [Outcome.INCONCLUSIVE, PASS, Outcome.INCONCLUSIVE]


def test_only_what_was_tried_while_it_failed_speaks() -> None:
    """Neither what passed before the failure, nor what passes once it is over."""
    tried = _tried(
        *[("reference", passed, at) for at, passed in ((1, True), (5, False), (9, True))]
    )
    found = tried.about("firewall", "fw-east", (), 4.0, 6.0)
    assert found["reference"].said == "0 of 1 pass: so"


def test_our_responders_speak_of_a_firewall_and_of_no_psap() -> None:
    """The reference passes while one PSAP is blocked: no word about that PSAP."""
    tried = _tried(("reference", True, 1.0), ("second_source", True, 1.0))
    about = tried.about("psap", "fw-east", {"p1/fw-east"}, 0.0, 9.0)
    assert set(about) == {"second_source"}
    assert tried.about("psap", "fw-east", {"p2/fw-east"}, 0.0, 9.0) == {}


def _calls(
    repeated: int,
    at_once: int,
    failed: int,
    *,
    options_repeated: bool = False,
    failed_at: float = 6.0,
    took_s: float = 1.5,
    apart_s: float = 0.5,
) -> Tried:
    """Calls from 1 on that pass, some when sent again (``took_s``), among others that fail."""
    tried = Tried()
    for nth in range(repeated):
        at = 1.0 + nth * apart_s
        result = Result(PASS, "so", "r", at, is_repeated=True, took_s=took_s)
        tried.take("fw-east", "small_call", result)
    for _ in range(at_once):
        tried.take("fw-east", "small_call", Result(PASS, "so", "r", 1.0))
    for nth in range(failed):
        at = failed_at * (nth + 1) / failed
        tried.take("fw-east", "small_call", Result(FAIL, "so", "r", at))
    for _ in range(NEEDED):
        result = Result(PASS, "so", "r", 1.0, is_repeated=options_repeated)
        tried.take("fw-east", "reference", result)
    return tried


def _block(*later: float, ends: tuple[float, ...] = (30.0,)) -> Tried:
    """A call a second into blocks of 20 s, what is in flight at their ends, and failures after."""
    tried = Tried()
    for end in ends:
        for nth in range(20):
            began = end - 20.0 + nth
            again = min((s for s in (0.5, 1.5, 3.5) if began + s >= end), default=0.0)
            result = Result(PASS if again else FAIL, "so", "p", began, bool(again), took_s=again)
            tried.take("fw-east", "call", result)
    for at in later:
        tried.take("fw-east", "call", Result(FAIL, "so", "p", at))
    for _ in range(20):
        tried.take("fw-east", "reference", Result(PASS, "so", "r", 1.0))
    return tried


@pytest.mark.parametrize(
    ("tried", "is_limited"),
    [
        (_calls(4, 1, 6), True),
        (_calls(1, 4, 6), False),
        (_calls(4, 1, 0), False),
        (_calls(4, 1, 6, options_repeated=True), False),
        (_calls(4, 1, 6, failed_at=2.4), False),
        (_calls(4, 1, 6, failed_at=3.1, took_s=3.5), False),
        (_calls(4, 1, 6, apart_s=0.0), False),
        (_calls(2, 6, 40), True),
        (_calls(4, 40, 6), False),
        (_block(), False),
        (_block(33.0), False),
        (_block(36.0, 39.0), False),
        (_block(ends=(20.0, 50.0)), False),
    ],
    ids=[
        *("limited", "by-flow", "none-fails", "all-packets", "in-flight-at-a-block's-end"),
        *("more-patient-than-those-that-fail", "all-at-one-moment"),
        *("a-tight-limit", "packet-by-packet"),
        *("a-block", "one-fails-later", "two-fail-later", "two-blocks"),
    ],
)
def test_a_limit_lets_calls_pass_when_they_are_sent_again(
    tried: Tried, *, is_limited: bool
) -> None:
    """Loss by flow takes every packet of a call, loss of all packets takes OPTIONS too."""
    found = tried.about("firewall", "fw-east", {"p"}, 0.0, 99.0)
    signature = tell_apart({row: finding.outcome for row, finding in found.items()})
    assert (signature is not None and signature.cause is Cause.RATE_LIMITED) == is_limited


@pytest.mark.parametrize(
    ("failed", "passed", "variants", "cause"),
    [
        (0, 6, 3, Cause.CONTENT_BLOCKED),
        (1, 29, 3, Cause.CONTENT_BLOCKED),
        (5, 5, 3, None),
        (5, 5, 7, Cause.CONTENT_BLOCKED),
    ],
    ids=[
        "calls pass",
        "one PSAP fails by itself",
        "half is lost",
        "half is lost, and all of these",
    ],
)
def test_variants_that_fail_by_chance_name_nothing(
    failed: int, passed: int, variants: int, cause: Cause | None
) -> None:
    """Where half of all calls is lost, three with a location fail in a row one time in eight."""
    tried = Tried()
    for nth in range(failed + passed):
        outcome = FAIL if nth < failed else PASS
        tried.take("fw-east", "call", Result(outcome, "so", "p", 1.0))
    for _ in range(variants):
        tried.take("fw-east", "large_call", Result(FAIL, "so", "r", 1.0))
        tried.take("fw-east", "padded_call", Result(PASS, "so", "r", 1.0))
    found = tried.about("firewall", "fw-east", ("p",), 0.0, 9.0)
    assert found["large_call"].said.startswith(f"0 of {variants}")
    signature = tell_apart({row: finding.outcome for row, finding in found.items()})
    assert (signature and signature.cause) is cause


def _burst(
    *,
    singles: int = SINGLES_NEEDED,
    lost: int = 0,
    again: int = 0,
    psaps: int = 1,
    passed_at: float = 1.0,
) -> Tried:
    """A burst that lost some, after so many single calls, while so many of the PSAPs' passed."""
    tried = Tried()
    for nth in range(singles + lost + again):
        outcome = FAIL if nth < lost else PASS
        result = Result(outcome, "so", "r", 1.0, is_repeated=lost <= nth < lost + again)
        tried.take("fw-east", "small_call", result)
    for nth in range(psaps + 3):
        outcome, at = (PASS, passed_at) if nth < psaps else (FAIL, 1.5)
        tried.take("fw-east", "call", Result(outcome, "so", "p1/e", at))
    tried.take("fw-east", "burst_call", Result(FAIL, "5 of 8", "r", 2.0))
    return tried


@pytest.mark.parametrize(
    ("tried", "is_limited"),
    [
        (_burst(), True),
        (_burst(singles=SINGLES_NEEDED - 1), False),
        (_burst(lost=1), False),
        (_burst(again=1), False),
        (_burst(psaps=0), False),
        (_burst(passed_at=2.0), False),
    ],
    ids=[
        "limited",
        "too-few-to-compare",
        "one-lost",
        "one-sent-again",
        "a-block",
        "the-end-of-a-block",
    ],
)
def test_a_burst_tells_a_limit_only_beside_single_calls_that_all_pass(
    tried: Tried, *, is_limited: bool
) -> None:
    """Where a share of all calls is lost, or all of the PSAPs', a burst that loses some is none."""
    found = tried.about("firewall", "fw-east", {"p1/e"}, 0.0, 9.0)
    signature = tell_apart({row: finding.outcome for row, finding in found.items()})
    assert (signature is not None and signature.cause is Cause.RATE_LIMITED) == is_limited
    assert found["burst_call"].said == "5 of 8", "what was seen is told in any case"


def test_single_calls_pass_since_calls_began_to_fail() -> None:
    """Those from before say nothing of what is wrong now."""
    tried = Tried()
    for nth in range(SINGLES_NEEDED):
        assert not tried.singles_pass("fw-east", 0.0)
        tried.take("fw-east", "small_call", Result(PASS, "so", "r", float(nth)))
    assert tried.singles_pass("fw-east", 0.0)
    assert not tried.singles_pass("fw-east", 0.5)
    assert not tried.singles_pass("fw-west", 0.0)


def _down(cause: Cause, at: float = 100.0) -> Standing:
    return Standing(State.DOWN, 2, 0, 90.0, 80.0, at, last_failed=True, cause=cause, why="x")


UP = Standing(State.UP, passes=9, last_pass_at=99.0, last_at=99.0, passing_since=1.0)


def test_only_silence_is_told_apart() -> None:
    """Who sends ICMP, a reset or a 503 says by itself what it is."""
    tried: dict[Row, Outcome] = {"second_source": PASS}
    by_kind = {"options": [_down(Cause.EXPLICIT_REJECT)]}
    assert named_cause(by_kind, tried | as_rows(by_kind, 90.0)) == (Cause.EXPLICIT_REJECT, None)
    by_kind = {"options": [_down(Cause.CALLS_BLOCKED)]}
    assert named_cause(by_kind, tried | as_rows(by_kind, 90.0))[0] is Cause.SOURCE_BLOCKED


def test_old_flows_that_pass_beside_new_ones_that_fail() -> None:
    """A rule push behind "established, accept": all that is new dies."""
    silent = _down(Cause.CALLS_BLOCKED)
    by_kind = {"call": [silent], "options": [silent] * 3, "kept": [UP] * 3}
    assert named_cause(by_kind, as_rows(by_kind, 90.0))[0] is Cause.NEW_FLOWS_BLOCKED
    by_kind = {"call": [UP], "options": [UP] * 3, "kept": [silent] * 3}
    assert named_cause(by_kind, as_rows(by_kind, 90.0))[0] is Cause.STALE_FLOW


def test_a_check_on_our_responder_fills_the_row_that_it_asks() -> None:
    """What is scheduled is not sent a second time by the battery."""
    reference, psap = _path(REFERENCE), _path("p1")
    for settings, path, row in (
        (OptionsSettings(), reference, "reference"),
        (OptionsSettings(), _path(CONTROL), "control"),
        (CallSettings(), reference, "small_call"),
        (CallSettings(location=True), reference, "large_call"),
        (CallSettings(location=True), _path(REFERENCE, "tcp"), "large_call_tcp"),
        (CallSettings(padding=True), reference, "padded_call"),
        (CallSettings(answer_after=5.0), reference, "delayed_call"),
        (CallSettings(), psap, "call"),
        (OptionsSettings(), psap, None),
    ):
        check = Check("c", 15.0, 4.0, settings)
        assert row_of(path, check) == row
        assert is_variant(path, check) == (
            row not in (None, "call", "reference", "control", "small_call")
        )
