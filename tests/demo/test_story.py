"""What counts as a story that went well, and how it is set beside 2024."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psapwatch.demo.lab import Left
from psapwatch.demo.story import CAUSE, FAST, FULL, PAGED, Record, compared, wrong_with
from psapwatch.simulator.alertmanager import Page

AT = 1_000.0


def page(after_s: float = 4.5, cause: str = CAUSE, **labels: str) -> Page:
    """Return the page that the story wants, with changes."""
    kept = {**PAGED, **labels}
    return Page(AT + after_s, kept["alertname"], frozenset(kept.items()), "page", {"cause": cause})


GOOD = Record(
    healthy=204,
    healthy_after_s=3.0,
    blocked_at=AT,
    known_at=AT + 4.4,
    pages=[page()],
    stopped=300,
    lifted_at=AT + 8.0,
    over_at=AT + 13.0,
    resolved_at=AT + 14.0,
    healthy_again=204,
)


def test_a_story_that_went_well_has_nothing_wrong() -> None:
    """One page, in time, of the right scope and cause, and all is well again."""
    assert wrong_with(GOOD, FAST) == []


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (replace(GOOD, healthy=203), "only 203 of 204 paths were healthy"),
        (replace(GOOD, stopped=0), "the firewall stopped nothing"),
        (replace(GOOD, pages=[]), "nobody was paged within 15 s"),
        (replace(GOOD, pages=[page(15.5)]), "the page came after 15.5 s"),
        (replace(GOOD, pages=[page(-1.0)]), "the page came after -1.0 s"),
        (replace(GOOD, pages=[page(cause="calls_blocked")]), "the cause 'calls_blocked'"),
        (replace(GOOD, pages=[page(scope="vantage")]), "scope 'vantage', not 'firewall'"),
        (replace(GOOD, pages=[page(member="fw-west")]), "member 'fw-west', not 'fw-east'"),
        (replace(GOOD, pages=[page(), page(member="Bristol")]), "2 pages for one failure"),
        (replace(GOOD, over_at=None), "the incident was not over"),
        (replace(GOOD, resolved_at=None), "the alert was not resolved"),
        (replace(GOOD, healthy_again=199), "only 199 of 204 paths are healthy again"),
        (replace(GOOD, internal_errors=1), "1 internal errors"),
        (replace(GOOD, left=Left(0, 2)), "2 open at the answering points"),
        (replace(GOOD, left=Left(1, 0)), "1 test calls left open by psapwatch"),
    ],
)
def test_whatever_is_wrong_is_said(record: Record, said: str) -> None:
    """Each deviation has a sentence of its own, and only that one."""
    (sentence,) = wrong_with(record, FAST)
    assert said in sentence


def test_the_times_stand_beside_those_of_2024() -> None:
    """What was published then, what was measured here, and nothing claimed that did not happen."""
    text = "\n".join(compared(GOOD))
    for fact in ("13:15", "75 min", "14:30", "15:15", "4.5 s after, a page", "8.0 s after"):
        assert fact in text
    assert "never" in "\n".join(compared(replace(GOOD, pages=[], resolved_at=None)))


@pytest.mark.parametrize("plan", [FAST, FULL])
def test_the_design_allows_fifteen_seconds(plan: object) -> None:
    """Both plans hold the daemon to the time that the design promises for a total block."""
    assert getattr(plan, "paged_within_s", None) == 15.0
