"""The sentence of an alert."""

from __future__ import annotations

from psapwatch.detection import Standing, State
from psapwatch.incident import Incident
from psapwatch.verdict import Cause
from psapwatch.wording import summary_of

FAILS = Standing(State.DOWN, failures=2, failing_since=90.0, last_at=95.0, last_failed=True)
PASSES = Standing(State.UP, passes=3, last_pass_at=95.0, last_at=95.0)
INCIDENT = Incident(
    "i1", "CallsBlocked", "page", "boston-a", "psap", "ma-boston", "ma-boston", "fw-east",
    Cause.CALLS_BLOCKED, "", 100.0, 90.0,
)  # fmt: skip


def test_since_stands_by_what_fails() -> None:
    """Calls that still pass have not passed since the failure: only what fails has a beginning."""
    said = summary_of(INCIDENT, {"call": [PASSES], "options": [FAILS]}, 1)
    assert said == ("1 of 1 OPTIONS to ma-boston fail since 00:01:30 UTC. Test calls still pass.")
    both = summary_of(INCIDENT, {"call": [FAILS], "options": [FAILS]}, 1)
    assert both == (
        "1 of 1 test calls to ma-boston fail since 00:01:30 UTC. 1 of 1 OPTIONS to ma-boston fail."
    )


def test_where_nothing_fails_any_more_nothing_passes_since_the_failure() -> None:
    """An incident that waits to be closed: the paths failed since, and both kinds pass."""
    said = summary_of(INCIDENT, {"call": [PASSES], "options": [PASSES]}, 1)
    assert said == (
        "Paths to ma-boston fail since 00:01:30 UTC. Test calls still pass. OPTIONS still pass."
    )
