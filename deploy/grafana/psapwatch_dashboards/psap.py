"""Dashboard *PSAP*: one answering point, over all of its paths."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from psapwatch.metrics_names import STATES
from psapwatch_dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    INSTANCE,
    LOSS,
    ORANGE,
    PLAIN,
    REACHED,
    RED,
    Panel,
    Query,
    bars,
    board,
    buckets,
    chosen,
    figure,
    lines,
    rows,
    states,
)

HERE = f'{INSTANCE}, psap="$psap"'
BEHIND = f'{INSTANCE}, firewall=~"$firewall"'
COLOURS = {
    "unknown": GREY,
    "up": GREEN,
    "degraded": ORANGE,
    "muted": BLUE,
    "suspect": ORANGE,
    "down": RED,
}
DAY_S = 86_400.0

PATH_STATE = " or ".join(
    f'(psapwatch_path_state{{{HERE}, state="{state}"}} == 1) * {number}'
    for number, state in enumerate(STATES, 1)
)
"""A path's state as a number: the daemon exports one series a state."""

PANELS = (
    Panel(
        title="State of each path",
        about="What detection makes of each path, the worst of its checks.",
        runbook="RedundancyLost",
        unit="short",
        steps=PLAIN,
        queries=(
            Query(
                f"max by (path, firewall, transport) ({PATH_STATE})",
                "{{path}} through {{firewall}} over {{transport}}",
            ),
        ),
        draw=states,
        wide=24,
        high=6,
        names=tuple((str(number), state, COLOURS[state]) for number, state in enumerate(STATES, 1)),
    ),
    Panel(
        title="Success",
        about="The share of attempts that let a call or an OPTIONS through, over a quarter of an "
        "hour: test calls are minutes apart.",
        runbook="CallsBlocked",
        unit="percentunit",
        steps=REACHED,
        queries=(
            Query(
                "sum by (path, check) (rate("
                f'psapwatch_attempts_total{{{HERE}, outcome=~"pass|degraded"}}[15m]))'
                " / sum by (path, check) (rate("
                f'psapwatch_attempts_total{{{HERE}, outcome!="inconclusive"}}[15m]))',
                "{{path}} {{check}}",
            ),
        ),
        draw=lambda: lines().min(0).max(1),
    ),
    Panel(
        title="Time since the last pass",
        about="How long ago the last attempt passed, by path and check.",
        runbook="CallsBlocked",
        unit="s",
        steps=((None, GREEN), (600, ORANGE), (1_200, RED)),
        queries=(
            Query(
                "time() - max by (path, transport, check)"
                f" (psapwatch_last_pass_timestamp_seconds{{{HERE}}})",
                "{{path}} {{transport}} {{check}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Answer time",
        about="From a request's first transmission to its final response, answered attempts only: "
        "silence is not slow. Points are single calls, named by the local part of their Call-ID, "
        "and lead to the call's ladder. "
        "Above 1,000 paths the daemon keeps answer times for each firewall only.",
        runbook="CallsDegraded",
        unit="s",
        steps=((None, GREEN), (0.5, ORANGE), (4, RED)),
        queries=(
            Query(
                "sum by (le) (increase(psapwatch_response_duration_seconds_bucket"
                f'{{{HERE}, check=~"$check"}}[$__rate_interval]))',
                "{{le}}",
                "heatmap",
            ),
        ),
        draw=buckets,
    ),
    Panel(
        title="Attempts that did not pass",
        about="The last failures, counted by path, check and outcome. A click leads to the ladders "
        "of the last failure and of the last pass.",
        runbook="causes",
        unit="short",
        steps=((None, GREEN), (1, RED)),
        queries=(
            Query(
                "sum by (path, check, outcome) (increase("
                f'psapwatch_attempts_total{{{HERE}, outcome!~"pass"}}[5m])) > 0',
                "{{path}} {{check}} {{outcome}}",
            ),
        ),
        draw=lambda: bars().min(0),
        empty="Every attempt has passed",
        leads=(("Ladders of this PSAP", "${daemon:raw}/psaps/${psap}"),),
    ),
    Panel(
        title="Phases",
        about="Mean duration of each phase of an attempt: all PSAPs behind the same firewalls, "
        "because phases are not kept for each PSAP.",
        runbook="CallsDegraded",
        unit="s",
        steps=((None, GREEN), (0.5, ORANGE), (4, RED)),
        queries=(
            Query(
                f"sum by (phase) (rate(psapwatch_phase_duration_seconds_sum{{{BEHIND}}}[5m]))"
                " / (sum by (phase)"
                f" (rate(psapwatch_phase_duration_seconds_count{{{BEHIND}}}[5m])) > 0)",
                "{{phase}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Media",
        about="RTP packets of test calls by direction, delivered and lost: all PSAPs behind the "
        "same firewalls. Lost in one direction only is a caller whom nobody hears.",
        runbook="CallsDegraded",
        unit="pps",
        steps=LOSS,
        queries=(
            Query(
                f"sum by (direction, result) (rate(psapwatch_media_packets_total{{{BEHIND}}}[5m]))",
                "{{direction}} {{result}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Certificates run out in",
        about="How long the certificate that the far end last showed is still good, by path.",
        runbook="CertificateExpiring",
        unit="s",
        steps=((None, RED), (7 * DAY_S, ORANGE), (30 * DAY_S, GREEN)),
        queries=(
            Query(
                "min by (path, transport)"
                f" (psapwatch_certificate_expiry_timestamp_seconds{{{HERE}}}) - time()",
                "{{path}} over {{transport}}",
                "now",
            ),
        ),
        draw=figure,
        high=6,
        empty="No path over TLS",
    ),
    Panel(
        title="Incidents",
        about="Open incidents of this PSAP alone, and of the firewalls in front of it.",
        runbook="README",
        unit="short",
        steps=((None, GREEN), (1, RED)),
        queries=(
            Query(
                f"max by (alert, severity, scope, member) (psapwatch_incident_open{{{HERE}}}"
                f' or psapwatch_incident_open{{{BEHIND}, scope="firewall"}}) == 1',
                answer="rows",
            ),
        ),
        draw=lambda: rows(with_value=False),
        high=6,
        empty="No incident is open",
    ),
)


def psap() -> Dashboard:
    """Return the dashboard."""
    known = f'psapwatch_path_state{{{INSTANCE}, psap!~"reference|control"}}'
    variables = (
        chosen("psap", "PSAP", f"label_values({known}, psap)"),
        chosen(
            "check",
            "Check",
            f"label_values(psapwatch_attempts_total{{{HERE}}}, check)",
            several=True,
        ),
        chosen(
            "firewall",
            "Firewall",
            f"label_values(psapwatch_path_state{{{HERE}}}, firewall)",
            several=True,
        ),
    )
    about = "One answering point: is it reached, how fast, by which path, and since when not."
    return board("psap", "psapwatch: PSAP", about, variables, PANELS)
