"""The metrics of the contract: names, types, labels, and what is never counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from psapwatch.endpoint import REFERENCE, Check, Path
from psapwatch.evidence import Kind, Observation
from psapwatch.exposition import OPENMETRICS, SLICE_S, TEXT, in_slices, prefers_openmetrics
from psapwatch.metrics import CLOSED_INCIDENTS_MAX, Metrics
from psapwatch.metrics_names import CONTRACT, STATES
from psapwatch.verdict import PASSED, Cause, Outcome
from samples import (
    CHECKS,
    FAILED,
    KEEPALIVE,
    REFERENCE_CALL,
    TEST_CALL,
    UNSURE,
    WALL,
    FixedClock,
    answered,
    attempt,
    incident,
    path,
    sent,
)

OPENMETRICS_ACCEPT: Final = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.2"
PROMETHEUS_3_ACCEPT: Final = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)

ON_PATH = ("psap", "path", "firewall", "transport")
NAMED_IN_THE_CONTRACT: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "attempts_total": ("counter", (*ON_PATH, "check", "outcome")),
    "causes_total": ("counter", ("firewall", "check", "cause")),
    "battery_attempts_total": ("counter", ("firewall", "row", "outcome")),
    "responses_total": ("counter", ("firewall", "check", "code")),
    "response_duration_seconds": ("histogram", (*ON_PATH, "check")),
    "phase_duration_seconds": ("histogram", ("firewall", "check", "phase")),
    "sends_total": ("counter", ("firewall", "check")),
    "retransmissions_total": ("counter", ("firewall", "check")),
    "media_packets_total": ("counter", ("firewall", "check", "direction", "result")),
    "path_up": ("gauge", (*ON_PATH, "check")),
    "path_state": ("gauge", (*ON_PATH, "state")),
    "last_attempt_timestamp_seconds": ("gauge", (*ON_PATH, "check")),
    "last_pass_timestamp_seconds": ("gauge", (*ON_PATH, "check")),
    "paths": ("gauge", ("firewall",)),
    "paths_down": ("gauge", ("firewall",)),
    "psap_info": ("gauge", ("psap", "name", "latitude", "longitude")),
    "incident_open": ("gauge", ("alert", "severity", "scope", "member", "psap", "firewall")),
    "incident_cause": ("gauge", ("id", "alert", "scope", "member", "cause")),
    "incidents_total": ("counter", ("alert", "scope", "cause")),
    "detection_seconds": ("histogram", ("scope",)),
    "calls_open": ("gauge", ()),
    "calls_ended_total": ("counter", ("firewall", "how")),
    "call_teardown_failures_total": ("counter", ("firewall",)),
    "test_calls_stopped": ("gauge", ("psap", "reason")),
    "certificate_expiry_timestamp_seconds": ("gauge", ON_PATH),
    "notifications_total": ("counter", ("sink", "result")),
    "outbox_pending": ("gauge", ("sink",)),
    "schedule_delay_seconds": ("histogram", ()),
    "loop_delay_seconds": ("histogram", ()),
    "self_test_last_success_timestamp_seconds": ("gauge", ("test",)),
    "maintenance_active": ("gauge", ("firewall",)),
    "config_last_reload_successful": ("gauge", ()),
    "config_last_reload_success_timestamp_seconds": ("gauge", ()),
    "internal_errors_total": ("counter", ()),
}


def made(
    *paths: Path, checks: Iterable[Check] = CHECKS, clock: FixedClock | None = None
) -> Metrics:
    """Return fresh metrics of these paths."""
    clock = clock or FixedClock()
    return Metrics(paths or (path(),), tuple(checks), clock, vantage="boston-a", sinks=("pager",))


def text(metrics: Metrics) -> str:
    """Return the text format."""
    return "".join(metrics.pieces(openmetrics=False))


def families_of_openmetrics(exposed: str) -> list[Metric]:
    """Parse the OpenMetrics format, strictly."""
    return list(parse_openmetrics(exposed))  # type: ignore[no-untyped-call]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one sample as a scraper reads it; ``None`` where it is absent."""
    for family in parse_text(text(metrics)):
        for sample in family.samples:
            if sample.name == f"psapwatch_{name}" and sample.labels == labels:
                return float(sample.value)
    return None


