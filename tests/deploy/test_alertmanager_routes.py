"""Alertmanager sends each alert to the right people, once, whichever road it came by."""

from __future__ import annotations

from typing import Any, Final

import pytest

from deploy.shipped import ALERTMANAGER, Rule, alerts, loaded, tool
from psapwatch.sinks.alertmanager import LABELS, RESERVED

RECEIVERS: Final = {"page": "page", "ticket": "ticket", "none": "dead-mans-switch"}
ROADS: Final = ("push", "rules")


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
