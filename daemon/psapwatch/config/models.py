"""The configuration file as pydantic models: what may be written, its default, what it means.

Field descriptions are the configuration reference (``reference.py`` prints them). What concerns
several keys at once is in ``rules.py``. Probes and sinks bring their own models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from psapwatch.announced import TOO_LONG, WINDOW_S_MAX
from psapwatch.config.words import (
    AttributeName,
    CivicAddress,
    Id,
    Listen,
    Moment,
    Numeric,
    Ports,
    Server,
    SipUri,
    Text,
    Turn,
)
from psapwatch.duration import Duration
from psapwatch.endpoint import Address, FlowKind, Limits, On, PortRange
from psapwatch.sinks import AnySink

EVERY_S_MIN = 1.0
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Attributes = dict[AttributeName, Text]


class Strict(BaseModel):
    """Nothing unknown, nothing converted, nothing changed later, no value in an error."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )


class ReporterModel(Strict):
    """Whom an incident report names."""

    name: Text = Field("", description="who reports")
    phone: Text = Field("", description="telephone number of the reporter")
    email: Text = Field("", description="address of the reporter")


class IdentityModel(Strict):
    """Who says so."""

    from_: SipUri = Field(
        alias="from", description="From of every probe: a URI that says who is testing"
    )
    provider: Text = Field("", description="the ESInet or carrier, for reports")
    reporter: ReporterModel = Field(ReporterModel(), description="whom an incident report names")


class TlsModel(Strict):
    """TLS material; files are PEM, relative to the file that names them."""

    ca_file: Text | None = Field(None, description="authorities to trust; the system's by default")
    cert_file: Text | None = Field(None, description="our certificate, with its chain")
    key_file: Text | None = Field(None, description="its private key, not encrypted")
    verify: bool = Field(
        default=True, description="check the far side's certificate and name (RFC 5922)"
    )


class WebTlsModel(Strict):
    """TLS of the daemon's own page."""

    cert_file: Text = Field(description="the server's certificate, with its chain")
    key_file: Text = Field(description="its private key, not encrypted")


class AuthModel(Strict):
    """Digest credentials (RFC 3261 22.4, RFC 8760)."""

    username: Text = Field(description="digest user name")
    password_file: Text = Field(description="file whose first line is the password")


class WebModel(Strict):
    """The daemon's own HTTP server."""

    listen: Listen = Field(
        Address("127.0.0.1", 9911), description="where page, API and metrics are"
    )
    tls: WebTlsModel | None = Field(None, description="serve HTTPS")
    users_file: Text | None = Field(
        None, description="who may see and do what; everybody when null"
    )
    lifecycle: bool = Field(default=False, description="allow `POST /-/reload`")


class StoreModel(Strict):
    """What is kept."""

    path: Text = Field("/var/lib/psapwatch/psapwatch.db", description="the SQLite database")
    keep_days: int = Field(
        730, ge=1, le=36_500, description="days that incidents and failures stay; passes stay 48 h"
    )


class DnsModel(Strict):
    """Who resolves names."""

    servers: list[Server] = Field(
        default_factory=list,
        description="resolvers to ask; the system's (and /etc/hosts) when empty",
    )


class SourceModel(Strict):
    """An address that we send from."""

    address: Numeric = Field(description="numeric address to send from")
    advertise: Numeric | None = Field(
        None, description="address to write in messages, where NAT changes it"
    )
    interface: Text | None = Field(None, description="network interface to bind to")
    dscp: int = Field(0, ge=0, le=63, description="DSCP of every packet; 24 is CS3, 46 is EF")
    sip_ports: Ports = Field(
        PortRange(0, 0), description="local ports for SIP; `0-0` lets the system choose"
    )
    rtp_ports: Ports = Field(
        PortRange(0, 0), description="local ports for media; `0-0` lets the system choose"
    )
    witness: SipUri | None = Field(None, description="answers OPTIONS on our side of the firewall")


