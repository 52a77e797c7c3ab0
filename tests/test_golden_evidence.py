"""Every cause has golden evidence, a scenario that ends in it, and words: a new one fails here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from psapwatch.battery import SIGNATURES
from psapwatch.case import Case, from_json, to_json
from psapwatch.causes import MEANINGS
from psapwatch.diagnosis import diagnose
from psapwatch.replay.scenario import read, shipped
from psapwatch.verdict import Cause

TESTS: Final = Path(__file__).parent
GOLDEN: Final = TESTS / "golden" / "evidence"

NO_CASE_SHOWS: Final[dict[Cause, str]] = {
    Cause.INTERMITTENT_LOSS: "loss-50",  # a share of many attempts, none of which knows
    Cause.PATH_BYPASSED: "s39-path-bypassed",  # it voids the attempts instead of explaining them
}
"""Causes of a pattern, or of the prober's own sight: the scenario that proves each."""

NO_SCENARIO_ENDS_IN: Final[dict[Cause, str]] = {
    Cause.TLS_FAILURE: "test_diagnosis.py",
    Cause.MALFORMED_RESPONSE: "simulator/test_every_row.py",
    Cause.TEST_CALL_REFUSED: "simulator/test_every_row.py",
}
"""Causes that open no incident of their own: the test that drives an attempt to each."""

CAUSES: Final = tuple(MEANINGS)


def _golden(cause: Cause) -> Case:
    return from_json(json.loads((GOLDEN / f"{cause.value}.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("cause", [each for each in CAUSES if each not in NO_CASE_SHOWS])
def test_every_cause_has_a_golden_case_that_is_diagnosed_to_it(cause: Cause) -> None:
    """Real evidence, as the daemon kept it; the same in every later version."""
    case = _golden(cause)
    assert diagnose(case).cause is cause
    assert from_json(to_json(case)) == case


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_a_scenario_that_ends_in_it(cause: Cause) -> None:
    """Or, where it opens no incident of its own, a test that drives an attempt to it."""
    ending = [
        name
        for name, file in shipped().items()
        if any(cause in (each.cause or ()) for each in read(file).expected)
    ]
    if cause in NO_SCENARIO_ENDS_IN:
        text = (TESTS / NO_SCENARIO_ENDS_IN[cause]).read_text(encoding="utf-8")
        assert f"Cause.{cause.name}" in text
        assert ending == [], "it has a scenario now: take it off the list"
    else:
        assert ending
    if cause in NO_CASE_SHOWS:
        assert NO_CASE_SHOWS[cause] in ending


@pytest.mark.parametrize("cause", sorted({each.cause for each in SIGNATURES} - set(NO_CASE_SHOWS)))
def test_a_differential_cause_needs_its_battery(cause: Cause) -> None:
    """The same attempt without the rows beside it yields another cause, or says it by itself."""
    case = _golden(cause)
    alone = diagnose(Case(case.evidence, case.baseline, case.expected_name, case.alternates))
    assert (alone.cause is not cause) is bool(case.battery)


def test_every_golden_file_is_a_cause() -> None:
    """No file without a cause, no cause on two lists."""
    assert {file.stem for file in GOLDEN.iterdir()} == set(CAUSES) - set(NO_CASE_SHOWS)
