"""A firewall that takes the prober for an attacker: a ticket, and no PSAP is called blocked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import Firewall, Limits, Path, Psap, Source
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.look import Ground
from psapwatch.quarantine import HOLD_S, LIFTS_WITHIN_S, LOOKED_S, SLOW_S, Quarantines
from psapwatch.replay.judge import judge
from psapwatch.replay.play import play
from psapwatch.replay.scenario import read_octets
from psapwatch.replay.stage import run, stage
from psapwatch.simulator.rule import Rule
from psapwatch.simulator.topology import Plan
from psapwatch.turn import Turn
from psapwatch.verdict import PASSED, Cause, Outcome, Verdict
from samples import FAILED, KEEPALIVE, WALL, attempt

USUAL, OTHER = "192.0.2.10", "192.0.2.11"
FIREWALL = Firewall("fw-east", (Source(USUAL), Source(OTHER)), limits=Limits(20.0))
FLOOD, ORDINARY = 8, 3
"""OPTIONS a second: two messages each, of twenty that the limits allow."""
GIVE_UP_S = 4.0


def _path(nth: int = 0, firewall: Firewall = FIREWALL) -> Path:
    psap = Psap(f"psap-{nth}", "")
    return Path(psap, "east", "boston-a", firewall, "sip:x.example.gov", "udp")


class Prober:
    """Sends through one firewall, at times after ``WALL``."""

    def __init__(self, firewall: Firewall = FIREWALL) -> None:
        self.firewall = firewall
        self.quarantines = Quarantines()
        self.known: list[float] = []
        self.is_told = False

    def _evidence(self, at: float, source: str) -> Evidence:
        return replace(attempt(_path(0, self.firewall), at=WALL + at), source=source)

    def send(self, at: float, verdict: Verdict, *, nth: int = 0, source: str = USUAL) -> Verdict:
        """One scheduled attempt that began then."""
        given_up_at = at + (GIVE_UP_S if verdict.failed else 0.02)
        evidence, path = self._evidence(at, source), _path(nth, self.firewall)
        return self.quarantines.counted(path, evidence, verdict, WALL + given_up_at)

    def steadily(self, per_second: int, begin: int, end: int, verdict: Verdict) -> None:
        """So many attempts a second, evenly."""
        for nth in range((end - begin) * per_second):
            self.send(begin + nth / per_second, verdict, nth=nth)

    def asks(self, at: float, *verdicts: Verdict) -> None:
        """The second source, once for each verdict."""
        for verdict in verdicts:
            self.quarantines.tried("second_source", self._evidence(at, OTHER), verdict)

    def waits(self) -> bool:
        """Whether nobody is told for the moment."""
        return self.quarantines.is_pending

    def review(self, at: float) -> bool:
        """A look at what is open; whether an address became known as quarantined."""
        known = self.quarantines.review(WALL + at, lambda _path: self.is_told)
        self.known += [since - WALL for _path, since, _rows in known]
        return self.quarantines.hides(_path(0, self.firewall))


def _quarantined() -> Prober:
    """Silent since second 20, known at 24.8."""
    prober = Prober()
    prober.steadily(FLOOD, 0, 20, PASSED)
    for nth in range(3):
        prober.send(20.0 + nth / 10, FAILED, nth=nth)
    prober.asks(24.5, PASSED, PASSED, PASSED)
    assert prober.review(24.8)
    return prober


def test_silence_after_a_flood_while_another_address_passes_is_a_quarantine() -> None:
    """Its failures count for no PSAP from then on; another address's still do."""
    prober = _quarantined()
    assert prober.known == [20.0]
    verdict = prober.send(21.0, FAILED)
    assert (verdict.outcome, verdict.cause) == (Outcome.INCONCLUSIVE, Cause.PROBER_QUARANTINED)
    assert prober.send(21.0, FAILED, source=OTHER) is FAILED


def test_the_ticket_names_the_firewall_and_what_it_rests_on() -> None:
    """Nobody is called affected: what is behind it is untested."""
    prober = _quarantined()
    ground = Ground("boston-a", tuple((_path(nth), KEEPALIVE) for nth in range(4)))
    (wanted,) = prober.quarantines.wanted(ground)
    assert (wanted.alertname, wanted.severity, wanted.member) == (
        "CallsDegraded",
        "ticket",
        "fw-east",
    )
    assert wanted.cause is Cause.PROBER_QUARANTINED
    assert (wanted.affected, len(wanted.untested)) == ((), 4)
    assert wanted.evidence["busiest_second"] == 2 * FLOOD
    assert "from another of our addresses pass" in str(wanted.evidence["because"])


