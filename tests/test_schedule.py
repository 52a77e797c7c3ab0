"""When checks are due, and what a firewall may be asked to carry."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from psapwatch.endpoint import Agreement, Limits
from psapwatch.schedule import (
    BURST_CALLS,
    Budget,
    next_due,
    phases,
    wait_for_turn_s,
)


def test_phases_are_spread_evenly() -> None:
    """204 calls in five minutes are one every 1.47 s."""
    due = sorted(phases([f"psap-{n}" for n in range(204)], 300.0).values())
    gaps = {round(later - earlier, 6) for earlier, later in itertools.pairwise(due)}
    assert gaps == {round(300 / 204, 6)}


@given(due=st.floats(0, 1e6), every=st.floats(0.5, 3600), late=st.floats(0, 1e5, allow_nan=False))
def test_what_was_missed_is_not_made_up_for(due: float, every: float, late: float) -> None:
    """The next due time is after now, on the grid, and no more than one interval away."""
    now = due + late
    following = next_due(due, every, now)
    assert following > now - 1e-6
    assert following - now <= every * 1.000001
    steps = (following - due) / every
    assert abs(steps - round(steps)) < 1e-3


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200), st.floats(1, 50))
def test_a_budget_is_never_exceeded(gaps: list[float], rate: float) -> None:
    """In any window, no more messages begin than the rate and one bucket's depth allow."""
    budget = Budget(Limits(messages_per_second=rate, calls_per_second=1, concurrent_calls=1))
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        now += budget.wait_s("options", now)
        budget.enter("options", now)
        taken.append(now)
    depth = max(rate, 8.0)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= depth + rate * (taken[last] - taken[first]) + 1.001


def test_calls_at_once_are_bounded_and_freed() -> None:
    """The twenty-first call waits until one of the twenty has left."""
    budget = Budget(Limits(messages_per_second=1e4, calls_per_second=1e4, concurrent_calls=20))
    for _ in range(20):
        assert budget.wait_s("call", 1.0) == 0
        budget.enter("call", 1.0)
    assert budget.wait_s("call", 1.0) > 0
    assert budget.wait_s("options", 1.0) == 0
    budget.leave("call")
    assert budget.wait_s("call", 1.0) == 0


def test_a_burst_waits_for_all_its_room_and_is_paid_for_after_it() -> None:
    """Eight slots at once or none; then no call until the rate has made up for them.

    One token is enough, as for any call: to wait for more, while calls go on, might take for ever.
    """
    budget = Budget(Limits(messages_per_second=200, calls_per_second=2, concurrent_calls=10))
    for _ in range(3):
        budget.enter("call", 1.0)
    assert budget.wait_s("burst", 9.0) > 0, "three and eight are more than ten"
    budget.leave("call")
    assert budget.wait_s("burst", 9.0) == 0
    budget.enter("call", 9.0)
    budget.leave("call")
    assert budget.wait_s("burst", 9.0) == 0
    budget.enter("burst", 9.0)
    assert budget.calls_now == 2 + BURST_CALLS
    budget.leave("call")
    budget.leave("call")
    assert budget.wait_s("call", 9.0) == BURST_CALLS / 2
    assert budget.wait_s("options", 9.0) == 0
    budget.leave("burst")
    assert budget.calls_now == 0


def test_the_floor_of_two_minutes_needs_an_agreement_to_be_shorter() -> None:
    """A configured interval under two minutes counts only where it was agreed."""
    assert Agreement("x", every_s=10.0).spacing_s == 120.0
    assert Agreement("x", every_s=10.0, short_interval_agreed=True).spacing_s == 10.0


@given(wall=st.floats(1.7e9, 1.8e9), of=st.integers(2, 5))
def test_two_vantages_never_meet(wall: float, of: int) -> None:
    """At any moment at most one vantage's turn has come, and waiting brings everyone's."""
    agreements = [Agreement("x", every_s=300.0, turn=(nth, of)) for nth in range(1, of + 1)]
    waits = [wait_for_turn_s(each, wall) for each in agreements]
    assert sum(wait == 0 for wait in waits) <= 1
    for agreement, wait in zip(agreements, waits, strict=True):
        assert wait_for_turn_s(agreement, wall + wait + 1e-3) == 0
        assert wait <= agreement.round_s


@given(wall=st.floats(1.7e9, 1.8e9), of=st.integers(2, 5), later_s=st.floats(0.0, 600.0))
def test_the_spacing_holds_over_all_vantages(wall: float, of: int, later_s: float) -> None:
    """While one vantage may call, no other may within the agreed spacing of it."""
    agreements = [Agreement("x", every_s=300.0, turn=(nth, of)) for nth in range(1, of + 1)]
    calls = [each for each in agreements if wait_for_turn_s(each, wall) == 0]
    then = [each for each in agreements if wait_for_turn_s(each, wall + later_s) == 0]
    if calls and then and calls != then:
        assert later_s >= 300.0 - 1e-6


def test_a_rounding_error_is_not_waited_for() -> None:
    """Tokens missing by floating point alone are there: a wait of no time would never end."""
    budget = Budget(Limits(messages_per_second=200, calls_per_second=0.3, concurrent_calls=9))
    now = 0.0
    for _ in range(2_000):
        wait_s = budget.wait_s("call", now)
        assert wait_s == 0 or now + wait_s > now
        now += wait_s
        assert budget.wait_s("call", now) == 0
        budget.enter("call", now)
        budget.leave("call")


def test_what_is_brought_forward_is_still_due_in_its_time() -> None:
    """However often an attempt is brought forward, the next one is never an interval late."""
    due = 100.0
    for now in (90.0, 92.5, 95.0, 99.9):
        due = next_due(due, 15.0, now)
        assert due == 100.0
    assert next_due(due, 15.0, 100.0) == 115.0
