"""Every metric that psapwatch exports: name, type, labels and help, as one table (layer L4).

The names are a contract with dashboards and alert rules: append, never rename. The closed sets of
label values stand here too, because a series that can happen starts at zero (an ``increase()``
over a series that appears with its first event misses that event).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.verdict import Cause

PREFIX: Final = "psapwatch_"
PATH: Final = ("psap", "path", "firewall", "transport")
"""The labels of a row that speaks of one path."""

STATES: Final = ("unknown", "up", "degraded", "muted", "suspect", "down")
"""States of a path, best first; ``unknown`` says nothing, so any other state outranks it."""
PHASES: Final = ("resolve", "connect", "tls", "provisional", "final", "echo", "teardown")
ENDINGS: Final = ("bye_sent", "bye_received", "cancelled", "rejected", "no_answer")
DIRECTIONS: Final = ("forward", "reverse")
RESULTS: Final = ("delivered", "failed", "dropped")
SELF_TESTS: Final = ("always_green", "always_red")
STOP_REASONS: Final = ("operator", "unsafe", "misrouted", "hold", "not_commissioned", "other")
COMMON_CODES: Final = ("100", "180", "200", "403", "404", "408", "480", "486", "488", "500", "503")
"""Response codes that start at zero; any other three digits appear with their first response."""

DOMAIN_SCOPES: Final = ("firewall", "psap", "vantage")
ALERTS: Final[tuple[tuple[str, tuple[str, ...], tuple[Cause, ...]], ...]] = (
    ("CallsBlocked", DOMAIN_SCOPES, tuple(Cause)),
    ("CallsDegraded", DOMAIN_SCOPES, tuple(Cause)),
    ("RedundancyLost", ("psap",), tuple(Cause)),
    ("Misrouted", ("psap",), (Cause.MISROUTED,)),
    ("TestCallUnsafe", ("psap",), (Cause.UNSAFE_ANSWER,)),
    ("ProberBlind", ("vantage",), (Cause.PROBER_FAULT, Cause.PATH_BYPASSED)),
    ("CertificateExpiring", ("psap",), (Cause.TLS_CERTIFICATE,)),
)
"""Alert name, the scopes and the causes that it is known to have."""

LATENCY_S: Final = (
    *(0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25),
    *(0.5, 1.0, 2.0, 4.0, 8.0),
)
"""20 ms is a usual ESInet objective; 0.5 s is T1 (RFC 3261 17.1.1.1), 4 s and 8 s give up."""
DELAY_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DETECTION_S: Final = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0),
    *(60.0, 90.0, 120.0, 180.0, 300.0, 480.0, 900.0),
)

MetricKind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One metric: its full name, type, labels, help text and bucket bounds in seconds.

    A row is itself and nothing else (``eq=False``): it is the key of a look-up in every attempt.
    """

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    about: str
    bounds: tuple[float, ...] = ()


def _counter(name: str, labels: tuple[str, ...], about: str) -> Row:
    return Row(PREFIX + name, "counter", labels, about)


def _gauge(name: str, labels: tuple[str, ...], about: str) -> Row:
    return Row(PREFIX + name, "gauge", labels, about)


def _histogram(name: str, labels: tuple[str, ...], bounds: tuple[float, ...], about: str) -> Row:
    return Row(PREFIX + name, "histogram", labels, about, bounds)


