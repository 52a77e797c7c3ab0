"""Daemon, Prometheus and Alertmanager together on 18 June 2024: one page, by whichever road."""

from __future__ import annotations

from typing import Final

import pytest

from deploy.june import CALLS_BLOCKED, Record, named_calls
from psapwatch.demo.towns import EAST

played_first = pytest.mark.timeout(300)
"""The day may have to be played before the test can begin."""
PUSH: Final = CALLS_BLOCKED | {"road": "push"}
RULES: Final = CALLS_BLOCKED | {"road": "rules"}


@played_first
def test_18_june_is_one_page_whichever_road_is_cut(june: Record) -> None:
    """204 PSAPs, a firewall that keeps INVITE from half of them: one page, and one end of it.

    By both roads at once, by Prometheus alone while the push road is cut, and by the push alone
    once Prometheus is stopped.
    """
    assert june.told_before == []
    assert min(june.stopped) > 0, "the firewall stopped nothing"
    assert june.roads == {"push": "active", "rules": "suppressed"}
    by_both, by_rules = june.first
    [firing, (status, ended)] = by_both
    assert firing == ("firing", [PUSH])
    assert status == "resolved"
    assert PUSH in ended  # its twin may stand beside it: Prometheus repeats that it is over
    assert all(alert in (PUSH, RULES) for alert in ended)
    assert by_rules == [("firing", [RULES]), ("resolved", [RULES])]

    assert june.second == ([("firing", [PUSH])], [])
    for people in (june.both, june.uncalled):
        assert people.told("/ticket") == []


@played_first
def test_the_page_says_what_is_blocked_and_what_still_works(june: Record) -> None:
    """The first thing that people read: calls through fw-east, 102 PSAPs, OPTIONS still pass."""
    summary = june.both.summaries()[0]
    assert f"test calls through {EAST} fail" in summary
    assert "102 PSAPs are behind it" in summary
    assert "OPTIONS still pass" in summary


@played_first
def test_a_call_is_named_beside_its_latency_and_has_a_page(june: Record) -> None:
    """From a point of a graph to the ladder of that call, by its Call-ID; kept over a restart."""
    call_id, page = june.call
    assert call_id in page
    assert "|---" in page
    assert "pass (signalling)" in page
    assert call_id in named_calls(june.past, june.began_at, june.middle_at)