def on_path(of: Path) -> dict[str, str]:
    """Return the path labels."""
    return {
        "psap": of.psap.id,
        "path": of.id,
        "firewall": of.firewall.id,
        "transport": of.transport,
    }


def busy(metrics: Metrics, paths: Iterable[Path], checks: Iterable[Check] = (KEEPALIVE,)) -> None:
    """Let every check pass once on every path."""
    for each in paths:
        for check in checks:
            metrics.attempt(each, check, attempt(each, check), PASSED)
            metrics.state(each, check.name, "up")


def without_process(lines: bytes) -> list[str]:
    """Drop the process metrics, which move between two looks."""
    return [line for line in lines.decode().splitlines() if "process_" not in line]


async def scraped(metrics: Metrics, accept: str = "") -> tuple[str, bytes]:
    """Scrape as the web door does."""
    content_type, slices = metrics.scrape(accept)
    return content_type, b"".join([piece async for piece in slices])


class TestContract:
    """Names, types and labels are a promise."""

    def test_every_metric_has_the_type_and_labels_of_the_contract(self) -> None:
        """Names, types and labels are exactly the table's."""
        rows = {row.name.removeprefix("psapwatch_"): (row.kind, row.labels) for row in CONTRACT}
        assert rows.pop("build_info")[0] == "gauge"
        assert rows == NAMED_IN_THE_CONTRACT

    def test_what_is_exposed_is_what_the_table_says(self) -> None:
        """Each family in the text has its type, and each of its samples exactly its labels."""
        metrics = made()
        busy(metrics, [path()])
        metrics.incidents([incident()])
        metrics.test_calls_stopped({"ma-boston": "operator"})
        metrics.self_test("always_green", WALL)
        shown = {
            family.name: family
            for family in parse_text(text(metrics))
            if family.name.startswith("psapwatch_")
        }
        for name, (kind, labels) in NAMED_IN_THE_CONTRACT.items():
            family = shown[f"psapwatch_{name}".removesuffix("_total")]
            assert family.type == kind
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(labels), sample
            absent_until_seen = name == "certificate_expiry_timestamp_seconds"
            assert absent_until_seen or family.samples, f"{name} has no series"

    def test_there_are_no_created_series(self) -> None:
        """Creation times would double the series for nothing."""
        metrics = made()
        busy(metrics, [path()])
        assert "_created" not in text(metrics)
        assert "_created" not in "".join(metrics.pieces(openmetrics=True))

    def test_known_series_are_zero_from_the_start(self) -> None:
        """An increase() must see the first failure of every cause, outcome, phase and direction."""
        metrics = made()
        exposed = text(metrics)
        for check in (KEEPALIVE, TEST_CALL):
            for cause in Cause:
                shown = f'cause="{cause}",check="{check.name}",firewall="fw-east"'
                assert f"psapwatch_causes_total{{{shown}}} 0.0\n" in exposed
            for outcome in Outcome:
                labels = {**on_path(path()), "check": check.name, "outcome": outcome.value}
                assert value(metrics, "attempts_total", **labels) == 0
        for line in (
            'call_teardown_failures_total{firewall="fw-east"}',
            'calls_ended_total{firewall="fw-east",how="bye_sent"}',
            'sends_total{check="keepalive",firewall="fw-east"}',
            'media_packets_total{check="test-call",direction="reverse",firewall="fw-east",result="lost"}',
            'notifications_total{result="failed",sink="pager"}',
            'outbox_pending{sink="pager"}',
            'incidents_total{alert="CallsBlocked",cause="invite_blocked",scope="firewall"}',
            'detection_seconds_count{scope="firewall"}',
            "internal_errors_total",
            "calls_open",
        ):
            assert f"psapwatch_{line} 0.0\n" in exposed

    def test_a_check_that_never_runs_on_a_path_has_no_series_there(self) -> None:
        """Without consent no call is placed, and reference checks do not run on PSAPs."""
        metrics = made(path(consent=False))
        assert 'check="test-call"' not in text(metrics)
        assert 'check="reference"' not in text(metrics)
        ours = path(REFERENCE, "fw-east", consent=False)
        assert f'check="{REFERENCE_CALL.name}"' in text(made(path(), ours))


