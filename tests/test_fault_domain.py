"""Which one thing explains the failing paths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psapwatch.fault_domain import Member, explain

NOW = 1_000.0


def _members(failing: set[int], *, of: int = 40, since: float = NOW - 5) -> list[Member]:
    """Paths 0..of-1: two firewalls by parity, four counties, two transports by halves."""
    return [
        Member(
            f"p{n:02}/x",
            frozenset(
                {
                    ("psap", f"p{n:02}"),
                    ("firewall", f"fw-{n % 2}"),
                    ("county", f"c{n % 4}"),
                    ("transport", "udp" if n < of / 2 else "tcp"),
                    ("vantage", "here"),
                }
            ),
            since if n in failing else None,
            NOW - 1,
            n in failing,
        )
        for n in range(of)
    ]


def _found(members: list[Member]) -> list[tuple[str, str]]:
    return [(domain.scope, domain.member) for domain in explain(members, NOW)]


def test_nothing_failing_is_nothing() -> None:
    """No failures, no domain."""
    assert _found(_members(set())) == []


def test_a_firewall_is_found_among_two() -> None:
    """All paths through one firewall fail, the other's pass."""
    assert _found(_members(set(range(0, 40, 2)))) == [("firewall", "fw-0")]


def test_the_smallest_explanation_wins() -> None:
    """A county behind a firewall fails: the county, not the firewall."""
    assert _found(_members(set(range(0, 40, 4)))) == [("county", "c0")]


def test_without_a_contrast_it_is_the_firewall() -> None:
    """The first three that fail share a county, and nobody beside it was asked since."""
    onset = NOW - 5
    members = [
        each if each.is_failing else replace(each, last_at=onset - 1)
        for each in _members({0, 4, 8}, since=onset)
    ]
    assert _found(members) == [("firewall", "fw-0")]
    for other, told in ((1, "firewall"), (2, "county")):  # behind the other firewall; beside it
        asked = [
            replace(each, last_at=NOW - 1) if each.key == f"p{other:02}/x" else each
            for each in members
        ]
        assert [scope for scope, _member in _found(asked)] == [told]


def test_a_transport_is_found() -> None:
    """UDP dies everywhere, TCP does not."""
    assert _found(_members(set(range(20)))) == [("transport", "udp")]


def test_everything_is_the_vantage() -> None:
    """When all paths fail, what they share is where we measure from."""
    assert _found(_members(set(range(40)))) == [("vantage", "here")]


def test_equal_sets_resolve_in_the_documents_order() -> None:
    """With one firewall only, firewall and vantage hold the same paths: the firewall is named."""
    members = [
        Member(
            each.key,
            frozenset({("psap", each.key), ("firewall", "fw"), ("vantage", "here")}),
            each.failing_since,
            each.last_at,
            each.is_failing,
        )
        for each in _members(set(range(40)))
    ]
    assert _found(members) == [("firewall", "fw")]


def test_coincidences_stay_separate() -> None:
    """Three PSAPs failing in different places are no firewall."""
    assert _found(_members({0, 5, 22})) == []


def test_two_domains_at_once_are_both_found() -> None:
    """A county behind each firewall: two explanations, not one bigger one."""
    both = _found(_members({*range(0, 40, 4), *range(1, 40, 4)}))
    assert sorted(both) == [("county", "c0"), ("county", "c1")]


def test_a_chronic_failure_poisons_nothing() -> None:
    """What has failed for an hour neither opens a domain nor stands in the way of one."""
    chronic = _members(set(range(6)), since=NOW - 3_600)
    assert _found(chronic) == []
    fresh = {each.key: each for each in _members(set(range(0, 40, 2)))}
    both = [each if each.is_failing else fresh[each.key] for each in chronic]
    assert ("firewall", "fw-0") in _found(both)


def test_a_pass_before_the_onset_is_no_evidence_against() -> None:
    """Paths last sampled before the block began are untested, not passing."""
    members = [
        each if each.is_failing else Member(each.key, each.scopes, None, NOW - 30, is_failing=False)
        for each in _members({0, 2, 4, 6})
    ]
    (domain,) = explain(members, NOW)
    assert (domain.scope, domain.member) == ("firewall", "fw-0")
    assert domain.passing == ()
    assert len(domain.untested) == 16


@pytest.mark.parametrize("others_last_at", [NOW - 60, NOW - 1])
def test_one_firewall_speaks_for_no_region_behind_two(others_last_at: float) -> None:
    """Neither where nobody behind the other was tested since, nor where they pass."""
    members = [
        replace(
            each,
            scopes=each.scopes | {("region", "west" if n < 6 else "east")},
            last_at=each.last_at if n % 2 == 0 else others_last_at,
        )
        for n, each in enumerate(_members({0, 2, 4}, of=12))
    ]
    assert _found(members) == [], "the west behind fw-0 alone, which is no candidate"
    both = [
        replace(each, is_failing=True) if n in (1, 3, 5) else each for n, each in enumerate(members)
    ]
    both = [replace(each, failing_since=NOW - 5) if each.is_failing else each for each in both]
    assert _found(both) == [("region", "west")]
