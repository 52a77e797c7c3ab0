"""The demo's towns: 204 of them, each once, 102 behind each firewall."""

from __future__ import annotations

from collections import Counter

from psapwatch.demo.towns import COUNTIES, FIREWALLS, TOWNS


def test_there_are_204_towns_102_behind_each_firewall() -> None:
    """As many as Massachusetts has answering points."""
    assert Counter(town.firewall for town in TOWNS) == dict.fromkeys(FIREWALLS, 102)


def test_no_town_is_there_twice_and_each_has_an_id_for_a_url() -> None:
    """Ids are what paths, metrics and links are named by."""
    assert len({town.name for town in TOWNS}) == len({town.id for town in TOWNS}) == 204
    assert all(town.id.replace("-", "").isalpha() and town.id.islower() for town in TOWNS)


def test_a_county_is_wholly_behind_one_firewall() -> None:
    """So that a county's block is a fault domain of its own inside a firewall's."""
    behind: dict[str, set[str]] = {}
    for town in TOWNS:
        behind.setdefault(town.county, set()).add(town.firewall)
    assert behind == {county: {firewall} for county, firewall in COUNTIES.items()}