class TestPathUp:
    """Whether calls get through on a path, check by check."""

    def test_it_is_absent_until_the_first_verdict(self) -> None:
        """A 0 would page at every start, a 1 would lie."""
        metrics, labels = made(), {**on_path(path()), "check": "keepalive"}
        assert value(metrics, "path_up", **labels) is None
        metrics.attempt(path(), KEEPALIVE, attempt(), UNSURE)
        assert value(metrics, "path_up", **labels) is None
        metrics.attempt(path(), KEEPALIVE, attempt(), PASSED)
        assert value(metrics, "path_up", **labels) == 1

    def test_inconclusive_leaves_it(self) -> None:
        """Our own fault says nothing about a path."""
        metrics, labels = made(), {**on_path(path()), "check": "keepalive"}
        metrics.attempt(path(), KEEPALIVE, attempt(), FAILED)
        metrics.attempt(path(), KEEPALIVE, attempt(), UNSURE)
        assert value(metrics, "path_up", **labels) == 0

    def test_one_leg_that_answers_is_enough(self) -> None:
        """A PSAP with one address dead still gets its calls."""
        metrics, labels = made(), {**on_path(path()), "check": "keepalive"}
        metrics.attempt(path(), KEEPALIVE, attempt(leg="198.51.100.9:5060"), PASSED)
        metrics.attempt(path(), KEEPALIVE, attempt(leg="198.51.100.10:5060"), FAILED)
        assert value(metrics, "path_up", **labels) == 1
        metrics.attempt(path(), KEEPALIVE, attempt(leg="198.51.100.9:5060"), FAILED)
        assert value(metrics, "path_up", **labels) == 0

    def test_a_leg_that_left_the_name_stops_counting(self) -> None:
        """An address that DNS no longer gives must not keep a dead path up."""
        metrics, labels = made(), {**on_path(path()), "check": "keepalive"}
        metrics.attempt(path(), KEEPALIVE, attempt(leg="198.51.100.9:5060"), PASSED)
        later = WALL + 10 * KEEPALIVE.every_s
        metrics.attempt(path(), KEEPALIVE, attempt(leg="198.51.100.10:5060", at=later), FAILED)
        assert value(metrics, "path_up", **labels) == 0

    def test_it_goes_when_verdicts_stop_and_takes_the_green_with_it(self) -> None:
        """A prober that went quiet must not go on showing up."""
        clock = FixedClock()
        metrics = made(clock=clock)
        busy(metrics, [path()])
        clock.at = WALL + 3 * KEEPALIVE.every_s + KEEPALIVE.give_up_after_s
        assert value(metrics, "path_up", **on_path(path()), check="keepalive") == 1
        clock.at += 1
        assert value(metrics, "path_up", **on_path(path()), check="keepalive") is None
        assert value(metrics, "path_state", **on_path(path()), state="unknown") == 1
        assert value(metrics, "path_state", **on_path(path()), state="up") == 0

    def test_going_stale_never_hides_a_path_that_is_down(self) -> None:
        """Old bad news is still news."""
        clock = FixedClock()
        metrics = made(clock=clock)
        metrics.attempt(path(), KEEPALIVE, attempt(), FAILED)
        metrics.state(path(), "keepalive", "down")
        clock.at += 3600
        assert value(metrics, "path_up", **on_path(path()), check="keepalive") is None
        assert value(metrics, "path_state", **on_path(path()), state="down") == 1

    def test_a_call_stands_for_as_long_as_the_agreement_spaces_calls(self) -> None:
        """Two paths share one agreement, so each is called half as often."""
        clock = FixedClock()
        both = (path(), path(name="west", through="fw-west"))
        metrics = made(*both, clock=clock)
        metrics.attempt(both[0], TEST_CALL, attempt(both[0], TEST_CALL), PASSED)
        clock.at = WALL + 3 * 2 * 300 + 8
        assert value(metrics, "path_up", **on_path(both[0]), check="test-call") == 1
        clock.at += 1
        assert value(metrics, "path_up", **on_path(both[0]), check="test-call") is None


