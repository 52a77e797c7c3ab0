"""Maintenance windows name what may be down; changes are quoted by what begins soon after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psapwatch.announced import (
    NEAR_S,
    QUOTED_MAX,
    ROUND_S,
    Calendar,
    Change,
    RoundAfter,
    Window,
    quoted,
)
from psapwatch.reported import unproven_incidents
from samples import WALL, path

EAST = Window("firewall", "fw-east", WALL, WALL + 60, "CHG-1")


@pytest.mark.parametrize(
    ("scope", "member", "is_named"),
    [
        ("firewall", "fw-east", True),
        ("firewall", "fw-west", False),
        ("psap", "ma-boston", True),
        ("path", "ma-boston/east", True),
        ("path", "ma-boston/west", False),
        ("county", "Suffolk", True),
        ("county", "Essex", False),
        ("state", "MA", False),
    ],
)
def test_a_window_names_one_kind_of_thing(scope: str, member: str, is_named: bool) -> None:
    """A firewall, a PSAP, a path, or all that has an attribute."""
    road = replace(path(), attributes=(("county", "Suffolk"),))
    assert Window(scope, member, WALL, WALL + 1, "x").names(road) is is_named


def test_a_calendar_turns_at_the_moments_of_its_windows() -> None:
    """Windows open and close by the clock, also one that is stepped back; what ended is told."""
    later = replace(EAST, from_at=WALL + 30, until_at=WALL + 90)
    calendar = Calendar((EAST, later))
    moments = {-1: (), 0: (EAST,), 29: (EAST,), 30: (EAST, later), 60: (later,), 90: ()}
    for after_s, windows in (*moments.items(), *reversed(moments.items())):
        before = calendar.open
        assert calendar.turn(WALL + after_s) == tuple(
            each for each in before if each not in windows
        )
        assert calendar.open == windows
    calendar.turn(WALL + 89)
    assert calendar.names(path())
    calendar.windows = ()
    assert calendar.names(path()), "all parts go by the same windows until the next turn"
    assert calendar.turn(WALL + 89) == (later,)
    assert not calendar.names(path())


def test_what_has_just_ended_still_asks_for_its_round() -> None:
    """A daemon that starts after a window looks back as far as a round takes."""
    calendar = Calendar((EAST,))
    ago = {-1: (), 0: (EAST,), ROUND_S - 1: (EAST,), ROUND_S: ()}
    for after_s, windows in ago.items():
        assert calendar.lately(EAST.until_at + after_s) == windows


def test_who_has_not_passed_by_its_time_is_late() -> None:
    """A pass since the end strikes a path off; one from before does not."""
    after = RoundAfter(EAST, WALL, {"a": WALL + 20, "b": WALL + 20, "c": WALL + 300})
    assert after.late({"a": WALL - 1}, WALL + 19) == ()
    assert after.late({"a": WALL + 5, "b": WALL - 1}, WALL + 20) == ("b",)
    assert after.late({}, WALL + 300) == ("b", "c")
    assert after.late({"b": WALL + 301, "c": WALL + 302}, WALL + 303) == ()
    assert not after.due


@pytest.mark.parametrize(
    ("scope", "member", "late", "wanted"),
    [
        ("firewall", "fw-east", "east", [("CallsBlocked", "page", "firewall", "fw-east")]),
        ("county", "Suffolk", "east", [("CallsBlocked", "page", "county", "Suffolk")]),
        ("psap", "ma-boston", "east", [("RedundancyLost", "ticket", "path", "ma-boston/east")]),
        ("psap", "ma-boston", "east west", [("CallsBlocked", "page", "psap", "ma-boston")] * 2),
        ("firewall", "fw-east", "", []),
    ],
)
def test_what_is_told_fits_what_was_named(
    scope: str, member: str, late: str, wanted: list[tuple[str, str, str, str]]
) -> None:
    """One path of several is lost redundancy; a whole PSAP, or anything bigger, is a page."""
    roads = [path(name="east"), path(name="west", through="fw-west"), path("ma-lynn")]
    paths = [road for road in roads[:2] if road.id in late.split()]
    found = unproven_incidents(Window(scope, member, WALL, WALL, "CHG-1"), paths, roads, WALL)
    assert [(each.alertname, each.severity, each.scope, each.member) for each in found] == wanted
    assert all("CHG-1" in each.summary for each in found)


def test_the_nearest_changes_are_quoted() -> None:
    """Those shortly before, a clock's error after at most, the nearest first, a few."""
    changes = [
        Change(WALL - NEAR_S - 1, "old", "NOC"),
        Change(WALL - 200, "CHG-1", "NOC"),
        Change(WALL - 40, "CHG-2", "ann"),
        Change(WALL + 2, "CHG-3", "bob"),
        Change(WALL + 60, "repair", "NOC"),
    ]
    assert quoted(changes, WALL) == (
        "0 s after change CHG-3 by bob",
        "40 s after change CHG-2 by ann",
        "3 min after change CHG-1 by NOC",
    )
    assert len(quoted([Change(WALL, f"CHG-{nth}", "x") for nth in range(9)], WALL)) == QUOTED_MAX
