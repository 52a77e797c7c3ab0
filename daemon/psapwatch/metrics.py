"""What is counted: turns attempts, states and incidents into the metrics of the contract (L4).

Everything is on a registry of its own. Series that are known beforehand are at zero from the
start; label values come from the configuration or from a closed set, never from the far end.
"""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector

from psapwatch import metrics_names as names
from psapwatch.battery import ASKS
from psapwatch.endpoint import Check, Path
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.exposition import (
    OPENMETRICS,
    TEXT,
    AnyFamily,
    Buckets,
    Children,
    Family,
    Series,
    collected,
    histogram,
    in_slices,
    prefers_openmetrics,
    series,
)
from psapwatch.incident import Incident
from psapwatch.metrics_paths import PathMetrics, watched
from psapwatch.phases import phases_of
from psapwatch.verdict import Cause, Outcome, Verdict
from psapwatch.world import Clock

CLOSED_INCIDENTS_MAX: Final = 1_000
"""Label sets of ``incident_open`` that stay at 0 after closing; the oldest are forgotten first."""

_KNOWN_CODES: Final = frozenset(str(code) for code in range(100, 700))


@dataclass(frozen=True, slots=True)
class _Counts:
    """What every attempt of one check through one firewall moves, looked up once."""

    causes: Children[Series]
    phases: Children[Buckets]
    responses: Children[Series]
    sends: Series
    retransmissions: Series


