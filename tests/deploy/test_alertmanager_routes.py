"""Alertmanager sends each alert to the right people, once, whichever road it came by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from components.monitoring import Alertmanager
from components.waiting import until
from deploy.shipped import ALERTMANAGER, Rule, alerts, loaded, tool
from psapwatch.sinks.alertmanager import LABELS, RESERVED

RECEIVERS: Final = {"page": "page", "ticket": "ticket", "none": "dead-mans-switch"}
ROADS: Final = ("push", "rules")
APART: Final = ("vantage", "firewall", "instance")
"""Labels that every inhibition but the first compares some of."""


def receiver_of(*labels: str) -> str:
    """Ask amtool where an alert with these labels goes."""
    done = tool(
        "amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels
    )  # it also exits 0 on a configuration that routes to nobody
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def config() -> Any:
    """The shipped configuration."""
    return loaded(ALERTMANAGER)


def test_amtool_accepts_the_example() -> None:
    """Alertmanager's own checker finds nothing wrong."""
    done = tool("amtool", "check-config", str(ALERTMANAGER))
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize("severity", ["page", "ticket"])
@pytest.mark.parametrize("name", LABELS)
def test_incidents_go_by_their_severity(name: str, severity: str) -> None:
    """What the daemon calls a page wakes somebody; a ticket waits; the road plays no part."""
    for road in ROADS:
        labels = (f"alertname={name}", f"severity={severity}", "vantage=boston-a", f"road={road}")
        assert receiver_of(*labels) == RECEIVERS[severity]


@pytest.mark.parametrize(
    "rule",
    [rule for rule in alerts() if "severity" in rule.labels],
    ids=lambda rule: f"{rule.name}-{rule.labels['severity']}",
)
def test_the_prober_s_own_alerts_go_by_their_severity(rule: Rule) -> None:
    """Alerts about the prober and the budgets follow the same routes."""
    severity = rule.labels["severity"]
    assert receiver_of(f"alertname={rule.name}", f"severity={severity}") == RECEIVERS[severity]


@pytest.mark.parametrize("name", ["Watchdog", "PrometheusWatchdog"])
def test_both_watchdogs_reach_the_outside(name: str) -> None:
    """Always-firing alerts go to the dead-man's switch, once a minute, and nowhere else."""
    assert receiver_of(f"alertname={name}", "severity=none") == "dead-mans-switch"
    [route] = [r for r in config()["route"]["routes"] if r["receiver"] == "dead-mans-switch"]
    assert (route["group_wait"], route["repeat_interval"]) == ("0s", "1m")
    assert not route.get("continue", False)


def test_no_group_knows_the_road() -> None:
    """Groups tell incidents apart by every label that the daemon sets, and never by the road."""
    route = config()["route"]
    assert set(route["group_by"]) == RESERVED - {"road"}
    assert all("road" not in each.get("group_by", ()) for each in route["routes"])


def test_the_push_speaks_for_the_rules() -> None:
    """The first inhibition compares every label of an incident but for the road."""
    [rule, *_] = config()["inhibit_rules"]
    assert rule["source_matchers"] == ['road="push"']
    assert rule["target_matchers"] == ['road="rules"']
    assert set(rule["equal"]) == RESERVED - {"road"}


def test_nothing_silences_a_page_about_the_prober() -> None:
    """No inhibition has the prober's own pages or a watchdog as its target."""
    targets = " ".join(
        matcher for rule in config()["inhibit_rules"] for matcher in rule["target_matchers"]
    )
    for name in ("Watchdog", "ProberBlind", "ProberDown", "TestCallUnsafe"):
        assert name not in targets


EAST: Final = {"vantage": "boston-a", "firewall": "fw-east"}
WEST: Final = EAST | {"firewall": "fw-west"}
BLOCKED: Final = {"alertname": "CallsBlocked", "severity": "page", "scope": "firewall"}
BURN: Final = {"alertname": "AvailabilityBurn", "severity": "ticket"}
PSAP: Final = {"scope": "psap", "member": "ma-boston"}

