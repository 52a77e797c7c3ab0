"""What only the battery tells apart, played whole in simulated time: alert, cause, time, pages."""

from __future__ import annotations

import pytest

from psapwatch.replay.judge import judge
from psapwatch.replay.play import play
from psapwatch.replay.scenario import read, shipped


@pytest.mark.parametrize(
    "name",
    [
        "content-blocked",
        "ipv6-dropped",
        "s13-failover-without-state-sync",
        "s37-prober-without-cable",
    ],
)
def test_the_scenario_is_told_as_it_is(name: str) -> None:
    """Exactly the expected alerts, in time, of the right cause, and as many pages as expected."""
    judged = judge(play(read(shipped()[name]), seed=1))
    assert judged.problems == ()