class Metrics:
    """Every metric of psapwatch; ``watch``, the sinks and the daemon call it as things happen."""

    def __init__(
        self,
        paths: Sequence[Path],
        checks: Sequence[Check],
        clock: Clock,
        *,
        vantage: str = "",
        sinks: Sequence[str] = (),
    ) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._vantage = vantage
        self._series: dict[names.Row, Family[Series]] = {}
        self._histograms: dict[names.Row, Family[Buckets]] = {}
        self._paths = PathMetrics(self.registry)
        self._counts: dict[tuple[str, str], _Counts] = {}
        self._families: list[AnyFamily] = []
        """In the order of exposition, which is the order of registration."""
        for row in names.CONTRACT:
            if row in self._paths.rows:
                continue
            family: AnyFamily
            if row.kind == "histogram":
                family = self._histograms[row] = histogram(row, self.registry)
            else:
                family = self._series[row] = series(row, self.registry)
            self._families.append(family)
        delays = (names.SCHEDULE_DELAY, names.LOOP_DELAY)
        self._schedule_delay, self._loop_delay = (self._histograms[row].at() for row in delays)
        self._process = ProcessCollector(registry=self.registry)
        build = (version("psapwatch"), platform.python_version(), vantage)
        self._series[names.BUILD_INFO].at(*build).set(1)
        self.reloaded(successful=True)
        self.configure(paths, checks, sinks)

    def configure(
        self, paths: Sequence[Path], checks: Sequence[Check], sinks: Sequence[str] = ()
    ) -> None:
        """Take over a configuration, also on reload: what stays keeps its counts."""
        self._paths.configure(paths, checks)
        self._counts.clear()
        firewalls = sorted({path.firewall.id for path in paths})
        for family in self._families:
            if family.row.labels[:1] == ("firewall",):
                family.keep(lambda values: values[0] in firewalls)
            elif family.row.labels[:1] == ("sink",):
                family.keep(lambda values: values[0] in sinks)
        runs = {
            (path.firewall.id, check.name)
            for path, check in product(paths, checks)
            if watched(path, check)
        }
        for row, sets in _KNOWN.items():
            for owner in _owners(row, firewalls, runs, sinks):
                for values in product(*sets):
                    self._family(row).at(*owner, *values)
        self._know_incidents(firewalls, paths)

    # what watch tells

    def attempt(
        self,
        path: Path,
        check: Check,
        evidence: Evidence,
        verdict: Verdict,
        phases: Mapping[str, float] | None = None,
    ) -> None:
        """Count one attempt and all in it; ``phases`` where the caller has read them already."""
        phases = phases_of(evidence) if phases is None else phases
        self._paths.attempt(path, check, evidence, verdict, phases.get("final"))
        firewall, name = at = path.firewall.id, check.name
        counts = self._counts.get(at) or self._count(at)
        counts.causes[verdict.cause].inc()
        for phase, duration_s in phases.items():
            counts.phases[phase].observe(duration_s)
        for seen in evidence.observations:
            kind = seen.kind
            if kind is Kind.SENT:
                counts.sends.inc()
                if seen.facts.get("nth", 1) != 1:
                    counts.retransmissions.inc()
            elif kind is Kind.RESPONSE:
                counts.responses[code_label(seen.facts.get("code"))].inc()
            elif kind is Kind.MEDIA:
                self._media(firewall, name, seen)
            elif kind is Kind.ENDED:
                self.call_ended(firewall, str(seen.get("how")))
            elif kind is Kind.TEARDOWN_FAILED:
                self.teardown_failed(firewall)

    def trial(self, firewall: str, row: str, outcome: str) -> None:
        """Count one attempt of the battery."""
        self._series[names.BATTERY].at(firewall, row, outcome).inc()

    def state(self, path: Path, check: str, state: str) -> None:
        """Take the state of one check on a path: one of ``metrics_names.STATES``."""
        self._paths.state(path, check, state)

    def call_ended(self, firewall: str, how: str) -> None:
        """Count a call that ended after its attempt's evidence was closed (or after a restart)."""
        if how in names.ENDINGS:
            self._series[names.CALLS_ENDED].at(firewall, how).inc()

    def teardown_failed(self, firewall: str) -> None:
        """Count a BYE or CANCEL that nobody confirmed, outside an attempt's evidence."""
        self._series[names.TEARDOWN_FAILURES].at(firewall).inc()

    def calls_open(self, count: int) -> None:
        """Say how many test calls have not ended."""
        self._series[names.CALLS_OPEN].at().set(count)

    def test_calls_stopped(self, stops: Mapping[str, str]) -> None:
        """Say which PSAPs' test calls are stopped: PSAP id -> one of ``STOP_REASONS``."""
        now: set[tuple[str, ...]] = {
            (psap, reason if reason in names.STOP_REASONS else "other")
            for psap, reason in stops.items()
        }
        _show_exactly(self._series[names.CALLS_STOPPED], now)

    # what detection tells

    def incidents(self, open_: Sequence[Incident]) -> None:
        """Show exactly these incidents as open; call once before the first scrape."""
        family = self._series[names.INCIDENT_OPEN]
        _show_exactly(family, {_open_labels(incident) for incident in open_})
        closed = [values for values in family if not family.at(*values).value]
        for values in closed[: max(0, len(closed) - CLOSED_INCIDENTS_MAX)]:
            family.drop(*values)
        causes = {
            (each.id, each.alertname, each.scope, each.member, each.cause.value) for each in open_
        }
        self._series[names.INCIDENT_CAUSE].keep(lambda values: values in causes)
        for values in causes:
            self._series[names.INCIDENT_CAUSE].at(*values).set(1)

    def incident_opened(self, incident: Incident, detection_s: float | None) -> None:
        """Count a new incident; ``detection_s`` from its first failing send, where one is known."""
        self._series[names.INCIDENTS].at(
            incident.alertname, incident.scope, incident.cause.value
        ).inc()
        if detection_s is not None:
            self._histograms[names.DETECTION].at(incident.scope).observe(max(0.0, detection_s))

    # what the rest of the daemon tells

    def notification(self, sink: str, result: str) -> None:
        """Count one delivery: a result of ``metrics_names.RESULTS``."""
        self._series[names.NOTIFICATIONS].at(
            sink, result if result in names.RESULTS else "failed"
        ).inc()

    def outbox(self, sink: str, pending: int) -> None:
        """Say how many notices wait for a sink."""
        self._series[names.OUTBOX_PENDING].at(sink).set(pending)

    def schedule_delay(self, late_s: float) -> None:
        """Take how late one attempt began."""
        self._schedule_delay.observe(max(0.0, late_s))

    def loop_delay(self, late_s: float) -> None:
        """Take how late the loop woke."""
        self._loop_delay.observe(max(0.0, late_s))

    def self_test(self, test: str, at: float) -> None:
        """Say when a self test (``metrics_names.SELF_TESTS``) last gave the expected verdict."""
        self._series[names.SELF_TEST].at(test).set(at)

    def maintenance(self, firewalls: Collection[str]) -> None:
        """Say which firewalls a maintenance window names right now."""
        _show_exactly(self._series[names.MAINTENANCE], {(firewall,) for firewall in firewalls})

    def reloaded(self, *, successful: bool) -> None:
        """Say how the last reload went; a refused one leaves the time of the last good one."""
        self._series[names.RELOAD_SUCCESSFUL].at().set(float(successful))
        if successful:
            self._series[names.RELOAD_TIME].at().set(self._clock.wall())

    def internal_error(self) -> None:
        """Count an error of our own."""
        self._series[names.INTERNAL_ERRORS].at().inc()

    # what Prometheus asks

    def scrape(self, accept: str) -> tuple[str, AsyncIterator[bytes]]:
        """Return the content type for an Accept header, and the text in slices of 2 ms."""
        openmetrics = prefers_openmetrics(accept)
        content_type = OPENMETRICS if openmetrics else TEXT
        return content_type, in_slices(self.pieces(openmetrics=openmetrics))

    def pieces(self, *, openmetrics: bool) -> Iterator[str]:
        """Yield the exposition piece by piece; the loop may run between any two."""
        yield from self._paths.sweep(self._clock.wall())
        for family in (*self._paths.families, *self._families):
            yield from family.pieces(openmetrics=openmetrics)
        yield from collected(self._process, openmetrics=openmetrics)
        if openmetrics:
            yield "# EOF\n"

    def _count(self, at: tuple[str, str]) -> _Counts:
        counts = self._counts[at] = _Counts(
            causes=Children(self._series[names.CAUSES], at),
            phases=Children(self._histograms[names.PHASE_DURATION], at),
            responses=Children(self._series[names.RESPONSES], at),
            sends=self._series[names.SENDS].at(*at),
            retransmissions=self._series[names.RETRANSMISSIONS].at(*at),
        )
        return counts

    def _family(self, row: names.Row) -> AnyFamily:
        return self._histograms[row] if row.kind == "histogram" else self._series[row]

    def _media(self, firewall: str, check: str, seen: Observation) -> None:
        forward_lost, reverse_lost = _count(seen, "forward_lost"), _count(seen, "reverse_lost")
        for direction, result, packets in (
            ("forward", "delivered", max(0, _count(seen, "sent") - forward_lost)),
            ("forward", "lost", forward_lost),
            ("reverse", "delivered", _count(seen, "echoed")),
            ("reverse", "lost", reverse_lost),
        ):
            self._series[names.MEDIA_PACKETS].at(firewall, check, direction, result).inc(packets)

    def _know_incidents(self, firewalls: Sequence[str], paths: Sequence[Path]) -> None:
        opened = self._series[names.INCIDENT_OPEN]
        for firewall in firewalls:
            for alert in ("CallsBlocked", "CallsDegraded"):
                opened.at(alert, "page", "firewall", firewall, "", firewall)
        attributes = {
            name for path in paths for name, _ in (*path.psap.attributes, *path.attributes)
        }
        for alert, scopes, causes in names.ALERTS:
            domains = attributes if len(scopes) > 1 else set()
            for scope, cause in product(sorted({*scopes, *domains}), causes):
                self._series[names.INCIDENTS].at(alert, scope, cause)
        for scope in sorted({*names.DOMAIN_SCOPES, *attributes}):
            self._histograms[names.DETECTION].at(scope)


