"""Fall and rise of one leg."""

from __future__ import annotations

import pytest

from psapwatch.detection import Standing, State, Thresholds, step
from psapwatch.verdict import Cause, Outcome, Plane, Verdict

_LETTERS = {
    "p": Verdict(Outcome.PASS, Cause.NONE, Plane.SIGNALLING, "200"),
    "d": Verdict(Outcome.DEGRADED, Cause.TEST_CALL_REFUSED, Plane.SIGNALLING, "486"),
    "f": Verdict(Outcome.FAIL, Cause.CALLS_BLOCKED, Plane.PATH, "silence"),
    "i": Verdict(Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SELF, "EMFILE"),
}


_USUAL = Thresholds()


def _after(letters: str, thresholds: Thresholds = _USUAL) -> Standing:
    standing = Standing()
    for moment, letter in enumerate(letters):
        standing = step(standing, _LETTERS[letter], float(moment), thresholds)
    return standing


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("", State.UNKNOWN),
        ("i", State.UNKNOWN),
        ("p", State.UP),
        ("d", State.DEGRADED),
        ("f", State.SUSPECT),
        ("pf", State.SUSPECT),
        ("pfp", State.UP),
        ("pff", State.DOWN),
        ("pfif", State.DOWN),
        ("pffp", State.DOWN),
        ("pffpp", State.DOWN),
        ("pffppp", State.UP),
        ("pffppd", State.DEGRADED),
        ("pffppfppp", State.UP),
        ("pffppfpp", State.DOWN),
        ("pfpfpf", State.SUSPECT),
    ],
)
def test_fall_and_rise(letters: str, state: State) -> None:
    """Two failures in a row make a leg down, three passes make it up; inconclusive is nothing."""
    assert _after(letters).state is state


def test_a_run_of_passes_begins_when_its_first_attempt_had_passed() -> None:
    """What got through late, sent again when a block had ended, was no pass before that."""
    standing = step(_after("pf"), _LETTERS["p"], 2.0, _USUAL, 3.5)
    assert standing.passing_since == 5.5
    assert step(standing, _LETTERS["p"], 6.0, _USUAL, 0.1).passing_since == 5.5


def test_the_run_of_failures_keeps_its_beginning() -> None:
    """``failing_since`` is when the first failing attempt began, until the leg is up again."""
    assert _after("ppfff").failing_since == 2.0
    assert _after("ppfffpp").failing_since == 2.0
    assert _after("ppfffppp").failing_since is None
    assert _after("ppfffpppf").failing_since == 8.0


def test_a_pass_on_the_way_up_does_not_hide_the_cause() -> None:
    """While a leg is still down it shows why it went down."""
    assert _after("pffp").cause is Cause.CALLS_BLOCKED
    assert _after("pffppp").cause is Cause.NONE


def test_thresholds_are_kept() -> None:
    """Other thresholds, other states."""
    assert _after("pff", Thresholds(fall=3)).state is State.SUSPECT
    assert _after("pffp", Thresholds(rise=1)).state is State.UP