def test_an_ordinary_rate_is_never_held_back() -> None:
    """Then silence is a block, whoever else passes, and nothing waits for anything."""
    prober = Prober()
    prober.steadily(ORDINARY, 0, 20, PASSED)
    prober.steadily(ORDINARY, 20, 22, FAILED)
    prober.asks(24.5, PASSED, PASSED, PASSED)
    assert not prober.waits()
    assert not prober.review(26.0)
    assert not prober.quarantines.asks("fw-east")
    assert prober.send(23.0, FAILED) is FAILED


def test_a_burst_after_the_first_silence_is_no_cause_of_it() -> None:
    """That is what we do to find out."""
    prober = Prober()
    prober.steadily(ORDINARY, 0, 20, PASSED)
    prober.send(20.0, FAILED)
    prober.steadily(4 * FLOOD, 21, 22, FAILED)
    assert not prober.waits()


def test_one_psap_that_is_off_begins_no_silence() -> None:
    """As long as anything passes after it, the address is not blocked."""
    prober = Prober()
    prober.steadily(FLOOD, 0, 20, PASSED)
    for nth in range(6):
        prober.send(14.0 + nth, FAILED, nth=99)
        prober.steadily(FLOOD, 14 + nth, 15 + nth, PASSED)
    assert not prober.waits()


def test_without_a_second_address_nobody_can_tell_and_nobody_waits() -> None:
    """An address of the other family is none."""
    prober = Prober(replace(FIREWALL, sources=(Source(USUAL), Source("2001:db8::1"))))
    prober.steadily(FLOOD, 0, 20, PASSED)
    prober.steadily(FLOOD, 20, 22, FAILED)
    assert not prober.waits()


@pytest.mark.parametrize("others", [(), (PASSED, PASSED), (PASSED, PASSED, FAILED)])
def test_a_firewall_that_dies_in_our_own_flood_is_told_after_two_seconds(
    others: tuple[Verdict, ...],
) -> None:
    """Whoever does not see the second address pass three times calls it what it is."""
    prober = Prober()
    prober.steadily(FLOOD, 0, 20, PASSED)
    prober.steadily(FLOOD, 20, 21, FAILED)
    assert prober.waits()
    prober.asks(24.4, *others)
    assert not prober.review(24.5 + HOLD_S)
    assert not prober.waits()
    prober.asks(24.5 + HOLD_S, PASSED, PASSED, PASSED)
    assert not prober.review(25.0 + HOLD_S), "it is told already"
    assert prober.send(22.0, FAILED) is FAILED


def test_a_block_that_is_told_already_stays_one() -> None:
    """No open page closes because we think better of it."""
    prober = Prober()
    prober.steadily(FLOOD, 0, 20, PASSED)
    prober.steadily(FLOOD, 20, 21, FAILED)
    prober.asks(24.5, PASSED, PASSED, PASSED)
    prober.is_told = True
    assert not prober.review(24.8)


def test_a_second_address_that_fails_as_well_ends_it_at_once() -> None:
    """The firewall has died behind the quarantine: from now on every failure counts."""
    prober = _quarantined()
    prober.asks(40.0, PASSED, FAILED)
    assert not prober.review(41.0)
    assert prober.send(38.0, FAILED) is FAILED
    assert prober.quarantines.wanted(Ground("boston-a", ())) == []


@pytest.mark.parametrize(
    ("asked_until", "ends_at"), [(400.0, 20.0 + LIFTS_WITHIN_S), (60.0, 60.0 + LOOKED_S)]
)
def test_it_is_believed_only_so_long(asked_until: float, ends_at: float) -> None:
    """A block that stays is for a human; and who no longer looks does not know."""
    prober = _quarantined()
    seen = []
    for at in range(25, 400):
        if at <= asked_until and at % 5 == 0:
            prober.asks(at, PASSED, PASSED, PASSED)
        seen.append(prober.review(at + 0.5))
    assert 25 + seen.index(False) == pytest.approx(ends_at, abs=1.0)
    assert not any(seen[seen.index(False) :])


def test_a_clock_that_is_stepped_back_ends_it() -> None:
    """Otherwise it would be believed for an hour more."""
    prober = _quarantined()
    assert not prober.review(24.8 - 3_600.0)


def test_what_was_sent_into_a_quarantine_counts_for_nothing_once_it_is_lifted() -> None:
    """What begins after that does."""
    prober = _quarantined()
    prober.send(259.0, PASSED)
    assert not prober.review(259.2)
    assert prober.send(258.5, FAILED).outcome is Outcome.INCONCLUSIVE
    assert prober.send(259.5, FAILED) is FAILED


