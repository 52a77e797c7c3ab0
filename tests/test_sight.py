"""Whether the prober sees: a witness, its own faults, its self-test."""

from __future__ import annotations

import pytest

from psapwatch.sight import FAULTS_MIN, OWN_FAULT_S, PENDING_S, WITNESS_NEEDED, Sight
from psapwatch.verdict import PASSED
from samples import FAILED, UNSURE

EAST, WEST = "fw-east", "fw-west"


def test_a_witness_that_is_silent_twice_blinds_its_firewall_alone() -> None:
    """Once may be chance; what is seen through another firewall still counts."""
    sight = Sight()
    for nth in range(WITNESS_NEEDED):
        assert not sight.hides(EAST)
        sight.witness(EAST, FAILED, float(nth))
    assert sight.hides(EAST)
    assert not sight.hides(WEST)
    assert EAST in sight.why


def test_what_was_sent_while_blind_counts_for_nothing_afterwards() -> None:
    """An attempt that began in the dark proves nothing when its silence is noticed in the light."""
    sight = Sight()
    for nth in range(WITNESS_NEEDED):
        sight.witness(EAST, FAILED, float(nth))
    sight.witness(EAST, PASSED, 10.0)
    assert not sight.why
    assert sight.voids(EAST, 9.0, FAILED)
    assert not sight.voids(EAST, 10.5, FAILED)


def test_nobody_is_called_blocked_until_the_witness_has_spoken() -> None:
    """... but not for longer than it may take to be silent."""
    sight = Sight()
    sight.ask(EAST, 100.0)
    assert sight.is_pending(100.5)
    assert not sight.is_pending(100.0 + PENDING_S)
    sight.ask(EAST, 200.0)
    sight.witness(EAST, PASSED, 200.0)
    assert not sight.is_pending(200.1)


@pytest.mark.parametrize("spoils", [PASSED, FAILED])
def test_only_faults_of_our_own_in_a_row_are_blindness(spoils: object) -> None:
    """Thirty seconds of nothing else: one attempt that saw anything ends the count."""
    sight = Sight()
    for nth in range(FAULTS_MIN + 1):
        sight.attempt(EAST, UNSURE, nth * OWN_FAULT_S / FAULTS_MIN)
    assert sight.hides(EAST)
    assert UNSURE.why in sight.why
    sight.attempt(EAST, spoils, 2 * OWN_FAULT_S)  # type: ignore[arg-type]
    assert not sight.hides(EAST)


def test_a_few_faults_in_a_moment_blind_nobody() -> None:
    """A full file table for a second is counted, and no page."""
    sight = Sight()
    for nth in range(20):
        sight.attempt(EAST, UNSURE, nth * 0.1)
    assert not sight.why


def test_a_failed_self_test_blinds_every_firewall() -> None:
    """Until it proves again that a living target passes and a dead one fails."""
    sight = Sight()
    sight.self_test = "always_green: silent"
    assert sight.hides(EAST)
    assert sight.hides(WEST)
    sight.self_test = ""
    assert not sight.why