ATTEMPTS: Final = _counter(
    "attempts_total", (*PATH, "check", "outcome"), "Attempts by outcome of the verdict."
)
CAUSES: Final = _counter(
    "causes_total",
    ("firewall", "check", "cause"),
    "Attempts by the cause that their own evidence shows; none for a pass.",
)
BATTERY: Final = _counter(
    "battery_attempts_total",
    ("firewall", "row", "outcome"),
    "Differential probes on suspicion, by row of the battery and outcome.",
)
RESPONSES: Final = _counter(
    "responses_total", ("firewall", "check", "code"), "SIP responses received, by status code."
)
RESPONSE_DURATION: Final = _histogram(
    "response_duration_seconds",
    (*PATH, "check"),
    LATENCY_S,
    "From a request's first transmission to its final response; answered attempts only.",
)
RESPONSE_DURATION_POOLED: Final = _histogram(
    "response_duration_seconds",
    ("firewall", "transport", "check"),
    LATENCY_S,
    RESPONSE_DURATION.about,
)
"""The same metric with fewer labels, for more than ``PATHS_IN_FULL_MAX`` paths."""
PHASE_DURATION: Final = _histogram(
    "phase_duration_seconds",
    ("firewall", "check", "phase"),
    LATENCY_S,
    "How long each phase of an attempt took, phases that came to their end only.",
)
SENDS: Final = _counter(
    "sends_total", ("firewall", "check"), "SIP requests sent, retransmissions included."
)
RETRANSMISSIONS: Final = _counter(
    "retransmissions_total", ("firewall", "check"), "SIP requests sent again for want of an answer."
)
MEDIA_PACKETS: Final = _counter(
    "media_packets_total",
    ("firewall", "check", "direction", "result"),
    "RTP packets of test calls, by direction and whether they arrived.",
)
PATH_UP: Final = _gauge(
    "path_up",
    (*PATH, "check"),
    "1 when the last verdict let calls through on any leg, else 0; absent before and when stale.",
)
PATH_STATE: Final = _gauge(
    "path_state", (*PATH, "state"), "1 for the state that the path is in, the worst of its checks."
)
LAST_ATTEMPT: Final = _gauge(
    "last_attempt_timestamp_seconds", (*PATH, "check"), "When the last attempt began, Unix time."
)
LAST_PASS: Final = _gauge(
    "last_pass_timestamp_seconds",
    (*PATH, "check"),
    "When the last attempt that passed began, Unix time.",
)
PATHS: Final = _gauge("paths", ("firewall",), "Paths to PSAPs that lead through the firewall.")
PATHS_DOWN: Final = _gauge("paths_down", ("firewall",), "Paths to PSAPs that are down.")
PSAP_INFO: Final = _gauge(
    "psap_info",
    ("psap", "name", "latitude", "longitude"),
    "1, with a PSAP's name and place as configured, for maps and tables.",
)
INCIDENT_OPEN: Final = _gauge(
    "incident_open",
    ("alert", "severity", "scope", "member", "psap", "firewall"),
    "1 while such an incident is open, else 0.",
)
INCIDENT_CAUSE: Final = _gauge(
    "incident_cause",
    ("id", "alert", "scope", "member", "cause"),
    "1 while the incident is open, with the cause as now known.",
)
INCIDENTS: Final = _counter("incidents_total", ("alert", "scope", "cause"), "Incidents opened.")
DETECTION: Final = _histogram(
    "detection_seconds",
    ("scope",),
    DETECTION_S,
    "From the first failing send to the incident being open.",
)
CALLS_OPEN: Final = _gauge("calls_open", (), "Test calls that have not ended yet.")
CALLS_ENDED: Final = _counter("calls_ended_total", ("firewall", "how"), "Test calls ended, by how.")
TEARDOWN_FAILURES: Final = _counter(
    "call_teardown_failures_total", ("firewall",), "BYE or CANCEL that nobody confirmed."
)
CALLS_STOPPED: Final = _gauge(
    "test_calls_stopped", ("psap", "reason"), "1 while test calls to the PSAP are stopped."
)
CERTIFICATE_EXPIRY: Final = _gauge(
    "certificate_expiry_timestamp_seconds",
    PATH,
    "When the certificate that the far end last showed runs out, Unix time.",
)
NOTIFICATIONS: Final = _counter(
    "notifications_total", ("sink", "result"), "Notices handed to a sink, by result."
)
OUTBOX_PENDING: Final = _gauge("outbox_pending", ("sink",), "Notices waiting for a sink.")
SCHEDULE_DELAY: Final = _histogram(
    "schedule_delay_seconds", (), DELAY_S, "How late attempts began against their schedule."
)
LOOP_DELAY: Final = _histogram(
    "loop_delay_seconds", (), DELAY_S, "How late the event loop woke against its timer."
)
SELF_TEST: Final = _gauge(
    "self_test_last_success_timestamp_seconds",
    ("test",),
    "When the prober's own test last gave the expected verdict, Unix time.",
)
MAINTENANCE: Final = _gauge(
    "maintenance_active", ("firewall",), "1 while a maintenance window names the firewall."
)
RELOAD_SUCCESSFUL: Final = _gauge(
    "config_last_reload_successful", (), "1 when the last configuration reload was taken over."
)
RELOAD_TIME: Final = _gauge(
    "config_last_reload_success_timestamp_seconds",
    (),
    "When a configuration was last taken over, Unix time.",
)
BUILD_INFO: Final = _gauge(
    "build_info", ("version", "python", "vantage"), "1, with what is running where."
)
INTERNAL_ERRORS: Final = _counter(
    "internal_errors_total", (), "Errors of the prober's own; each is a bug or a full disk."
)

CONTRACT: Final = (
    *(
        ATTEMPTS,
        CAUSES,
        BATTERY,
        RESPONSES,
        RESPONSE_DURATION,
        PHASE_DURATION,
        SENDS,
        RETRANSMISSIONS,
    ),
    *(MEDIA_PACKETS, PATH_UP, PATH_STATE, LAST_ATTEMPT, LAST_PASS, PATHS, PATHS_DOWN),
    *(PSAP_INFO, INCIDENT_OPEN, INCIDENT_CAUSE, INCIDENTS, DETECTION, CALLS_OPEN, CALLS_ENDED),
    *(TEARDOWN_FAILURES, CALLS_STOPPED, CERTIFICATE_EXPIRY, NOTIFICATIONS, OUTBOX_PENDING),
    *(SCHEDULE_DELAY, LOOP_DELAY, SELF_TEST, MAINTENANCE, RELOAD_SUCCESSFUL, RELOAD_TIME),
    *(BUILD_INFO, INTERNAL_ERRORS),
)
"""All rows, in the order of exposition."""
