"""What is watched, from where, by which road: the nouns of the configuration, frozen.

Pure data (layer L0). Everything here is built once by ``config`` and only read afterwards.
Durations are seconds, URIs are strings exactly as written (RFC 3261 19.1), addresses numeric.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

TransportName = Literal["udp", "tcp", "tls"]
On = Literal["psaps", "reference", "control"]
FlowKind = Literal["fresh", "kept"]

REFERENCE: Final = "reference"
"""The PSAP id that checks of a firewall's reference responder carry in labels and stores."""
CONTROL: Final = "control"
"""The PSAP id of the reference reached without crossing the firewall."""
OURS: Final = frozenset({REFERENCE, CONTROL})
"""Our own responders, which are watched beside the PSAPs; no PSAP may have such an id."""
WITNESS: Final = "witness"
"""The PSAP id of what answers on our own side of the firewall."""
MUST_BLOCK: Final = "must_block"
"""The PSAP id of what a firewall has to block: an answer shows that our packets go round it."""

CALL_FLOOR_S: Final = 120.0
"""Never more often than this to one PSAP, over all paths and vantages (NENA i3 section 9)."""


class Address(NamedTuple):
    """One transport address: a numeric IPv4 or IPv6 host and a port.

    A tuple: it is the key of most look-ups that a packet needs.
    """

    host: str
    port: int

    @property
    def is_v6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    def __str__(self) -> str:
        host, port = self
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Local ports, both ends included; ``0-0`` lets the system choose."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Source:
    """An address that we send from, and how packets leave it."""

    address: str
    advertise: str | None = None
    interface: str | None = None
    dscp: int = 0
    sip_ports: PortRange = PortRange(0, 0)
    rtp_ports: PortRange = PortRange(0, 0)
    witness: str | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS material for one firewall or path; files are PEM."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Credentials:
    """Digest credentials (RFC 3261 22.4, RFC 8760)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the prober may put through one firewall."""

    messages_per_second: float = 200.0
    calls_per_second: float = 2.0
    concurrent_calls: int = 20


@dataclass(frozen=True, slots=True)
class Control:
    """A road to the reference that does not cross the firewall."""

    source: Source | None = None
    status_url: str | None = None


@dataclass(frozen=True, slots=True)
class Firewall:
    """What test calls go through, with our sources in front of it."""

    id: str
    sources: tuple[Source, ...]
    next_hops: tuple[str, ...] = ()
    reference: str | None = None
    control: Control | None = None
    limits: Limits = Limits()
    tls: Tls = Tls()
    auth: Credentials | None = None
    must_block: str | None = None
    rate_burst: bool = False
    """Whether eight calls may go to the reference at once, to tell a limit on calls."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A PSAP's recorded consent to test calls; without one no INVITE leaves (RFC 6881 15)."""

    consent: str
    every_s: float = 300.0
    turn: tuple[int, int] = (1, 1)
    short_interval_agreed: bool = False
    commissioned: bool = False

    @property
    def spacing_s(self) -> float:
        """The least time between two calls to the PSAP, whoever places them (detection.md 7)."""
        return max(self.every_s, 0.0 if self.short_interval_agreed else CALL_FLOOR_S)

    @property
    def slot_s(self) -> float:
        """How long one vantage's slot is.

        A call may begin in its first half; the second is the spacing before the next one's begins.
        """
        return self.spacing_s if self.turn[1] == 1 else 2 * self.spacing_s

    @property
    def round_s(self) -> float:
        """How far apart one vantage's calls are: its slot comes once a round."""
        return self.slot_s * self.turn[1]


@dataclass(frozen=True, slots=True)
class Psap:
    """The agency: a 911 answering point."""

    id: str
    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    business_line: str | None = None
    agreement: Agreement | None = None
    expected_name: str | None = None
    alternates: tuple[str, ...] = ()
    location: tuple[float, float] | None = None
    civic: tuple[tuple[str, str], ...] = ()
    """Elements of a civic address, which test calls carry in place of the point."""


@dataclass(frozen=True, slots=True)
class Path:
    """Vantage -> firewall -> endpoint over one transport."""

    psap: Psap
    id: str
    vantage: str
    firewall: Firewall
    uri: str
    transport: TransportName
    next_hop: str | None = None
    kind: Literal["sip", "legacy_gateway"] = "sip"
    answered_by: Literal["psap", "sbc"] = "psap"
    attributes: tuple[tuple[str, str], ...] = ()
    source: Source | None = None
    tls: Tls | None = None
    auth: Credentials | None = None
    key: str = field(init=False, repr=False, compare=False)
    """``psap/path``: unique in a configuration, used in stores, logs and URLs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.psap.id}/{self.id}")

    @property
    def target(self) -> str:
        """Whom it asks: another next hop or URI needs another supervised call and baseline."""
        return f"{self.next_hop or ''} {self.uri}".strip()

    @property
    def leaves_from(self) -> Source:
        """The source address of this path: its own, or the firewall's first."""
        return self.source or self.firewall.sources[0]

    def source_for(self, leg: Address) -> Source | None:
        """Where an attempt on a leg leaves from: of its family; None where there is no such."""
        usual, is_v6 = self.leaves_from, leg.is_v6
        if (":" in usual.address) == is_v6:
            return usual
        others = () if self.source else self.firewall.sources
        return next((each for each in others if (":" in each.address) == is_v6), None)


@dataclass(frozen=True, slots=True)
class Check:
    """A probe with its settings, at an interval, on a kind of path."""

    name: str
    every_s: float
    give_up_after_s: float
    settings: Any
    on: On = "psaps"
    flow: FlowKind = "fresh"
    is_call: bool = field(init=False, repr=False, compare=False)
    """Whether this check sends INVITE."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_call", self.settings.kind in {"call", "burst"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who says so: the From of every probe, and the names for incident reports."""

    from_uri: str
    provider: str = ""
    reporter_name: str = ""
    reporter_phone: str = ""
    reporter_email: str = ""
