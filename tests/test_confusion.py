"""The confusion table: false and unknown causes are counted, and too many of them are an error."""

from __future__ import annotations

from collections import Counter

import pytest

from psapwatch.replay.confusion import Row, as_markdown, is_good, shares
from psapwatch.verdict import Cause

INVITE = frozenset({Cause.INVITE_BLOCKED})


def _row(**named: int) -> Row:
    return Row("s", INVITE, Counter({Cause(cause): count for cause, count in named.items()}), 0)


@pytest.mark.parametrize(
    ("row", "good"),
    [
        (_row(invite_blocked=100), True),
        (_row(invite_blocked=98, calls_blocked=2), True),
        (_row(invite_blocked=97, calls_blocked=3), False),
        (_row(invite_blocked=96, unknown=4), True),
        (_row(invite_blocked=95, unknown=5), False),
    ],
)
def test_few_false_and_few_unknown_causes_are_borne(row: Row, good: bool) -> None:
    """At most 2 % false, less than 5 % unknown."""
    assert is_good([row]) is good


def test_an_unknown_cause_is_no_false_one() -> None:
    """It is counted by itself, and not at all where it is what a scenario expects."""
    assert shares([_row(invite_blocked=1, unknown=1)]) == (0.0, 0.5)
    honest = Row("s", frozenset({Cause.UNKNOWN}), Counter({Cause.UNKNOWN: 3}), 0)
    assert shares([honest]) == (0.0, 0.0)


def test_the_table_shows_what_was_taken_for_what() -> None:
    """A cause that is not expected stands out, and the last line sums up."""
    lines = list(as_markdown([_row(invite_blocked=3, content_blocked=1)]))
    assert "| s | 4 | invite_blocked 75%, **content_blocked 25%** | 1 | 0 |" in lines
    assert "25.0% falsely" in lines[-1]
