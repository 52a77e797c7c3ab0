"""Pooled detection: what raises, what does not, and how it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import false_alarms
from psapwatch.detection import Standing, State
from psapwatch.pooled import (
    PAGE_LOSS,
    Finding,
    Pools,
    SampleKind,
    counts,
    first_answered,
    packet_loss,
)
from psapwatch.simulator.chance import seeded
from psapwatch.verdict import PASSED
from samples import answered, attempt, sent

EAST = ("firewall", "fw-east")
WEST = ("firewall", "fw-west")
HERE = ("vantage", "here")


def _fed(pools: Pools, loss: float, samples: int, *, kind: SampleKind = "options", seed: int = 1,
         scopes: tuple[tuple[str, str], ...] = (EAST, HERE)) -> int | None:  # fmt: skip
    """Feed samples until the domain is sick; return after how many."""
    chance = seeded(seed, "pooled")
    for nth in range(samples):
        pools.take(scopes, kind, f"p{nth % 204}", float(nth), failed=chance.random() < loss)
        if pools.is_sick(scopes[0]):
            return nth + 1
    return None


@pytest.mark.parametrize(
    ("loss", "within"), [(1.0, 5), (0.5, 40), (0.25, 80), (0.10, 300), (0.05, 900)]
)
@pytest.mark.parametrize("seed", range(5))
def test_loss_is_found_within_so_many_samples(loss: float, within: int, seed: int) -> None:
    """The more is lost, the fewer samples it takes."""
    after = _fed(Pools(), loss, 5_000, seed=seed)
    assert after is not None
    assert after <= within


@pytest.mark.parametrize("seed", range(3))
def test_half_a_percent_at_random_is_health(seed: int) -> None:
    """Two days of samples with random failures raise nothing (ten years: ``false_alarms``)."""
    assert _fed(Pools(), 0.005, 500_000, seed=seed) is None


@pytest.mark.parametrize("kind", ["call", "options", "first"])
def test_ten_years_bring_no_false_alarm(kind: SampleKind) -> None:
    """Computed, not simulated: fewer than one in twenty times ten years."""
    assert sum(expected for _loss, expected in false_alarms.in_ten_years(kind)) < 0.05


def test_the_smaller_domain_is_named() -> None:
    """One of two firewalls loses calls: the firewall, not the vantage that holds both."""
    pools = Pools()
    for nth in range(200):
        pools.take((EAST, HERE), "call", f"e{nth % 20}", float(nth), failed=nth % 4 == 0)
        pools.take((WEST, HERE), "call", f"w{nth % 20}", float(nth), failed=False)
    assert [finding.scope for finding in pools.findings()] == [EAST]


def test_two_firewalls_at_once_are_two_findings() -> None:
    """Both lose calls: two incidents, not one vantage."""
    pools = Pools()
    for nth in range(400):
        for side in (EAST, WEST):
            pools.take((side, HERE), "call", f"{side}{nth % 20}", float(nth), failed=nth % 4 == 0)
    assert sorted(finding.scope for finding in pools.findings()) == [EAST, WEST]


@pytest.mark.parametrize(("elsewhere", "expected"), [(0.05, EAST), (0.0, ("county", "c1"))])
def test_a_part_must_stand_out_from_the_rest(elsewhere: float, expected: tuple[str, str]) -> None:
    """Six calls of eight are a county's own loss only where the firewall loses nothing else."""
    pools, county = Pools(), ("county", "c1")
    for nth in range(200):
        is_lost = nth % 20 < 20 * elsewhere
        pools.take((EAST,), "call", f"p{nth}", float(nth), failed=is_lost)
        if nth % 25 == 0:
            is_lost = nth // 25 in {0, 1, 2, 3, 5, 7}
            pools.take((EAST, county), "call", f"c{nth}", float(nth), failed=is_lost)
    assert pools.is_sick(county)
    assert [finding.scope for finding in pools.findings()] == [expected]


def test_what_fails_elsewhere_is_asked_of_what_comes_before_and_is_bigger() -> None:
    """A county is a part of a firewall; a firewall is a part of nothing."""
    pools, county = Pools(), ("county", "c1")
    assert pools.elsewhere("call", county) == 0.0
    for nth in range(10):
        pools.take((EAST, HERE), "call", f"p{nth}", float(nth), failed=nth % 5 == 0)
    pools.take((EAST, HERE, county), "call", "c1", 11.0, failed=True)
    assert pools.elsewhere("call", county) == 0.2
    assert pools.elsewhere("call", ("county", "c2")) == 3 / 11
    assert pools.elsewhere("options", county) == 0.0
    assert pools.elsewhere("call", EAST) == 0.0