class ControlModel(Strict):
    """How the reference is reached without crossing the firewall: one of the two."""

    source: SourceModel | None = Field(
        None, description="a source whose way leads round the firewall"
    )
    status_url: Text | None = Field(None, description="status of an instance that stands inside")


class LimitsModel(Strict):
    """What the prober may put through one firewall."""

    messages_per_second: Positive = Field(
        Limits().messages_per_second, description="SIP messages that we send, at most"
    )
    calls_per_second: Positive = Field(
        Limits().calls_per_second, description="test calls begun, at most"
    )
    concurrent_calls: int = Field(
        Limits().concurrent_calls, ge=1, le=10_000, description="test calls open at once, at most"
    )


class FirewallModel(Strict):
    """What test calls go through."""

    sources: list[SourceModel] = Field(
        min_length=1, description="the first is the usual one; the others tell a source block apart"
    )
    next_hops: list[SipUri] = Field(
        default_factory=list, description="first SIP hops; each makes a path of its own"
    )
    reference: SipUri | None = Field(None, description="our own responder behind this firewall")
    control: ControlModel | None = Field(
        None, description="a way to the reference that does not cross this firewall"
    )
    must_block: SipUri | None = Field(
        None, description="what this firewall has to block; an answer shows that probes go round it"
    )
    rate_burst: bool = Field(
        default=False,
        description="when calls fail and single ones to the reference pass, eight to it at once, "
        "once: tells a limit on calls",
    )
    limits: LimitsModel = Field(
        LimitsModel(), description="what the prober may put through this firewall"
    )
    tls: TlsModel = Field(TlsModel(), description="TLS material; files are PEM")
    auth: AuthModel | None = Field(None, description="digest credentials")


class CheckModel(BaseModel):
    """When and on what a probe runs; every other key is a setting of the probe."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    probe: str = Field(description="the kind of probe")
    every: Duration = Field(ge=EVERY_S_MIN, description="between two attempts on one path")
    give_up_after: Duration | None = Field(
        None,
        ge=0.1,
        le=64,
        description="silence for this long is a failure; "
        "4s for options, 8s for call, 1s for each step of a walk",
    )
    on: On = Field("psaps", description="the paths that it runs on")
    flow: FlowKind = Field("fresh", description="a new 5-tuple each time, or a long-lived one")


class AgreementModel(Strict):
    """A PSAP's recorded consent; without one no INVITE leaves."""

    consent: Text = Field(description="the agreement that allows test calls")
    every: Duration = Field(
        300.0, ge=1, description="between all calls to this PSAP, over paths, checks and vantages"
    )
    turn: Turn = Field((1, 1), description="this vantage's slot: 1/2 is the first of two vantages")
    short_interval_agreed: bool = Field(default=False, description="`every` under 2m was agreed")
    commissioned: bool = Field(
        default=False, description="skip the supervised first call; for a lab"
    )


class ExpectModel(Strict):
    """Who must answer."""

    name: Text | None = Field(None, description="the name in the answer; another one is a misroute")
    alternates: list[Text] = Field(
        default_factory=list, description="names that are a diversion: a ticket, no page"
    )


class LocationModel(Strict):
    """A point inside the PSAP's area, sent in test calls."""

    lat: float = Field(ge=-90, le=90, allow_inf_nan=False, description="degrees north, WGS 84")
    lon: float = Field(ge=-180, le=180, allow_inf_nan=False, description="degrees east, WGS 84")
    civic: CivicAddress = Field(
        default_factory=dict,
        description="civic address, sent in place of the point: elements of RFC 5139",
    )


