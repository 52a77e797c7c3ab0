"""The one line that says whether calls get through."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from psapwatch.metrics_names import STATES
from psapwatch.web.overview import (
    INCIDENTS_SHOWN_MAX,
    SYMBOLS,
    WORDS,
    badness,
    headline,
    overview,
    tiles,
)
from samples import Desk, incident, row

GREEN = Counter({"up": 204})


def about(**changed: Any) -> Any:
    """Return an open incident."""
    return incident(**changed)


def psap(member: str, **changed: Any) -> Any:
    """Return an open incident about one PSAP."""
    return incident(id=f"i-{member}", scope="psap", member=member, psap=member, **changed)


@pytest.mark.parametrize(
    ("incidents", "states", "level", "text"),
    [
        ([], GREEN, "good", "Calls get through"),
        ([], Counter(), "unknown", "Measuring: no verdict yet"),
        ([], Counter(unknown=204), "unknown", "Measuring: no verdict yet"),
        ([], Counter(up=203, suspect=1), "good", "Calls get through"),
        ([], Counter(up=203, down=1), "warn", "Calls get through, but one path is down"),
        ([], Counter(up=202, down=2), "warn", "Calls get through, but 2 paths are down"),
        ([about()], GREEN, "bad", "CALLS BLOCKED through fw-east"),
        (
            [about(), about(id="i-2", member="fw-west")],
            GREEN,
            "bad",
            "CALLS BLOCKED through fw-east and fw-west",
        ),
        ([psap("a"), psap("b"), psap("c")], GREEN, "bad", "CALLS BLOCKED to a, b and c"),
        ([psap(name) for name in "abcd"], GREEN, "bad", "CALLS BLOCKED to 4 PSAPs"),
        ([psap("a"), about()], GREEN, "bad", "CALLS BLOCKED through fw-east"),
        ([about(scope="vantage", member="b")], GREEN, "bad", "CALLS BLOCKED from b"),
        ([about(scope="carrier", member="x")], GREEN, "bad", "CALLS BLOCKED for carrier x"),
        (
            [about(alertname="CallsDegraded")],
            GREEN,
            "warn",
            "Some calls are lost through fw-east",
        ),
        (
            [
                psap(
                    "a",
                    alertname="CallsDegraded",
                    evidence={"outcomes": {"call": "pass", "options": "fail"}},
                )
            ],
            GREEN,
            "warn",
            "Calls get through, but OPTIONS fail to a",
        ),
        (
            [about(alertname="ProberBlind"), about()],
            GREEN,
            "bad",
            "CANNOT TELL: psapwatch does not trust its own measurements",
        ),
        (
            [psap("a", alertname="TestCallUnsafe")],
            GREEN,
            "bad",
            "A TEST CALL MAY HAVE REACHED A PERSON to a",
        ),
        ([psap("a", alertname="RedundancyLost")], GREEN, "good", "Calls get through"),
    ],
)
def test_the_worst_true_sentence_wins(
    incidents: list[Any], states: Counter[str], level: str, text: str
) -> None:
    """Each situation has one headline and one level."""
    said = headline(incidents, states)
    assert (said.level, said.text) == (level, text)


def test_counts_speak_of_psap_paths_only() -> None:
    """Our own reference and control are no answering points."""
    desk = Desk(
        rows=[row(), row("b", "degraded"), row("c", "down"), row("d", "suspect"), row("reference")]
    )
    top = overview(desk)
    assert top.counts == "1 of 4 paths healthy"
    assert top.others == "1 down, 1 suspect, 1 degraded"
    assert top.firewalls == {"fw-east": "1 of 4 paths healthy"}


def test_the_list_of_incidents_is_bounded_and_counted() -> None:
    """A page with a thousand incidents still loads, and says how many there are."""
    desk = Desk(open=[psap(f"p{number}") for number in range(1000)])
    top = overview(desk)
    assert len(top.incidents) == INCIDENTS_SHOWN_MAX
    assert top.incidents_open == 1000


def test_a_tile_is_the_worst_of_a_psaps_paths_behind_one_firewall() -> None:
    """Two paths through one firewall are one tile, another firewall is another."""
    rows = [
        row(path="one"),
        row(path="two", state="down"),
        row(path="three", firewall="fw-west"),
    ]
    east, west = tiles(rows)
    assert (east.id, east.state, east.word) == ("tile:fw-east:ma-boston", "down", "Down")
    assert east.paths == "1 of 2 paths healthy"
    assert (west.state, west.paths) == ("up", "")
    assert list(tiles(rows, {("ma-boston", "fw-west")})) == [west]


def test_every_state_has_a_word_and_a_symbol() -> None:
    """Nothing on the page is told by colour alone."""
    assert set(WORDS) == set(SYMBOLS) == set(STATES)
    assert len({badness(state) for state in STATES}) == len(STATES)
    assert len(set(WORDS.values())) == len(set(SYMBOLS.values())) == len(STATES)