def test_recovery_is_as_sure_as_onset() -> None:
    """A sick domain is well only after enough passes, and a single one is not enough."""
    pools = Pools()
    assert _fed(pools, 1.0, 10) == 5
    pools.take((EAST, HERE), "options", "p1", 100.0, failed=False)
    assert pools.is_sick(EAST)
    for nth in range(20):
        pools.take((EAST, HERE), "options", "p1", 101.0 + nth, failed=False)
    assert not pools.is_sick(EAST)
    assert list(pools.findings()) == []


@pytest.mark.parametrize("loss", [0.05, 0.10])
def test_what_goes_on_losing_a_part_seldom_seems_well(loss: float) -> None:
    """Of 100 worlds; held against the share seen at onset alone, 10 and 24 seem well."""
    seem_well = 0
    for seed in range(100):
        pools = Pools()
        assert _fed(pools, loss, 5_000, seed=seed)
        chance = seeded(seed, "afterwards")
        for nth in range(600):
            failed = chance.random() < loss
            pools.take((EAST, HERE), "options", f"p{nth % 204}", 5e3 + nth, failed=failed)
            if not pools.is_sick(EAST):
                seem_well += 1
                break
    assert seem_well <= 6


def test_one_path_alone_is_suspicious_but_not_shared() -> None:
    """A PSAP that dies does not wait for its firewall to be judged."""
    pools = Pools()
    for nth in range(3):
        pools.take((EAST,), "options", "p7", float(nth), failed=True)
    assert pools.is_suspicious(EAST)
    assert not pools.is_shared(EAST)
    pools.take((EAST,), "options", "p8", 3.0, failed=True)
    assert pools.is_shared(EAST)


def test_what_an_incident_explains_is_forgotten_elsewhere() -> None:
    """Once the firewall is named, the vantage does not raise over the same failures later."""
    pools = Pools()
    _fed(pools, 1.0, 10)
    assert pools.is_sick(HERE)
    pools.explained_by([EAST])
    assert not pools.is_sick(HERE)
    assert pools.is_sick(EAST)


@pytest.mark.parametrize(
    ("state", "ever_passed", "ours", "expected"),
    [
        (State.UP, True, False, True),
        (State.DEGRADED, True, False, True),
        (State.SUSPECT, True, False, True),
        (State.DOWN, True, False, False),
        (State.UNKNOWN, False, False, False),
        (State.DOWN, True, True, True),
        (State.UNKNOWN, False, True, False),
    ],
)
def test_chronic_failures_do_not_count(
    state: State, ever_passed: bool, ours: bool, expected: bool
) -> None:
    """A path that is down, or never was up, is no sample of its firewall."""
    standing = Standing(state=state, last_pass_at=1.0 if ever_passed else None)
    assert counts(standing, is_ours=ours) is expected


@given(st.floats(0, 1))
def test_packet_loss_from_unanswered_sends(lost: float) -> None:
    """A share lost each way leaves ``1 - (1 - q)^2`` of first sends unanswered."""
    assert packet_loss(1 - (1 - lost) ** 2) == pytest.approx(lost, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "loss", "severity"),
    [
        ("call", PAGE_LOSS, "page"),
        ("call", 0.03, "ticket"),
        ("first", 0.37, "page"),
        ("first", 0.10, "ticket"),
        ("first", 0.05, None),
    ],
)
def test_severity(kind: SampleKind, loss: float, severity: str | None) -> None:
    """5 % of calls page; 5 % of packets are a ticket and 20 % page."""
    assert Finding(kind, EAST, 0.0, loss, 100, 10).severity == severity


@pytest.mark.parametrize(("phase_s", "at_once"), [(0.002, True), (0.499, True), (0.502, False)])
def test_what_a_call_waits_for_its_row_is_no_time_to_answer(
    phase_s: float, *, at_once: bool
) -> None:
    """Moments count from an attempt's beginning, an answer's phase from when the INVITE left."""
    left_s = 0.03
    seen = (
        sent(left_s, method="INVITE"),
        sent(left_s + 0.5, 2, "INVITE"),
        answered(left_s + phase_s, method="INVITE", phase_s=phase_s, late=False),
    )
    assert first_answered(attempt(seen=seen), PASSED) is at_once
