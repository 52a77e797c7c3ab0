"""Prometheus's own linter reads what psapwatch exposes."""

from __future__ import annotations

import subprocess

import pytest

from components.process import program
from psapwatch.endpoint import REFERENCE
from psapwatch.evidence import Kind, Observation
from psapwatch.metrics import Metrics
from psapwatch.verdict import PASSED
from psapwatch.web.probe import probe_pieces
from samples import (
    CHECKS,
    FAILED,
    KEEPALIVE,
    TEST_CALL,
    WALL,
    FixedClock,
    answered,
    attempt,
    incident,
    path,
    sent,
)


def complaints(exposed: str) -> str:
    """Return what ``promtool check metrics`` says; it says nothing where all is well."""
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=exposed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def everything() -> str:
    """Return an exposition in which every family has a series."""
    tls = path("ma-worcester", transport="tls")
    ours = path(REFERENCE, "fw-east", consent=False)
    metrics = Metrics([path(), tls, ours], CHECKS, FixedClock(), vantage="b", sinks=["pager"])
    up = Observation(Kind.TLS_UP, 0.01, {"not_after": WALL + 9e6, "duration_s": 0.01})
    metrics.attempt(tls, KEEPALIVE, attempt(tls, seen=(up, sent(), answered())), PASSED)
    metrics.attempt(path(), TEST_CALL, attempt(check=TEST_CALL), FAILED)
    metrics.state(path(), "keepalive", "up")
    metrics.incidents([incident()])
    metrics.incident_opened(incident(), 8.0)
    metrics.test_calls_stopped({"ma-boston": "operator"})
    metrics.self_test("always_green", WALL)
    return "".join(metrics.pieces(openmetrics=False))


def test_promtool_has_no_complaint_about_metrics() -> None:
    """`promtool check metrics` accepts /metrics without a word."""
    assert complaints(everything()) == ""


def test_promtool_has_no_complaint_about_a_probe() -> None:
    """`promtool check metrics` accepts /probe, but for the blackbox exporter's own name habits."""
    for verdict in (PASSED, FAILED):
        exposed = "".join(probe_pieces(attempt(), verdict, openmetrics=False))
        assert complaints(exposed) == ""


@pytest.mark.parametrize("broken", ["psapwatch_x 1\n", "# TYPE x_total gauge\nx_total 1\n", "{\n"])
def test_the_linter_really_complains(broken: str) -> None:
    """A linter that never speaks would prove nothing."""
    assert complaints(broken)