# What fires, what else fires, and whether the first keeps the second quiet.
INHIBITED: Final[list[tuple[dict[str, str], dict[str, str], bool]]] = [
    (BLOCKED | EAST, BLOCKED | EAST | PSAP, True),
    (BLOCKED | EAST, BLOCKED | WEST | PSAP, False),
    (BLOCKED | EAST, {"alertname": "RedundancyLost", "psap": "ma-boston"} | EAST, True),
    (BLOCKED | EAST, {"alertname": "RedundancyLost", "psap": "ma-boston"} | WEST, False),
    (BLOCKED | EAST, {"alertname": "TestCallUnsafe", "psap": "ma-boston"} | EAST, False),
    (BLOCKED | EAST, BURN | EAST | {"scope": "firewall", "member": "fw-east"}, True),
    (BLOCKED | EAST, BURN | WEST | {"scope": "firewall", "member": "fw-west"}, False),
    (BLOCKED | EAST | {"alertname": "CallsDegraded"}, BURN | EAST | PSAP, True),
    (BLOCKED | {"vantage": "boston-a"} | PSAP, BURN | EAST | PSAP | {"psap": "ma-boston"}, True),
    (
        {"alertname": "RedundancyLost", "psap": "ma-boston"} | EAST,
        BURN | EAST | PSAP | {"psap": "ma-boston"},
        True,
    ),
    (
        {"alertname": "RedundancyLost", "psap": "ma-salem"} | EAST,
        BURN | EAST | PSAP | {"psap": "ma-boston"},
        False,
    ),
    (
        BURN | EAST | {"severity": "page", "scope": "firewall", "member": "fw-east"},
        BURN | EAST | {"scope": "firewall", "member": "fw-east"},
        True,
    ),
    (BURN | EAST | {"scope": "firewall", "member": "fw-east"}, BURN | EAST | PSAP, True),
    (BURN | EAST | {"scope": "firewall", "member": "fw-east"}, BURN | WEST | PSAP, False),
    (BLOCKED | EAST, {"alertname": "CallTeardownFailing", "firewall": "fw-east"}, True),
    (BLOCKED | EAST, {"alertname": "CallTeardownFailing", "firewall": "fw-west"}, False),
    (
        {"alertname": "ProberDown", "job": "psapwatch", "instance": "a:9911"},
        {"alertname": "ProberStale", "job": "psapwatch", "instance": "a:9911"},
        True,
    ),
    (
        {"alertname": "ProberDown", "job": "psapwatch", "instance": "a:9911"},
        {"alertname": "ProberStale", "job": "psapwatch", "instance": "b:9911"},
        False,
    ),
]


def test_an_alert_is_kept_quiet_by_what_explains_it(
    alertmanager: Callable[..., Alertmanager],
) -> None:
    """A real Alertmanager suppresses consequences of the same cause, and nothing else."""
    running = alertmanager(config_text=ALERTMANAGER.read_text(encoding="utf-8"))
    for number, (source, target, _quiet) in enumerate(INHIBITED):
        # A vantage and an instance of its own for each pair: the pairs must not meet.
        for alert in (source, target):
            own = {key: f"{value}-{number}" for key, value in alert.items() if key in APART}
            running.post({"labels": alert | own | {"pair": str(number)}})
    until(lambda: len(running.alerts()) == 2 * len(INHIBITED), 5, "all alerts are known")

    def states() -> dict[int, bool]:
        found: dict[int, bool] = {}
        for alert in running.alerts():
            number = int(alert["labels"]["pair"])
            is_quiet = alert["status"]["state"] == "suppressed"
            found[number] = found.get(number, False) or is_quiet
        return found

    expected = {number: quiet for number, (*_alerts, quiet) in enumerate(INHIBITED)}
    until(lambda: states() == expected, 5, f"{states()} becomes {expected}")
