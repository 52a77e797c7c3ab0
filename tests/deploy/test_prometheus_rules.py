"""Prometheus takes the rules that are shipped, and each of them does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from deploy.shipped import PROMETHEUS, RUNBOOKS, alerts, loaded, rules, tool
from psapwatch.duration import parse_duration
from psapwatch.metrics_names import ALERTS
from psapwatch.sinks.alertmanager import LABELS, AlertmanagerSettings
from psapwatch.sinks.alertmanager import RUNBOOKS as RUNBOOK_FOLDER

UNIT_TESTS: Final = sorted((PROMETHEUS / "tests").glob("*.yml"))
SEVERITIES: Final = {"page", "ticket", "none"}
RESTART_S: Final = 20.0
"""The daemon is stopped within 5 s, and started and scraped again within one interval."""
DERIVED: Final = [name for name, _scopes, _causes in ALERTS]
"""The contract's alerts that come from ``psapwatch_incident_open``."""


def unit_tests() -> list[dict[str, Any]]:
    """Every unit test of every file."""
    return [test for file in UNIT_TESTS for test in loaded(file)["tests"]]


def test_promtool_accepts_the_example() -> None:
    """The scrape example and its rule files are valid as they stand."""
    done = tool("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout + done.stderr


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_rules_pass_their_unit_tests(file: Path) -> None:
    """``promtool test rules`` finds every alert firing when it must, and quiet otherwise."""
    done = tool("promtool", "test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_firing_and_quiet() -> None:
    """No alert without a unit test in which it fires, and one in which it does not."""
    fires: set[str] = set()
    quiet: set[str] = set()
    for test in unit_tests():
        for case in test.get("alert_rule_test", ()):
            (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    names = {rule.name for rule in alerts()}
    assert names - fires == set()
    assert names - quiet == {"PrometheusWatchdog"}  # it always fires: that is its use


def test_every_recorded_series_is_looked_at() -> None:
    """No recording rule whose value no unit test knows."""
    asked = " ".join(
        case["expr"] for test in unit_tests() for case in test.get("promql_expr_test", ())
    )
    unseen = [rule.name for rule in rules() if not rule.is_alert and rule.name not in asked]
    assert unseen == []


def test_the_contract_is_derived_in_full() -> None:
    """Each alert that the daemon can push is derived too, but for its own watchdog."""
    names = [rule.name for rule in alerts()]
    assert names[: len(DERIVED)] == DERIVED
    assert set(DERIVED) == set(LABELS)
    assert "PrometheusWatchdog" in names
    assert "Watchdog" not in names


@pytest.mark.parametrize("name", DERIVED)
def test_labels_are_those_of_the_push(name: str) -> None:
    """A derived alert is ``max by`` the labels that the daemon pushes; only ``road`` differs."""
    [rule] = [rule for rule in alerts() if rule.name == name]
    labels = ", ".join(("severity", "vantage", *LABELS[name]))
    expr = " ".join(rule.expr.split()).replace("( ", "(").replace(" )", ")")
    assert expr == f'max by ({labels}) (psapwatch:incident_open{{alert="{name}"}}) == 1'
    assert rule.labels == {"road": "rules"}


def test_the_derived_alert_ends_before_the_pushed_one() -> None:
    """It outlasts a restart, and is over when the pushed resolution comes: one end, not two."""
    every = loaded(PROMETHEUS / "prometheus.yml")["global"]
    late_s = sum(parse_duration(every[name]) for name in ("scrape_interval", "evaluation_interval"))
    resolve_after_s = AlertmanagerSettings(urls=["http://127.0.0.1:9093"]).resolve_after
    for rule in alerts():
        if rule.name in DERIVED:
            kept_s = parse_duration(rule.keep_firing_for)
            assert RESTART_S < kept_s < resolve_after_s - late_s, rule.name


def test_every_alert_says_what_to_do() -> None:
    """Each alert has a severity, the road, a sentence, and a runbook that is there."""
    for rule in alerts():
        assert rule.labels["road"] == "rules", rule.name
        assert rule.name in DERIVED or rule.labels["severity"] in SEVERITIES, rule.name
        assert rule.annotations["summary"].endswith("."), rule.name
        assert rule.annotations["runbook_url"] == f"{RUNBOOK_FOLDER}/{rule.name}.md"
        assert (RUNBOOKS / f"{rule.name}.md").is_file(), rule.name