class TestPathState:
    """The state of a path, worst check first."""

    def test_it_is_the_worst_of_the_checks_one_series_a_state(self) -> None:
        """Exactly one state is 1, and a down call check outranks an up OPTIONS check."""
        metrics = made()
        for check, state, expected in (
            ("keepalive", "up", "up"),
            ("test-call", "unknown", "up"),
            ("test-call", "degraded", "degraded"),
            ("test-call", "suspect", "suspect"),
            ("keepalive", "down", "down"),
            ("keepalive", "muted", "suspect"),
            ("test-call", "up", "muted"),
        ):
            metrics.state(path(), check, state)
            now = {
                one: value(metrics, "path_state", **on_path(path()), state=one) for one in STATES
            }
            assert now == {one: float(one == expected) for one in STATES}

    def test_paths_down_follows_the_states(self) -> None:
        """The count of a firewall moves with its paths and stays right over a reload."""
        one, two = path("a"), path("b")
        metrics = made(one, two)
        metrics.state(one, "keepalive", "down")
        metrics.state(two, "keepalive", "down")
        metrics.state(two, "keepalive", "up")
        assert value(metrics, "paths", firewall="fw-east") == 2
        assert value(metrics, "paths_down", firewall="fw-east") == 1
        metrics.configure((two,), CHECKS, ("pager",))
        assert value(metrics, "paths", firewall="fw-east") == 1
        assert value(metrics, "paths_down", firewall="fw-east") == 0

    def test_psaps_are_introduced_with_their_place(self) -> None:
        """Names and places are the configuration's; a responder of our own is no PSAP."""
        here = replace(path("a"), psap=replace(path("a").psap, name="A Town", location=(42.5, -71)))
        metrics = made(here, path("b"), path(REFERENCE))
        shown = [line for line in text(metrics).splitlines() if "_psap_info{" in line]
        assert len(shown) == 2
        assert '{latitude="42.5",longitude="-71",name="A Town",psap="a"} 1' in shown[0]
        assert 'latitude="",longitude="",name=' in shown[1]
        metrics.configure((path("b"),), CHECKS, ("pager",))
        assert text(metrics).count("\npsapwatch_psap_info{") == 1

    def test_an_unknown_word_is_a_callers_mistake(self) -> None:
        """Label values come from the closed set."""
        with pytest.raises(ValueError, match="none of unknown"):
            made().state(path(), "keepalive", "broken")


