"""``/probe``: one attempt as gauges under the blackbox exporter's names (layer L4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry

from psapwatch.evidence import Evidence, Kind
from psapwatch.exposition import AnyFamily, series
from psapwatch.metrics_names import PHASES, Row
from psapwatch.phases import phases_of, seconds
from psapwatch.verdict import Verdict


def _gauge(name: str, about: str, labels: tuple[str, ...] = ()) -> Row:
    return Row(f"probe_{name}", "gauge", labels, about)


SUCCESS: Final = _gauge("success", "1 when the attempt passed or was degraded, else 0.")
DURATION: Final = _gauge("duration_seconds", "How long the attempt took.")
DNS: Final = _gauge("dns_lookup_time_seconds", "How long the name took to resolve.")
PROTOCOL: Final = _gauge("ip_protocol", "4 or 6: the IP version of the address tried; 0 for none.")
CERTIFICATE: Final = _gauge(
    "ssl_earliest_cert_expiry", "When the certificate shown runs out, Unix time."
)
STATUS_CODE: Final = _gauge("sip_status_code", "Of the final response; 0 when there was none.")
PHASE: Final = _gauge(
    "sip_duration_seconds", "How long each phase took; 0 where it did not end.", ("phase",)
)
RETRANSMITS: Final = _gauge("sip_retransmits", "Requests sent again for want of an answer.")
FAILURE: Final = _gauge("failure_info", "1, with the cause of the failure.", ("cause",))


def probe_pieces(evidence: Evidence, verdict: Verdict, *, openmetrics: bool) -> Iterator[str]:
    """Yield the exposition of one attempt."""
    for family in _families(evidence, verdict):
        yield from family.pieces(openmetrics=openmetrics)
    if openmetrics:
        yield "# EOF\n"


def _families(evidence: Evidence, verdict: Verdict) -> Iterator[AnyFamily]:
    registry = CollectorRegistry()
    resolved, certificate = evidence.first(Kind.RESOLVED), evidence.last(Kind.TLS_UP)
    plain: tuple[tuple[Row, float | None], ...] = (
        (SUCCESS, float(verdict.passed)),
        (DURATION, evidence.duration_s),
        (DNS, seconds(resolved.get("duration_s")) if resolved else 0.0),
        (PROTOCOL, _ip_version(evidence.leg)),
        (CERTIFICATE, seconds(certificate.get("not_after")) if certificate else None),
        (STATUS_CODE, _final_code(evidence)),
        (RETRANSMITS, sum(sent.get("nth", 1) != 1 for sent in evidence.of(Kind.SENT))),
    )
    for row, value in plain:
        if value is not None:
            family = series(row, registry)
            family.at().set(value)
            yield family
    phases, durations = series(PHASE, registry), phases_of(evidence)
    for phase in PHASES:
        phases.at(phase).set(durations.get(phase, 0.0))
    yield phases
    if not verdict.passed:
        failure = series(FAILURE, registry)
        failure.at(verdict.cause).set(1)
        yield failure


def _ip_version(leg: str) -> float:
    if not leg:
        return 0.0
    return 6.0 if leg.count(":") > 1 else 4.0


def _final_code(evidence: Evidence) -> float:
    code = 0.0
    for seen in evidence.of(Kind.RESPONSE):
        number = seen.get("code")
        is_ours = seen.get("method") in ("INVITE", "OPTIONS") and not seen.get("late")
        if is_ours and isinstance(number, int) and number >= 200:
            code = float(number)
    return code
