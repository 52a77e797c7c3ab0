"""Firewall rules and what they judge, as frozen data (layer L3).

A scenario writes ``Rule``s; ``simulator.firewall`` applies them. ``inward`` is from the vantage
towards the PSAPs. Sizes are octets of payload, moments loop seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from psapwatch.endpoint import Address, TransportName

Direction = Literal["inward", "outward"]
Phase = Literal["message", "syn", "hello", "media"]
Flows = Literal["any", "new", "old"]
Fragments = Literal["any", "whole", "fragmented"]
Part = Literal["via", "contact", "sdp"]

SEGMENT_OCTETS_MAX: Final = 1_448
"""What Ethernet leaves a TCP segment with timestamps."""


class Packet(NamedTuple):
    """What crosses: a datagram whole or in fragments, a stream's SYN, ClientHello or message."""

    transport: TransportName
    source: Address
    destination: Address
    octets: bytes
    phase: Phase = "message"
    fragments: int = 1
    ttl: int = 0
    """At which firewall on its way it ends, counted from one; 0: at none."""

    @property
    def size(self) -> int:
        """Octets of payload in one packet: a stream travels in segments."""
        octets = len(self.octets)
        return octets if self.transport == "udp" else min(octets, SEGMENT_OCTETS_MAX)


@dataclass(frozen=True, slots=True)
class Accept:
    """Let it pass; later rules are not asked."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer with ICMP: administratively prohibited, unless said otherwise."""

    icmp_type: int = 3
    code: int = 13
    v6: tuple[int, int] = (1, 1)
    """Type and code towards IPv6 senders."""
    offender: str = ""
    """Who signs it; ``""``: the firewall."""


@dataclass(frozen=True, slots=True)
class TcpReset:
    """RST to the sender of a stream; a datagram is dropped."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """An application-layer gateway that means well: addresses in these parts become ``to``.

    ``restores`` puts the caller's address back on the way out; a gateway that does not leaves
    responses that name somebody else in Via.
    """

    to: str
    parts: tuple[Part, ...] = ("via", "contact", "sdp")
    restores: bool = True
    mends_length: bool = True


@dataclass(frozen=True, slots=True)
class Limit:
    """Drop what comes faster than this, and with ``block_s`` everything of that source for so long.

    ``each_source`` keeps a bucket for each source host, otherwise there is one for all.
    """

    per_second: float
    burst: int = 1
    block_s: float = 0.0
    each_source: bool = True


@dataclass(frozen=True, slots=True)
class Lose:
    """Let it pass, and lose it behind the firewall, as a failed line card does: state is made."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold it back, as a queue would."""

    seconds: float


Action = Accept | Drop | Lose | Reject | TcpReset | Rewrite | Limit | Delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row. What is left out matches everything; inside TLS nobody reads method or content."""

    name: str
    action: Action = Drop()
    direction: Direction | None = None
    transports: frozenset[TransportName] = frozenset()
    phase: Phase | None = None
    methods: frozenset[str] = frozenset()
    codes: frozenset[int] = frozenset()
    content: bytes = b""
    min_size: int = 0
    max_size: int = 1 << 20
    fragments: Fragments = "any"
    sources: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()
    """The two ends' hosts, as seen by the packet itself."""
    hosts: frozenset[str] = frozenset()
    """Either end: a rule on a PSAP whichever way the packet goes."""
    family: Literal[4, 6] | None = None
    flows: Flows = "any"
    share: float = 1.0
    """This part of all flows, by a hash of the outer port."""
    instance: tuple[int, int] = (0, 1)
    """``(k, n)``: the flows that member k of n equal ones carries, by another hash of that port."""
    probability: float = 1.0
    """Of each packet, by chance."""
    starts_at: float = 0.0
    ends_at: float = float("inf")


def method_of(octets: bytes) -> str:
    """Method of a request's octets; ``""`` for a response."""
    word = octets[:16].partition(b" ")[0]
    return "" if word == b"SIP/2.0" else word.decode("latin-1")


def code_of(octets: bytes) -> int:
    """Status code of a response's octets; 0 for a request."""
    digits = octets[8:11]
    return int(digits) if octets.startswith(b"SIP/2.0 ") and digits.isdigit() else 0


def fits(rule: Rule, packet: Packet, direction: Direction, now: float) -> bool:
    """Whether the packet is what the rule speaks of, chance and connection state apart."""
    return (
        rule.starts_at <= now < rule.ends_at
        and (rule.direction is None or rule.direction == direction)
        and (rule.phase is None or rule.phase == packet.phase)
        and (not rule.transports or packet.transport in rule.transports)
        and rule.min_size <= packet.size <= rule.max_size
        and _fits_ends(rule, packet)
        and (rule.fragments == "any" or (rule.fragments == "fragmented") == (packet.fragments > 1))
        and _fits_content(rule, packet)
    )


def _fits_ends(rule: Rule, packet: Packet) -> bool:
    source, destination = packet.source.host, packet.destination.host
    return (
        (not rule.sources or source in rule.sources)
        and (not rule.destinations or destination in rule.destinations)
        and (not rule.hosts or source in rule.hosts or destination in rule.hosts)
        and (rule.family is None or (rule.family == 6) == packet.source.is_v6)
    )


def _fits_content(rule: Rule, packet: Packet) -> bool:
    if not (rule.methods or rule.codes or rule.content):
        return True
    if packet.transport == "tls" or packet.phase in ("syn", "hello"):
        return False
    return (
        (not rule.methods or method_of(packet.octets) in rule.methods)
        and (not rule.codes or code_of(packet.octets) in rule.codes)
        and (not rule.content or rule.content in packet.octets)
    )