class TestAttempt:
    """What one attempt adds."""

    def test_silence_never_enters_a_latency_histogram(self) -> None:
        """Neither an unanswered attempt nor a late answer has a duration."""
        metrics = made()
        labels = {**on_path(path()), "check": "keepalive"}
        silent = Observation(Kind.SILENT, 4.0, {"after_s": 4.0, "method": "OPTIONS"})
        metrics.attempt(path(), KEEPALIVE, attempt(seen=(sent(), silent)), FAILED)
        late = (sent(), silent, answered(9.0, late=True))
        metrics.attempt(path(), KEEPALIVE, attempt(seen=late), FAILED)
        assert value(metrics, "response_duration_seconds_count", **labels) == 0
        metrics.attempt(path(), KEEPALIVE, attempt(), PASSED)
        assert value(metrics, "response_duration_seconds_count", **labels) == 1
        assert value(metrics, "response_duration_seconds_sum", **labels) == pytest.approx(0.02)

    def test_messages_media_and_endings_are_counted(self) -> None:
        """One call that was sent twice, echoed in part and ended by us."""
        metrics = made()
        seen = (
            sent(0, 1, "INVITE"),
            sent(0.5, 2, "INVITE"),
            answered(0.51, 100, "INVITE"),
            answered(0.6, 200, "INVITE"),
            Observation(
                Kind.MEDIA,
                1.0,
                {"sent": 3, "echoed": 1, "forward_lost": 1, "reverse_lost": 1, "rtt_s": 0.04},
            ),
            Observation(Kind.ENDED, 1.2, {"how": "bye_sent", "confirmed": False}),
            Observation(Kind.TEARDOWN_FAILED, 5.0, {"method": "BYE", "why": "no answer"}),
        )
        metrics.attempt(path(), TEST_CALL, attempt(check=TEST_CALL, seen=seen), PASSED)
        through = {"firewall": "fw-east", "check": "test-call"}
        assert value(metrics, "sends_total", **through) == 2
        assert value(metrics, "retransmissions_total", **through) == 1
        assert value(metrics, "responses_total", **through, code="200") == 1
        assert value(metrics, "causes_total", **through, cause="none") == 1
        packets = {
            (direction, result): value(
                metrics, "media_packets_total", **through, direction=direction, result=result
            )
            for direction in ("forward", "reverse")
            for result in ("delivered", "lost")
        }
        assert packets == {
            ("forward", "delivered"): 2,
            ("forward", "lost"): 1,
            ("reverse", "delivered"): 1,
            ("reverse", "lost"): 1,
        }
        assert value(metrics, "calls_ended_total", firewall="fw-east", how="bye_sent") == 1
        assert value(metrics, "call_teardown_failures_total", firewall="fw-east") == 1
        for phase in ("provisional", "final", "echo"):
            assert value(metrics, "phase_duration_seconds_count", **through, phase=phase) == 1

    def test_label_values_never_come_from_the_far_end(self) -> None:
        """Whatever a stranger writes, no label carries it."""
        evil = 'evil"}\n'
        metrics = made()
        before = text(metrics)
        seen = (
            sent(method=evil),
            Observation(
                Kind.RESPONSE,
                0.1,
                dict.fromkeys(
                    ("code", "method", "source", "server", "contact", "to_tag", "late"), evil
                ),
            ),
            answered(0.1, 99999),
            Observation(Kind.ENDED, 1, {"how": evil}),
            Observation(Kind.TLS_UP, 1, {"subject": evil, "names": evil, "not_after": evil}),
            Observation(Kind.MEDIA, 1, {"sent": evil, "echoed": -5}),
            Observation(Kind.ANSWER, 1, {"what": evil, "text": evil}),
        )
        metrics.attempt(path(), KEEPALIVE, attempt(seen=seen), FAILED)
        after = text(metrics)
        assert "evil" not in after
        assert (
            value(metrics, "responses_total", firewall="fw-east", check="keepalive", code="other")
            == 2
        )
        new = set(re.findall(r"^(\S+) ", after, re.MULTILINE)) - set(
            re.findall(r"^(\S+) ", before, re.MULTILINE)
        )
        assert {name.partition("{")[0] for name in new} <= {
            "psapwatch_responses_total",
            "psapwatch_path_up",
            "psapwatch_last_attempt_timestamp_seconds",
        }

    def test_the_certificate_is_the_paths_newest(self) -> None:
        """The gauge shows what the far end last presented."""
        metrics = made(path(transport="tls"))
        seen = (Observation(Kind.TLS_UP, 0.1, {"not_after": WALL + 86_400.0}),)
        to = path(transport="tls")
        metrics.attempt(to, KEEPALIVE, attempt(to, seen=seen), PASSED)
        shown = value(metrics, "certificate_expiry_timestamp_seconds", **on_path(to))
        assert shown == WALL + 86_400

    def test_above_a_thousand_paths_the_histogram_has_no_path_labels(self) -> None:
        """1,000 paths are shown one by one, 1,001 by firewall and transport."""
        many = [path(f"p{number}") for number in range(1001)]
        assert (
            'response_duration_seconds_count{check="keepalive",firewall="fw-east",path="east"'
            in (text(made(*many[:1000])))
        )
        metrics = made(*many)
        busy(metrics, many[:3])
        pooled = {"firewall": "fw-east", "transport": "udp", "check": "keepalive"}
        assert value(metrics, "response_duration_seconds_count", **pooled) == 3
        assert not re.search(r'response_duration_seconds_count{[^}]*psap="', text(metrics))


