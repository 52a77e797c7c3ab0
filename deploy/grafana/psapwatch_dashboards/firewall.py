"""Dashboard *Firewall*: what one firewall does to calls."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from psapwatch_dashboards.panels import (
    BLUE,
    GREEN,
    INSTANCE,
    LOSS,
    NONE_IS_GOOD,
    ORANGE,
    PLAIN,
    RED,
    Panel,
    Query,
    bars,
    board,
    chosen,
    figure,
    lines,
)

HERE = f'{INSTANCE}, firewall="$firewall"'
RECORDED = 'firewall="$firewall"'
LATENCY = ((None, GREEN), (0.5, ORANGE), (4, RED))
BURN = ((None, GREEN), (1, ORANGE), (14.4, RED))


def _quantile(share: float, metric: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{HERE}}}[5m])))"


PANELS = (
    Panel(
        title="Calls through it",
        about="Blocked while an incident says that no call arrives through this firewall.",
        runbook="CallsBlocked",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                f'max(psapwatch_incident_open{{{HERE}, alert="CallsBlocked", scope="firewall"}})',
                answer="now",
            ),
        ),
        draw=figure,
        wide=6,
        high=4,
        names=(("0", "get through", GREEN), ("1", "BLOCKED", RED)),
    ),
    Panel(
        title="Paths down",
        about="Paths to PSAPs through this firewall that are down, of all that there are.",
        runbook="CallsBlocked",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(f"sum(psapwatch_paths_down{{{HERE}}})", "down", "now"),
            Query(f"sum(psapwatch_paths{{{HERE}}})", "of", "now"),
        ),
        draw=figure,
        wide=6,
        high=4,
    ),
    Panel(
        title="Maintenance",
        about="Whether a maintenance window names this firewall now. A window says what may be "
        "down; loss beyond it pages all the same.",
        runbook="CallsBlocked",
        unit="short",
        steps=((None, GREEN), (1, BLUE)),
        queries=(Query(f"max(psapwatch_maintenance_active{{{HERE}}})", answer="now"),),
        draw=figure,
        wide=6,
        high=4,
        names=(("0", "none", GREEN), ("1", "window open", BLUE)),
    ),
    Panel(
        title="Burn of the last hour",
        about="How many times too fast the error budget (0.1 % of attempts) was used up in the "
        "last hour, by check. From 14.4 it pages.",
        runbook="AvailabilityBurn",
        unit="short",
        steps=BURN,
        queries=(
            Query(
                f"firewall:psapwatch_attempts_failed:ratio1h{{{RECORDED}}}"
                " / on () group_left psapwatch:error_budget:ratio",
                "{{check}}",
                "now",
            ),
        ),
        draw=figure,
        wide=6,
        high=4,
    ),
    Panel(
        title="Loss by check and size",
        about="The share of attempts that failed. Large and small messages, kept and new flows are "
        "checks of their own: where two of them part, there is the cause.",
        runbook="CallsDegraded",
        unit="percentunit",
        steps=LOSS,
        queries=(
            Query(
                f'sum by (check) (rate(psapwatch_attempts_total{{{HERE}, outcome="fail"}}[5m]))'
                " / sum by (check)"
                f' (rate(psapwatch_attempts_total{{{HERE}, outcome!="inconclusive"}}[5m]))',
                "{{check}}",
            ),
        ),
        draw=lambda: lines().min(0).max(1),
    ),
    Panel(
        title="Retransmissions",
        about="The share of requests that had to be sent again. It rises before calls fail: SIP "
        "hides the loss of single packets.",
        runbook="CallsDegraded",
        unit="percentunit",
        steps=((None, GREEN), (0.05, ORANGE), (0.2, RED)),
        queries=(
            Query(
                f"sum by (check) (rate(psapwatch_retransmissions_total{{{HERE}}}[5m]))"
                f" / (sum by (check) (rate(psapwatch_sends_total{{{HERE}}}[5m])) > 0)",
                "{{check}}",
            ),
        ),
        draw=lambda: lines().min(0).max(1),
    ),
    Panel(
        title="Causes",
        about="What the failing attempts' own evidence shows. The cause of an incident rests on "
        "all of them together.",
        runbook="causes",
        unit="short",
        steps=((None, GREEN), (1, RED)),
        queries=(
            Query(
                "sum by (cause)"
                f' (increase(psapwatch_causes_total{{{HERE}, cause!="none"}}[5m])) > 0',
                "{{cause}}",
            ),
        ),
        draw=lambda: bars().min(0),
        empty="No attempt has failed",
    ),
    Panel(
        title="Battery",
        about="Differential probes that were sent on suspicion, by what they vary and how they "
        "went: where one passes and its twin fails, the difference names the cause.",
        runbook="causes",
        unit="short",
        steps=PLAIN,
        queries=(
            Query(
                "sum by (row, outcome)"
                f" (increase(psapwatch_battery_attempts_total{{{HERE}}}[15m])) > 0",
                "{{row}} {{outcome}}",
            ),
        ),
        draw=lambda: bars().min(0),
        empty="Nothing has been suspected",
    ),
    Panel(
        title="Responses",
        about="SIP responses by code. 100 without a final response is a response that gets lost.",
        runbook="causes",
        unit="reqps",
        steps=PLAIN,
        queries=(
            Query(f"sum by (code) (rate(psapwatch_responses_total{{{HERE}}}[5m])) > 0", "{{code}}"),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Answer time",
        about="Median and 99th percentile from the first transmission to the final response, "
        "answered attempts only.",
        runbook="CallsDegraded",
        unit="s",
        steps=LATENCY,
        queries=(
            Query(
                _quantile(0.5, "psapwatch_response_duration_seconds", "check"), "{{check}} median"
            ),
            Query(
                _quantile(0.99, "psapwatch_response_duration_seconds", "check"), "{{check}} 99 %"
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Phases",
        about="95th percentile of each phase of an attempt: which part of it has become slow.",
        runbook="CallsDegraded",
        unit="s",
        steps=LATENCY,
        queries=(
            Query(
                _quantile(0.95, "psapwatch_phase_duration_seconds", "phase") + " >= 0", "{{phase}}"
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Media",
        about="RTP packets of test calls by direction, delivered and lost.",
        runbook="CallsDegraded",
        unit="pps",
        steps=LOSS,
        queries=(
            Query(
                f"sum by (direction, result) (rate(psapwatch_media_packets_total{{{HERE}}}[5m]))",
                "{{direction}} {{result}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="How test calls end",
        about="Test calls by how they ended, and BYE or CANCEL that nobody confirmed.",
        runbook="CallTeardownFailing",
        unit="short",
        steps=((None, GREEN), (1, ORANGE)),
        queries=(
            Query(f"sum by (how) (increase(psapwatch_calls_ended_total{{{HERE}}}[5m]))", "{{how}}"),
            Query(
                f"sum(increase(psapwatch_call_teardown_failures_total{{{HERE}}}[5m]))",
                "not confirmed",
            ),
        ),
        draw=lambda: bars().min(0),
    ),
    Panel(
        title="Budget of messages",
        about="SIP requests that we send through this firewall, each second: what `limits` in the "
        "configuration allows is the ceiling.",
        runbook="ProberStale",
        unit="reqps",
        steps=PLAIN,
        queries=(
            Query(f"sum by (check) (rate(psapwatch_sends_total{{{HERE}}}[5m]))", "{{check}}"),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Budget of errors",
        about="How many times too fast the error budget is used up, over an hour and six hours. "
        "The objective is 99.9 % of attempts, each check by itself.",
        runbook="AvailabilityBurn",
        unit="short",
        steps=BURN,
        queries=tuple(
            Query(
                f"firewall:psapwatch_attempts_failed:ratio{window}{{{RECORDED}}}"
                " / on () group_left psapwatch:error_budget:ratio",
                f"{{{{check}}}} over {window}",
            )
            for window in ("1h", "6h")
        ),
        draw=lambda: lines().min(0),
    ),
)


def firewall() -> Dashboard:
    """Return the dashboard."""
    variables = (
        chosen("firewall", "Firewall", f"label_values(psapwatch_paths{{{INSTANCE}}}, firewall)"),
    )
    about = "What one firewall does to calls: loss, retransmissions, causes, and budgets."
    return board("firewall", "psapwatch: Firewall", about, variables, PANELS)