class PathModel(Strict):
    """One road to a PSAP."""

    id: Id | None = Field(None, description="unique within the PSAP; the firewall's by default")
    firewall: Id = Field(description="the firewall that it goes through")
    uri: SipUri = Field(description="where the PSAP takes calls, exactly as it is to be sent")
    kind: Literal["sip", "legacy_gateway"] = Field(
        "sip", description="`legacy_gateway` gets OPTIONS only: a call would ring a CAMA trunk"
    )
    answered_by: Literal["psap", "sbc"] = Field("psap", description="who answers OPTIONS")
    attributes: Attributes = Field(
        default_factory=dict, description="fault domains of this path alone"
    )
    tls: TlsModel | None = Field(None, description="instead of the firewall's")
    auth: AuthModel | None = Field(None, description="instead of the firewall's")


class PsapModel(Strict):
    """A 911 answering point."""

    id: Id = Field(description="unique; not `reference` or `control`")
    name: Text = Field(description="as people call it")
    attributes: Attributes = Field(
        default_factory=dict, description="fault domains beyond the firewall"
    )
    business_line: Text | None = Field(None, description="telephone number, for incident reports")
    paths: list[PathModel] = Field(min_length=1, description="the roads to it")
    test_calls: AgreementModel | None = Field(
        None, description="consent to test calls; no consent, no INVITE"
    )
    expect: ExpectModel | None = Field(None, description="who must answer")
    location: LocationModel | None = Field(None, description="location to send in test calls")


class DetectionModel(Strict):
    """When failures become a state."""

    fall: int = Field(2, ge=1, le=20, description="failures in a row that make a path down")
    rise: int = Field(3, ge=1, le=20, description="passes in a row that make it up")
    clean: Duration = Field(
        300.0, le=86_400, description="clean for this long before an incident closes"
    )
    confirm: bool = Field(
        default=True, description="confirm a first failure at once, on fresh flows"
    )


class WindowModel(Strict):
    """Maintenance: what may be down; exactly one of firewall, psap, path and attribute."""

    firewall: Id | None = Field(None, description="everything behind this firewall may be down")
    psap: Id | None = Field(None, description="every path of this PSAP may be down")
    path: Text | None = Field(None, description="this path, PSAP/PATH, may be down")
    attribute: Attributes | None = Field(
        None, description="all that has it may be down: {county: Suffolk}"
    )
    from_: Moment = Field(alias="from", description="begin, with zone")
    until: Moment = Field(description="end, with zone; at most 366 days after its begin")
    why: Text = Field(description="change number or reason")

    @field_validator("until")
    @classmethod
    def _ends_in_time(cls, until: float, info: ValidationInfo) -> float:
        if until - info.data.get("from_", until) > WINDOW_S_MAX:
            raise ValueError(TOO_LONG)
        return until


class FileModel(Strict):
    """The whole file."""

    vantage: Id = Field(description="where we measure from; a label on everything")
    identity: IdentityModel = Field(
        description="who says so: the From of every probe, and the reporter"
    )
    web: WebModel = Field(WebModel(), description="the daemon's own HTTP server")
    store: StoreModel = Field(StoreModel(), description="what is kept")
    dns: DnsModel = Field(DnsModel(), description="who resolves names")
    firewalls: dict[Id, FirewallModel] = Field(
        min_length=1, description="what test calls go through, by id"
    )
    checks: dict[Id, CheckModel] = Field(
        min_length=1, description="probes, their settings and intervals, by name"
    )
    psaps: list[PsapModel] = Field(default_factory=list, description="the answering points")
    psap_files: list[Text] = Field(
        default_factory=list,
        description="more PSAPs: patterns of .yml files (`psaps:` and a list) and .csv tables",
    )
    detection: DetectionModel = Field(DetectionModel(), description="when failures become a state")
    maintenance: list[WindowModel] = Field(
        default_factory=list,
        description="what may be down: one firewall, psap, path or attribute a window",
    )
    sinks: list[AnySink] = Field(default_factory=list, description="who is told")


class PsapFileModel(Strict):
    """A file of ``psap_files``."""

    psaps: list[PsapModel] = Field(description="the answering points")