class TestIncidents:
    """What detection tells."""

    def test_open_is_one_and_closed_is_zero(self) -> None:
        """The series stays, so that a derived alert resolves at once."""
        metrics = made()
        labels = {
            "alert": "CallsBlocked",
            "severity": "page",
            "scope": "firewall",
            "member": "fw-east",
            "psap": "",
            "firewall": "fw-east",
        }
        cause = {"id": "i-1", "alert": "CallsBlocked", "scope": "firewall", "member": "fw-east"}
        assert value(metrics, "incident_open", **labels) == 0
        metrics.incidents([incident()])
        assert value(metrics, "incident_open", **labels) == 1
        assert value(metrics, "incident_cause", **cause, cause="calls_blocked") == 1
        metrics.incidents([incident(cause=Cause.INVITE_BLOCKED)])
        assert value(metrics, "incident_open", **labels) == 1
        assert value(metrics, "incident_cause", **cause, cause="calls_blocked") is None
        assert value(metrics, "incident_cause", **cause, cause="invite_blocked") == 1
        metrics.incidents([])
        assert value(metrics, "incident_open", **labels) == 0
        assert value(metrics, "incident_cause", **cause, cause="invite_blocked") is None

    def test_opening_is_counted_with_the_time_it_took(self) -> None:
        """One incident, one observation in its scope."""
        metrics = made()
        metrics.incident_opened(incident(), 8.5)
        opened = {"alert": "CallsBlocked", "scope": "firewall", "cause": "calls_blocked"}
        assert value(metrics, "incidents_total", **opened) == 1
        assert value(metrics, "detection_seconds_bucket", scope="firewall", le="10.0") == 1
        assert value(metrics, "detection_seconds_bucket", scope="firewall", le="5.0") == 0

    def test_closed_ones_are_forgotten_at_last(self) -> None:
        """Members that come and go must not fill the memory."""
        metrics = made()
        for number in range(CLOSED_INCIDENTS_MAX + 50):
            metrics.incidents([incident(scope="psap", member=f"m{number}", psap=f"m{number}")])
        metrics.incidents([])
        shown = re.findall(r"^psapwatch_incident_open\{", text(metrics), re.MULTILINE)
        assert len(shown) == CLOSED_INCIDENTS_MAX