_KNOWN: Final[dict[names.Row, tuple[tuple[str, ...], ...]]] = {
    names.CALLS_ENDED: (names.ENDINGS,),
    names.TEARDOWN_FAILURES: (),
    names.MAINTENANCE: (),
    names.CAUSES: (tuple(Cause),),
    names.BATTERY: (tuple(ASKS), tuple(Outcome)),
    names.RESPONSES: (names.COMMON_CODES,),
    names.PHASE_DURATION: (names.PHASES,),
    names.SENDS: (),
    names.RETRANSMISSIONS: (),
    names.MEDIA_PACKETS: (names.DIRECTIONS, ("delivered", "lost")),
    names.OUTBOX_PENDING: (),
    names.NOTIFICATIONS: (names.RESULTS,),
}
"""Series at zero from the start: the closed sets that follow the configured labels of a row."""


def _owners(
    row: names.Row, firewalls: Iterable[str], runs: Iterable[tuple[str, str]], sinks: Iterable[str]
) -> Iterable[tuple[str, ...]]:
    """Return the configured label values that a row begins with."""
    if row.labels[:2] == ("firewall", "check"):
        return sorted(runs)
    return [(owner,) for owner in (sinks if row.labels[0] == "sink" else firewalls)]


def code_label(code: object) -> str:
    """Return the three digits of a SIP status code, or ``other`` for anything else."""
    text = str(code)
    return text if text in _KNOWN_CODES else "other"


def _count(seen: Observation, fact: str) -> int:
    value = seen.get(fact)
    return value if isinstance(value, int) and value > 0 else 0


def _open_labels(incident: Incident) -> tuple[str, ...]:
    return (
        *(incident.alertname, incident.severity, incident.scope),
        *(incident.member, incident.psap, incident.firewall),
    )


def _show_exactly(family: Family[Series], shown: set[tuple[str, ...]]) -> None:
    """Set these label values to 1 and every other one that was ever shown to 0."""
    for values in family:
        if values not in shown:
            family.at(*values).set(0)
    for values in shown:
        family.at(*values).set(1)
