"""Dashboard *Prober*: can the daemon be believed, and does it get its word out."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from psapwatch_dashboards.panels import (
    GREEN,
    INSTANCE,
    NONE_IS_GOOD,
    ONE_IS_GOOD,
    ORANGE,
    PLAIN,
    RED,
    Panel,
    Query,
    board,
    figure,
    lines,
    rows,
)

DELAY = ((None, GREEN), (0.05, ORANGE), (0.5, RED))


def _quantile(share: float, metric: str) -> str:
    return (
        f"histogram_quantile({share}, sum by (le, instance)"
        f" (rate({metric}_bucket{{{INSTANCE}}}[5m])))"
    )


PANELS = (
    Panel(
        title="Probers",
        about="What runs where: version, Python and vantage of each instance.",
        runbook="ProberDown",
        unit="short",
        steps=ONE_IS_GOOD,
        queries=(
            Query(
                f"max by (instance, vantage, version, python) (psapwatch_build_info{{{INSTANCE}}})",
                answer="rows",
            ),
        ),
        draw=lambda: rows(with_value=False),
        high=5,
    ),
    Panel(
        title="Last attempt ended",
        about="How long ago any attempt began. A daemon that is well has made one seconds ago.",
        runbook="ProberStale",
        unit="s",
        steps=((None, GREEN), (120, ORANGE), (600, RED)),
        queries=(
            Query(
                "time() - max by (instance)"
                f" (psapwatch_last_attempt_timestamp_seconds{{{INSTANCE}}})",
                "{{instance}}",
                "now",
            ),
        ),
        draw=figure,
        wide=6,
        high=5,
    ),
    Panel(
        title="Configuration",
        about="Whether the last reload was taken over. A refused one leaves the old configuration "
        "in force.",
        runbook="ProberReloadFailed",
        unit="short",
        steps=ONE_IS_GOOD,
        queries=(
            Query(
                f"min by (instance) (psapwatch_config_last_reload_successful{{{INSTANCE}}})",
                "{{instance}}",
                "now",
            ),
        ),
        draw=figure,
        wide=6,
        high=5,
        names=(("0", "REFUSED", RED), ("1", "in force", GREEN)),
    ),
    Panel(
        title="Attempts",
        about="Attempts by outcome. Inconclusive ones are the prober's own trouble.",
        runbook="ProberStale",
        unit="ops",
        steps=PLAIN,
        queries=(
            Query(
                f"sum by (outcome) (rate(psapwatch_attempts_total{{{INSTANCE}}}[5m]))",
                "{{outcome}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Schedule delay",
        about="How late attempts begin. Budgets that are too small show here first.",
        runbook="ProberSlow",
        unit="s",
        steps=((None, GREEN), (0.5, ORANGE), (5, RED)),
        queries=(
            Query(_quantile(0.5, "psapwatch_schedule_delay_seconds"), "{{instance}} median"),
            Query(_quantile(0.99, "psapwatch_schedule_delay_seconds"), "{{instance}} 99 %"),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Loop delay",
        about="How late the event loop wakes. Above half a second it makes tickets; measurements "
        "take the kernel's time and stay true.",
        runbook="ProberSlow",
        unit="s",
        steps=DELAY,
        queries=(
            Query(_quantile(0.5, "psapwatch_loop_delay_seconds"), "{{instance}} median"),
            Query(_quantile(0.99, "psapwatch_loop_delay_seconds"), "{{instance}} 99 %"),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Self-test",
        about="How long ago the always-green target was green, and the always-red one red. A "
        "prober that cannot see red raises no alarm.",
        runbook="ProberSelfTestFailing",
        unit="s",
        steps=((None, GREEN), (60, ORANGE), (180, RED)),
        queries=(
            Query(
                "time() - max by (instance, test)"
                f" (psapwatch_self_test_last_success_timestamp_seconds{{{INSTANCE}}})",
                "{{instance}} {{test}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Outbox",
        about="Notices that wait for a sink. They are kept on disk and delivered in order.",
        runbook="NotificationsFailing",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                f"sum by (instance, sink) (psapwatch_outbox_pending{{{INSTANCE}}})",
                "{{instance}} {{sink}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Notices",
        about="Notices handed to each sink, by result. Dropped ones reach nobody by this road.",
        runbook="NotificationsFailing",
        unit="short",
        steps=PLAIN,
        queries=(
            Query(
                "sum by (sink, result)"
                f" (increase(psapwatch_notifications_total{{{INSTANCE}}}[5m]))",
                "{{sink}} {{result}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Time to detect",
        about="95th percentile from the first failing send to the open incident, of the incidents "
        "in the chosen time, by scope.",
        runbook="CallsBlocked",
        unit="s",
        steps=((None, GREEN), (30, ORANGE), (120, RED)),
        queries=(
            Query(
                "histogram_quantile(0.95, sum by (le, scope) (increase("
                f"psapwatch_detection_seconds_bucket{{{INSTANCE}}}[$__range]))) >= 0",
                "{{scope}}",
                "now",
            ),
        ),
        draw=figure,
        wide=6,
        empty="No incident in this time",
    ),
    Panel(
        title="Errors of its own",
        about="Bugs, and a disk that does not take what is written. Each is in the log.",
        runbook="ProberErrors",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                "sum by (instance)"
                f" (increase(psapwatch_internal_errors_total{{{INSTANCE}}}[$__range]))",
                "{{instance}}",
                "now",
            ),
        ),
        draw=figure,
        wide=6,
    ),
    Panel(
        title="Test calls open",
        about="Test calls that have not ended. It returns to 0 between calls.",
        runbook="CallTeardownFailing",
        unit="short",
        steps=PLAIN,
        queries=(Query(f"sum by (instance) (psapwatch_calls_open{{{INSTANCE}}})", "{{instance}}"),),
        draw=lambda: lines().min(0),
    ),
    Panel(
        title="Process",
        about="Processor time used each second: one core is all that an instance can use. More "
        "paths than that carries are split over shards.",
        runbook="ProberSlow",
        unit="percentunit",
        steps=((None, GREEN), (0.6, ORANGE), (0.85, RED)),
        queries=(
            Query(
                "sum by (instance)"
                f' (rate(process_cpu_seconds_total{{{INSTANCE}, job=~".*psapwatch.*"}}[5m]))',
                "{{instance}}",
            ),
        ),
        draw=lambda: lines().min(0),
    ),
)


def prober() -> Dashboard:
    """Return the dashboard."""
    about = "Can the daemon be believed: schedule, loop, self-test, outbox."
    return board("prober", "psapwatch: Prober", about, (), PANELS)