class TestTheRest:
    """The plain setters, and reload."""

    def test_what_the_daemon_tells_is_shown(self) -> None:
        """Every plain setter reaches its series."""
        metrics = made()
        metrics.calls_open(3)
        metrics.call_ended("fw-east", "cancelled")
        metrics.teardown_failed("fw-east")
        metrics.test_calls_stopped({"ma-boston": "unsafe", "x": "word of a stranger"})
        metrics.notification("pager", "delivered")
        metrics.outbox("pager", 4)
        metrics.schedule_delay(0.003)
        metrics.loop_delay(-0.1)
        metrics.self_test("always_red", WALL)
        metrics.maintenance(["fw-east"])
        metrics.reloaded(successful=False)
        metrics.internal_error()
        for name, labels, expected in (
            ("calls_open", {}, 3),
            ("calls_ended_total", {"firewall": "fw-east", "how": "cancelled"}, 1),
            ("call_teardown_failures_total", {"firewall": "fw-east"}, 1),
            ("test_calls_stopped", {"psap": "ma-boston", "reason": "unsafe"}, 1),
            ("test_calls_stopped", {"psap": "x", "reason": "other"}, 1),
            ("notifications_total", {"sink": "pager", "result": "delivered"}, 1),
            ("outbox_pending", {"sink": "pager"}, 4),
            ("schedule_delay_seconds_bucket", {"le": "0.005"}, 1),
            ("loop_delay_seconds_sum", {}, 0),
            ("self_test_last_success_timestamp_seconds", {"test": "always_red"}, WALL),
            ("maintenance_active", {"firewall": "fw-east"}, 1),
            ("config_last_reload_successful", {}, 0),
            ("config_last_reload_success_timestamp_seconds", {}, WALL),
            ("internal_errors_total", {}, 1),
        ):
            assert value(metrics, name, **labels) == expected, name
        metrics.maintenance([])
        metrics.test_calls_stopped({})
        assert value(metrics, "maintenance_active", firewall="fw-east") == 0
        assert value(metrics, "test_calls_stopped", psap="ma-boston", reason="unsafe") == 0

    def test_a_reload_keeps_the_counts_of_what_stays_and_forgets_the_rest(self) -> None:
        """Counters of an unchanged path go on; a removed firewall leaves nothing behind."""
        stays, goes = path("a"), path("b", through="fw-west")
        metrics = made(stays, goes)
        busy(metrics, (stays, goes))
        metrics.configure((stays,), CHECKS, ("pager",))
        kept = {**on_path(stays), "check": "keepalive", "outcome": "pass"}
        assert value(metrics, "attempts_total", **kept) == 1
        assert value(metrics, "sends_total", firewall="fw-east", check="keepalive") == 1
        assert value(metrics, "path_up", **on_path(stays), check="keepalive") == 1
        gone = [line for line in text(metrics).splitlines() if 'firewall="fw-west"' in line]
        assert [line for line in gone if not line.startswith("psapwatch_incident_open")] == []


