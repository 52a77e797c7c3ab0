"""What only the battery tells apart, played whole in simulated time: alert, cause, time, pages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from psapwatch.replay.judge import judge
from psapwatch.replay.play import Played, play
from psapwatch.replay.scenario import read, shipped
from psapwatch.verdict import Cause


@pytest.mark.parametrize(
    "name",
    [
        "content-blocked",
        "ipv6-dropped",
        "s13-failover-without-state-sync",
        "s19-admission-that-a-burst-meets",
        "s37-prober-without-cable",
    ],
)
def test_the_scenario_is_told_as_it_is(name: str) -> None:
    """Exactly the expected alerts, in time, of the right cause, and as many pages as expected."""
    judged = judge(play(read(shipped()[name]), seed=1))
    assert judged.problems == ()


def _cut(name: str, *, rate_burst: bool) -> Played:
    """A scenario with fewer PSAPs, until its cause is known."""
    scenario = read(shipped()[name])
    plan = replace(scenario.plan, psaps=60, rate_burst=rate_burst)
    return play(replace(scenario, plan=plan, runs_s=150.0), seed=1)


def test_without_the_burst_that_limit_is_not_told() -> None:
    """Single calls to the reference pass: nothing else meets what the PSAPs' calls meet."""
    played = _cut("s19-admission-that-a-burst-meets", rate_burst=False)
    (told,) = played.told
    assert told.incident.cause is not Cause.RATE_LIMITED
    assert "burst_call" not in told.incident.evidence["battery"]
    assert played.broken == (), "never more calls at once than the limits allow"


@pytest.mark.parametrize("name", ["loss-10-calls-only", "loss-50-calls-only"])
def test_a_share_that_is_lost_is_no_limit(name: str) -> None:
    """Though a burst is allowed: single calls are lost as well."""
    played = _cut(name, rate_burst=True)
    assert {told.incident.cause for told in played.told} == {Cause.INTERMITTENT_LOSS}
