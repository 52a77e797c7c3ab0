"""The firewall blocks, a real Alertmanager pages once, and says when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from components.daemon import Daemon
from components.firewall import INSIDE, OUTSIDE, SIP_PORT, Laboratory
from components.inbox import Inbox
from components.inside import start_answering_point
from components.monitoring import Alertmanager
from components.process import Bench
from components.watching import CALL, FIREWALL, OPTIONS, outcomes, watching

PSAPS: Final = [f"ma-{number}" for number in range(40)]
PAGED_WITHIN_S: Final = 30.0
RESOLVED_WITHIN_S: Final = 40.0
BLOCKED: Final = {
    "alertname": "CallsBlocked",
    "severity": "page",
    "vantage": "bench",
    "road": "push",
    "scope": "firewall",
    "member": FIREWALL,
    "firewall": FIREWALL,
}


def told(inbox: Inbox) -> list[tuple[str, list[dict[str, str]]]]:
    """What people were told, but for the dead-man's switch."""
    posts: list[dict[str, Any]] = [posted.json() for posted in inbox.posted]
    return [
        (post["status"], [alert["labels"] for alert in post["alerts"]])
        for post in posts
        if post["commonLabels"]["alertname"] != "Watchdog"
    ]


@pytest.mark.timeout(300)
def test_a_blocked_firewall_pages_once_and_resolves(
    bench: Bench,
    laboratory: Laboratory,
    daemon: Callable[..., Daemon],
    alertmanager: Callable[..., Alertmanager],
    inbox: Inbox,
    record_property: Callable[[str, object], None],
) -> None:
    """40 PSAPs, OPTIONS every 10 s: one page within 30 s of the block, resolved after it."""
    start_answering_point(bench, laboratory)
    manager = alertmanager(webhook_url=inbox.url)
    sink = {
        "kind": "alertmanager",
        "urls": [laboratory.reach_back(laboratory.outside, manager.url)],
        "resolve_after": "2s",
    }
    ten_seconds = {"every": "10s", "give_up_after": "4s"}
    watch = daemon(
        watching(
            {
                name: f"sip:psap@198.18.0.{number};transport=udp"
                for number, name in enumerate(PSAPS, 1)
            },
            source=OUTSIDE[0],
            options=OPTIONS | ten_seconds,
            call=CALL | ten_seconds | {"on": "reference"},
            consent=None,
            firewall={"reference": f"sip:reference@{INSIDE}:{SIP_PORT}"},
            detection={"clean": "5s"},
            sinks=[sink],
        ),
        place=laboratory.outside,
        laboratory=laboratory,
    )
    up = {"check": "keepalive"}
    watch.wait_for(
        lambda: watch.total("psapwatch_path_up", up) == len(PSAPS), 15, "all paths are up"
    )
    assert set(outcomes(watch)) == {"pass"}
    watch.wait_for(lambda: manager.alerts("Watchdog"), 5, "the dead-man's switch")
    assert told(inbox) == []

    with laboratory.rule(f"udp dport {SIP_PORT} counter drop"):
        blocked_at = time.monotonic()
        watch.wait_for(lambda: told(inbox), PAGED_WITHIN_S, "the page")
        paged_after_s = time.monotonic() - blocked_at
        [alert] = manager.alerts("CallsBlocked")
        assert alert["labels"] == BLOCKED
        assert alert["annotations"]["cause"] == "calls_blocked"
    lifted_at = time.monotonic()
    watch.wait_for(lambda: len(told(inbox)) > 1, RESOLVED_WITHIN_S, "the resolution")
    resolved_after_s = time.monotonic() - lifted_at
    assert told(inbox) == [("firing", [BLOCKED]), ("resolved", [BLOCKED])]
    assert watch.total("psapwatch_incidents_total") == 1
    record_property("paged_after_s", round(paged_after_s, 1))
    record_property("resolved_after_s", round(resolved_after_s, 1))