class TestExposition:
    """The text that a scraper reads."""

    @staticmethod
    def lively() -> Metrics:
        """Metrics with something in every corner, awkward label values included."""
        odd = path('od"d\\psap\n', "p")
        paths = [path(f"p{number}") for number in range(5)] + [odd]
        metrics = made(*paths)
        busy(metrics, paths, (KEEPALIVE, TEST_CALL))
        metrics.attempt(odd, KEEPALIVE, attempt(odd, seen=(sent(), sent(0.5, 2))), FAILED)
        metrics.incidents([incident(), incident(id="i-2", scope="psap", member="p1", psap="p1")])
        metrics.incident_opened(incident(), 8.25)
        metrics.schedule_delay(1234567.125)
        metrics.outbox("pager", 12_345_678)
        return metrics

    def test_it_equals_what_the_library_renders(self) -> None:
        """Rendering child by child changes nothing, byte for byte, in either format."""
        metrics = self.lively()
        for _twice in range(2):  # the second time from remembered lines
            _type, ours = asyncio.run(scraped(metrics))
            library = generate_latest(metrics.registry)
            assert without_process(ours) == without_process(library)
            _type, ours = asyncio.run(scraped(metrics, OPENMETRICS_ACCEPT))
            library = generate_openmetrics(metrics.registry)  # type: ignore[no-untyped-call]
            assert without_process(ours) == without_process(library)
            busy(metrics, [path("p1")])

    def test_openmetrics_parses_and_carries_the_call_id(self) -> None:
        """The exemplar is the Call-ID's local part; the text format has none."""
        metrics = self.lively()
        _type, body = asyncio.run(scraped(metrics, OPENMETRICS_ACCEPT))
        exemplars = [
            sample.exemplar
            for family in families_of_openmetrics(body.decode())
            for sample in family.samples
            if sample.exemplar is not None
        ]
        assert exemplars
        assert {tuple(each.labels.items()) for each in exemplars} == {(("call_id", "abc123"),)}
        assert b"abc123" not in asyncio.run(scraped(metrics))[1]

    @pytest.mark.parametrize(
        ("accept", "openmetrics"),
        [
            ("", False),
            ("*/*", False),
            ("text/plain", False),
            ("application/openmetrics-text", True),
            (OPENMETRICS_ACCEPT, True),
            (
                "application/openmetrics-text;version=0.0.1;q=0.5, text/plain;version=0.0.4;q=0.9",
                False,
            ),
            ("application/openmetrics-text; version=9.9.9", False),
            ("application/openmetrics-text;q=0", False),
            ("application/openmetrics-text;q=abc,;;,=", False),
            (PROMETHEUS_3_ACCEPT, True),
        ],
    )
    def test_the_scraper_gets_the_format_it_prefers(self, accept: str, openmetrics: bool) -> None:
        """Accept is weighed as RFC 9110 says, and what cannot be served falls back to text."""
        assert prefers_openmetrics(accept) is openmetrics
        content_type, body = asyncio.run(scraped(made(), accept))
        assert content_type == (OPENMETRICS if openmetrics else TEXT)
        assert body.endswith(b"# EOF\n") is openmetrics

    def test_values_that_move_during_a_scrape_do_not_break_it(self) -> None:
        """Attempts, reloads and incidents between two slices leave a text that parses."""
        metrics = self.lively()

        def disturbed() -> Iterator[str]:
            for at, piece in enumerate(metrics.pieces(openmetrics=True)):
                if at == 40:
                    metrics.configure((path("p1"), path("new")), CHECKS, ())
                if at % 10 == 0:
                    busy(metrics, [path("p1")])
                    metrics.incidents([incident(id=f"i-{at}", member=f"m{at}")])
                yield piece

        assert families_of_openmetrics("".join(disturbed()))

    def test_the_loop_runs_between_slices(self) -> None:
        """Another task gets its turn at least once per slice of a long rendering."""

        async def both() -> tuple[int, int]:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            slices = [piece async for piece in in_slices("x" for _ in range(100_000))]
            task.cancel()
            return len(slices), turns

        slices, turns = asyncio.run(both())
        assert slices > 10
        assert turns >= slices - 2

    def test_a_slice_ends_with_the_piece_in_which_its_time_is_over(self) -> None:
        """By the loop's own clock: pieces of 0.3 ms, four to a slice of 1 ms."""
        assert SLICE_S == 0.001

        async def sliced() -> list[int]:
            loop, moment = asyncio.get_running_loop(), 0.0
            loop.time = lambda: moment  # type: ignore[method-assign]

            def pieces() -> Iterator[str]:
                nonlocal moment
                for _ in range(100):
                    moment += 0.000_3
                    yield "x"

            return [len(each) async for each in in_slices(pieces())]

        assert asyncio.run(sliced()) == [4] * 25 + [0]

    @pytest.mark.parametrize("openmetrics", [False, True])
    def test_no_piece_grows_with_the_number_of_paths(self, *, openmetrics: bool) -> None:
        """One piece is one series: what a slice takes over its time stays as short as that."""

        def longest(count: int) -> int:
            paths = [path(f"p{number:04}", through=f"fw-{number % 4}") for number in range(count)]
            metrics = made(*paths)
            busy(metrics, paths, (KEEPALIVE, TEST_CALL))
            return max(map(len, metrics.pieces(openmetrics=openmetrics)))

        assert longest(2_000) <= longest(20) + len("000") * 20  # a count's digits, in each line