def test_every_second_attempt_is_left_out_for_an_hour_after() -> None:
    """Then all are made again, at once; meanwhile other addresses go on as before."""
    prober, path = _quarantined(), _path()
    for at, is_thin in ((24.9, True), (25.0 + SLOW_S / 2, True), (26.0 + SLOW_S, False)):
        prober.send(at - 0.1, PASSED)
        prober.review(at)
        assert prober.quarantines.thins(path) is is_thin
        assert not prober.quarantines.thins(replace(path, source=Source(OTHER)))


def test_half_the_attempts_are_spread_as_evenly_as_all() -> None:
    """Neighbours take turns: no half of an interval is left empty."""
    turns = [Turn(_path(nth), KEEPALIVE, nth * 0.15) for nth in range(100)]
    made = []
    for turn in turns:
        while turn.due < 300.0:
            made.append(turn.due)
            turn.move_on(turn.due + 0.02, thinned=True)
    per_interval = [sum(15 * n <= at < 15 * (n + 1) for at in made) for n in range(1, 20)]
    assert all(40 <= count <= 60 for count in per_interval), per_interval


def test_our_own_rate_is_evidence() -> None:
    """Kept as a row of the battery, it can be judged again."""

    def rate(messages: int) -> Verdict:
        seen = Observation(Kind.OWN_RATE, 0.0, {"messages": messages, "limit": 20.0})
        return diagnose(Case(attempt(seen=[seen])))

    assert rate(15).outcome is Outcome.PASS
    assert rate(14).outcome is Outcome.INCONCLUSIVE
    assert rate(15).why == "15 messages in one second; limits allow 20"


# --- whole


def test_while_it_lasts_nobody_is_shown_as_down_and_half_is_sent() -> None:
    """All was green before; what is behind the firewall is unknown, and has one ticket."""

    async def main() -> None:
        async with stage(1, Plan(psaps=100, messages_per_second=25.0)) as scene:
            firewall, daemon = scene.topology.firewalls["fw-east"], scene.daemon
            await asyncio.sleep(40.0)
            assert {row.state for row in daemon.board.paths()} == {"up"}
            firewall.add(Rule(name="flood list", sources=frozenset({"10.100.0.10"})))
            await asyncio.sleep(140.0)
            assert firewall.hits["flood list"] > 0
            rows = daemon.board.paths()
            assert {each.state for row in rows for each in row.checks[:1]} == {"unknown"}
            assert {row.state for row in rows} <= {"unknown", "up"}, "up by a call of before"
            (ticket,) = daemon.casebook.open
            assert (ticket.severity, ticket.cause) == ("ticket", Cause.PROBER_QUARANTINED)
            assert scene.pages() == []
            attempts = await daemon.store.attempts("psap-050", "fw-east", limit=9)
            began = [seen.started_at for seen, _verdict in attempts if seen.check == "keepalive"]
            assert began[0] - began[2] == pytest.approx(60.0, abs=1.0)

    run(main(), seed=1)


DIES_IN_QUARANTINE = """
title: the firewall dies while our own address is quarantined
network: {psaps: 100, messages_per_second: 25}
quiet: 40s
faults:
  - {kind: rule, firewall: fw-east, sources: [10.100.0.10], for: 10m}
  - {kind: rule, at: 40s, firewall: fw-east, for: 10m}
runs: 80s
expect:
  - alert: CallsDegraded
    severity: ticket
    scope: firewall
    cause: [prober_quarantined]
    within: 10s
  - {alert: CallsBlocked, scope: firewall, cause: [calls_blocked], after: 40s, within: 15s}
"""
DIES_IN_A_FLOOD = """
title: the firewall dies while we send nearly all that we may
network: {psaps: 100, messages_per_second: 25}
quiet: 40s
faults: [{kind: rule, firewall: fw-east, for: 10m}]
runs: 30s
expect: [{alert: CallsBlocked, scope: firewall, cause: [calls_blocked], within: 10s}]
"""
STAYS_BLOCKED = """
title: a source block that nobody lifts, at our busiest
network: {psaps: 100, messages_per_second: 25}
quiet: 40s
faults: [{kind: rule, firewall: fw-east, sources: [10.100.0.10], for: 10m}]
runs: 385s
expect:
  - alert: CallsDegraded
    severity: ticket
    scope: firewall
    cause: [prober_quarantined]
    within: 10s
  - {alert: CallsBlocked, scope: firewall, cause: [source_blocked], after: 6m, within: 15s}
"""


@pytest.mark.parametrize("text", [DIES_IN_QUARANTINE, DIES_IN_A_FLOOD, STAYS_BLOCKED])
def test_a_true_block_is_paged_in_time_whatever_we_had_sent(text: str) -> None:
    """With the right cause; the ticket of the quarantine is taken in."""
    judged = judge(play(read_octets(text.encode(), "mine.yml", "mine"), seed=1))
    assert judged.problems == ()
