"""Dashboard *State*: do calls get through, where not, and what still works."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from psapwatch_dashboards.panels import (
    GREEN,
    INSTANCE,
    LOSS,
    NONE_IS_GOOD,
    ORANGE,
    PLAIN,
    REACHED,
    RED,
    TO_INCIDENT,
    TO_PSAP,
    Panel,
    Query,
    board,
    figure,
    gauges,
    lines,
    rows,
    states,
    world,
)

TO_PSAPS = f'{INSTANCE}, psap!~"reference|control"'
OPEN = f"psapwatch_incident_open{{{INSTANCE}"
SHARE_DOWN = ((None, GREEN), (0.001, ORANGE), (0.999, RED))

PANELS = (
    Panel(
        title="Firewalls that block calls",
        about="Firewalls through which no call arrives, by the incidents that are open now.",
        runbook="CallsBlocked",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                f'sum(max by (firewall) ({OPEN}, alert="CallsBlocked", scope="firewall"}}))',
                answer="now",
            ),
        ),
        draw=figure,
        wide=4,
        high=4,
    ),
    Panel(
        title="Open pages and tickets",
        about="Incidents that are open now, by severity. One failure is one incident.",
        runbook="README",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                f"sum by (severity) (max by (alert, severity, scope, member) ({OPEN}}}))",
                "{{severity}}",
                "now",
            ),
        ),
        draw=figure,
        wide=6,
        high=4,
    ),
    Panel(
        title="Paths down",
        about="Paths to PSAPs that are down now: a PSAP may still be reached by another one.",
        runbook="RedundancyLost",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(Query(f"sum(psapwatch_paths_down{{{INSTANCE}}})", answer="now"),),
        draw=figure,
        wide=4,
        high=4,
    ),
    Panel(
        title="Paths watched",
        about="Paths to PSAPs that the chosen probers watch. Fewer than yesterday is a question.",
        runbook="PathUntested",
        unit="short",
        steps=PLAIN,
        queries=(Query(f"sum(psapwatch_paths{{{INSTANCE}}})", answer="now"),),
        draw=figure,
        wide=4,
        high=4,
    ),
    Panel(
        title="Probers answering",
        about="Instances that Prometheus can scrape now. Zero is red: then nobody is watching.",
        runbook="ProberDown",
        unit="short",
        steps=((None, RED), (1, GREEN)),
        queries=(Query(f"count(psapwatch_build_info{{{INSTANCE}}})", answer="now"),),
        draw=figure,
        wide=6,
        high=4,
    ),
    Panel(
        title="State by firewall",
        about="The share of each firewall's paths to PSAPs that is down: green none, orange some, "
        "red all of them.",
        runbook="CallsBlocked",
        unit="percentunit",
        steps=SHARE_DOWN,
        queries=(
            Query(
                f"sum by (firewall) (psapwatch_paths_down{{{INSTANCE}}})"
                f" / sum by (firewall) (psapwatch_paths{{{INSTANCE}}})",
                "{{firewall}}",
            ),
        ),
        draw=states,
        wide=24,
        high=6,
    ),
    Panel(
        title="Open incidents",
        about="Each open incident with its cause as now known; the id leads to the full story: "
        "psapwatch incidents show ID.",
        runbook="causes",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                "max by (alert, scope, member, cause, id)"
                f" (psapwatch_incident_cause{{{INSTANCE}}})",
                answer="rows",
            ),
        ),
        draw=lambda: rows(with_value=False),
        wide=14,
        empty="No incident is open",
        leads=(TO_INCIDENT,),
    ),
    Panel(
        title="What still works",
        about="The share of paths on which the last attempt of a check let a call or an OPTIONS "
        "through. OPTIONS that pass do not mean that calls do.",
        runbook="CallsBlocked",
        unit="percentunit",
        steps=REACHED,
        queries=(
            Query(
                f"avg by (firewall, check) (psapwatch_path_up{{{TO_PSAPS}}})",
                "{{firewall}} {{check}}",
                "now",
            ),
        ),
        draw=lambda: gauges().max(1),
        wide=10,
    ),
    Panel(
        title="PSAPs",
        about="PSAPs that have a place in the configuration, coloured by the share of their paths "
        "that is down: green none, orange some, red all of them.",
        runbook="CallsBlocked",
        unit="percentunit",
        steps=SHARE_DOWN,
        queries=(
            Query(
                "max by (psap, name, latitude, longitude)"
                f' (psapwatch_psap_info{{{INSTANCE}, latitude!=""}})'
                " * on (psap) group_left avg by (psap)"
                f' (psapwatch_path_state{{{TO_PSAPS}, state="down"}})',
                answer="rows",
            ),
        ),
        draw=world,
        high=12,
        leads=TO_PSAP,
    ),
    Panel(
        title="PSAPs with a path that is down",
        about="The share of each PSAP's paths that is down; those that cannot be reached at all "
        "come first.",
        runbook="RedundancyLost",
        unit="percentunit",
        steps=SHARE_DOWN,
        queries=(
            Query(
                f'sort_desc(avg by (psap) (psapwatch_path_state{{{TO_PSAPS}, state="down"}}) > 0)',
                answer="rows",
            ),
        ),
        draw=rows,
        high=12,
        empty="Every path is up",
        leads=TO_PSAP,
    ),
    Panel(
        title="Attempts that fail",
        about="The share of attempts to PSAPs that failed, by firewall and check; inconclusive "
        "ones are left out. From 5 % the daemon pages.",
        runbook="CallsDegraded",
        unit="percentunit",
        steps=LOSS,
        queries=(
            Query(
                "sum by (firewall, check)"
                f' (rate(psapwatch_attempts_total{{{TO_PSAPS}, outcome="fail"}}[5m]))'
                " / sum by (firewall, check)"
                f' (rate(psapwatch_attempts_total{{{TO_PSAPS}, outcome!="inconclusive"}}[5m]))',
                "{{firewall}} {{check}}",
            ),
        ),
        draw=lambda: lines().min(0).max(1),
    ),
    Panel(
        title="Test calls stopped",
        about="PSAPs to which no test call is placed, and why. Only OPTIONS watch them.",
        runbook="TestCallsStopped",
        unit="short",
        steps=NONE_IS_GOOD,
        queries=(
            Query(
                f"max by (psap, reason) (psapwatch_test_calls_stopped{{{INSTANCE}}}) == 1",
                answer="rows",
            ),
        ),
        draw=lambda: rows(with_value=False),
        empty="No test call is stopped",
        leads=TO_PSAP,
    ),
)


def state() -> Dashboard:
    """Return the dashboard."""
    about = "Do 911 calls get through, where not, since when, and what still works."
    return board("state", "psapwatch: State", about, (), PANELS)
