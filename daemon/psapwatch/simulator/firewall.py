"""A firewall between two sides of the simulated network: rules as data, state, counters (L3).

``inward`` is from the vantage towards the PSAPs. A packet meets the rules in order; the first that
drops, rejects or accepts decides. What crosses inward makes state; what comes back outward needs
it, unless ``outward_open``. Every rule counts its hits, so that a scenario can assert that its
fault really happened. Moments are loop seconds.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.endpoint import Address, TransportName
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.icmp import Bucket, IcmpBudget

Direction = Literal["inward", "outward"]
Phase = Literal["message", "syn", "hello", "media"]
Flows = Literal["any", "new", "old"]
Fragments = Literal["any", "whole", "fragmented"]
Part = Literal["via", "contact", "sdp"]

UDP_STATE_S: Final = 30.0
"""Linux's nf_conntrack_udp_timeout."""
STATES_MAX: Final = 262_144
_PURGE_STATES: Final = 1_024


@dataclass(frozen=True, slots=True)
class Packet:
    """What crosses: a datagram whole or in fragments, a stream's SYN, ClientHello or message."""

    transport: TransportName
    source: Address
    destination: Address
    octets: bytes
    phase: Phase = "message"
    fragments: int = 1

    @property
    def size(self) -> int:
        """Octets of payload."""
        return len(self.octets)


@dataclass(frozen=True, slots=True)
class Accept:
    """Let it pass; later rules are not asked."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer with ICMP; ``None`` for IPv6 takes the counterpart of administratively prohibited."""

    icmp_type: int = 3
    code: int = 13
    v6: tuple[int, int] = (1, 1)
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
class Delay:
    """Hold it back, as a queue would."""

    seconds: float


Action = Accept | Drop | Reject | TcpReset | Rewrite | Limit | Delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row. What is left out matches everything; inside TLS nobody reads method or content."""

    name: str
    action: Action = Drop()
    direction: Direction | None = None
    transport: TransportName | None = None
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


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a packet."""

    octets: bytes | None
    """None: it does not arrive."""
    delay_s: float = 0.0
    icmp: tuple[int, int] | None = None
    offender: str = ""
    reset: bool = False


_LOST: Final = Fate(None)


def method_of(octets: bytes) -> str:
    """Method of a request's octets; ``""`` for a response."""
    word = octets[:16].partition(b" ")[0]
    return "" if word == b"SIP/2.0" else word.decode("latin-1")


def code_of(octets: bytes) -> int:
    """Status code of a response's octets; 0 for a request."""
    digits = octets[8:11]
    return int(digits) if octets.startswith(b"SIP/2.0 ") and digits.isdigit() else 0


def _spread(port: int, salt: bytes) -> float:
    """Map a port into [0, 1), evenly and the same in every run."""
    return zlib.crc32(salt + port.to_bytes(2, "big")) / 2**32


class SimulatedFirewall:
    """Rules, connection state and counters of one firewall."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        seed: int,
        rules: Iterable[Rule] = (),
        udp_state_s: float = UDP_STATE_S,
        states_max: int = STATES_MAX,
        outward_open: bool = False,
        icmp_limited: bool = True,
        tcp_loose: bool = True,
    ) -> None:
        self.name = name
        self.address = address
        self.udp_state_s = udp_state_s
        self.states_max = states_max
        self.outward_open = outward_open
        self.tcp_loose = tcp_loose
        self.hits: Counter[str] = Counter()
        self._random = seeded(seed, name)
        self._rules: list[Rule] = list(rules)
        self._states: dict[tuple[str, Address, Address], float] = {}
        self._purge_at = _PURGE_STATES
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._blocked: dict[tuple[str, str], float] = {}
        self._icmp = IcmpBudget(limited=icmp_limited)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force and to come, in order."""
        return tuple(self._rules)

    def add(self, *rules: Rule) -> None:
        """Append rules; a name that is there already is replaced in its place."""
        for rule in rules:
            names = [known.name for known in self._rules]
            if rule.name in names:
                self._rules[names.index(rule.name)] = rule
            else:
                self._rules.append(rule)

    def remove(self, *names: str) -> None:
        """Take rules out; their counters stay."""
        self._rules = [rule for rule in self._rules if rule.name not in names]

    def forget_states(self) -> None:
        """Lose all connection state: a failover without synchronisation, or a purge."""
        self._states.clear()

    def cross(self, packet: Packet, direction: Direction, now: float) -> Fate:
        """Decide what becomes of a packet, and remember what has to be remembered."""
        inward = direction == "inward"
        outer, inner = (
            (packet.source, packet.destination) if inward else (packet.destination, packet.source)
        )
        state = (packet.transport, outer, inner)
        known = self._known(state, now)
        octets, delay_s = packet.octets, 0.0
        for rule in self._rules:
            if not self._matches(rule, packet, direction, outer, known=known, now=now):
                continue
            action = rule.action
            if isinstance(action, Limit) and not self._exceeds(rule, action, packet, now):
                continue
            self.hits[rule.name] += 1
            if isinstance(action, Accept):
                break
            if isinstance(action, Delay):
                delay_s += action.seconds
            elif isinstance(action, Rewrite):
                octets = self._rewrite(action, octets, packet, inward=inward)
            else:
                return self._refuse(action, packet, now)
        if not self._remember(state, packet, inward=inward, known=known, now=now):
            return _LOST
        return Fate(octets, delay_s)

    # --- matching

    def _matches(
        self,
        rule: Rule,
        packet: Packet,
        direction: Direction,
        outer: Address,
        *,
        known: bool,
        now: float,
    ) -> bool:
        if not rule.starts_at <= now < rule.ends_at:
            return False
        if rule.direction is not None and rule.direction != direction:
            return False
        if rule.phase is not None and rule.phase != packet.phase:
            return False
        if rule.transport is not None and rule.transport != packet.transport:
            return False
        if rule.transports and packet.transport not in rule.transports:
            return False
        if not rule.min_size <= len(packet.octets) <= rule.max_size:
            return False
        if rule.flows != "any" and (rule.flows == "old") != known:
            return False
        if not self._matches_ends(rule, packet):
            return False
        if not self._matches_content(rule, packet):
            return False
        if rule.share < 1.0 and _spread(outer.port, b"share") >= rule.share:
            return False
        member, members = rule.instance
        if members > 1 and int(_spread(outer.port, b"member") * members) != member:
            return False
        return rule.probability >= 1.0 or self._random.random() < rule.probability

    @staticmethod
    def _matches_ends(rule: Rule, packet: Packet) -> bool:
        source, destination = packet.source.host, packet.destination.host
        return (
            (not rule.sources or source in rule.sources)
            and (not rule.destinations or destination in rule.destinations)
            and (not rule.hosts or source in rule.hosts or destination in rule.hosts)
            and (rule.family is None or (rule.family == 6) == packet.source.is_v6)
        )

    @staticmethod
    def _matches_content(rule: Rule, packet: Packet) -> bool:
        if rule.fragments != "any" and (rule.fragments == "fragmented") != (packet.fragments > 1):
            return False
        if not (rule.methods or rule.codes or rule.content):
            return True
        octets = packet.octets
        if packet.transport == "tls" or packet.phase not in ("message", "media"):
            return False
        return (
            (not rule.methods or method_of(octets) in rule.methods)
            and (not rule.codes or code_of(octets) in rule.codes)
            and (not rule.content or rule.content in octets)
        )

    # --- acting

    def _refuse(self, action: Drop | Reject | TcpReset | Limit, packet: Packet, now: float) -> Fate:
        if isinstance(action, TcpReset) and packet.transport != "udp":
            return Fate(None, reset=True)
        if isinstance(action, Reject) and self._icmp.allows("", packet.source.host, now):
            v6 = packet.source.is_v6
            icmp = action.v6 if v6 else (action.icmp_type, action.code)
            return Fate(None, icmp=icmp, offender=action.offender or self.address)
        return _LOST

    def _exceeds(self, rule: Rule, limit: Limit, packet: Packet, now: float) -> bool:
        """Whether this packet is over the limit, or its source is still blocked for an earlier one."""
        key = (rule.name, packet.source.host if limit.each_source else "")
        if now < self._blocked.get(key, 0.0):
            return True
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(limit.per_second, limit.burst, now)
        if bucket.draw(now):
            return False
        if limit.block_s:
            self._blocked[key] = now + limit.block_s
        return True

    def _rewrite(self, action: Rewrite, octets: bytes, packet: Packet, *, inward: bool) -> bytes:
        if packet.transport == "tls" or packet.phase != "message":
            return octets
        if inward:
            return _readdressed(octets, packet.source.host, action.to, action)
        if not action.restores:
            return octets
        return _readdressed(octets, action.to, packet.destination.host, action)

    # --- state

    def _known(self, state: tuple[str, Address, Address], now: float) -> bool:
        last = self._states.get(state)
        return last is not None and (state[0] != "udp" or now - last < self.udp_state_s)

    def _remember(
        self,
        state: tuple[str, Address, Address],
        packet: Packet,
        *,
        inward: bool,
        known: bool,
        now: float,
    ) -> bool:
        """Keep or make state; False where the packet may not pass without it."""
        if not known and not inward and not self.outward_open:
            self.hits["no state"] += 1
            return False
        strict = packet.transport != "udp" and not self.tcp_loose
        if not known and strict and packet.phase != "syn":
            self.hits["no state"] += 1
            return False
        if not known:
            if len(self._states) >= min(self._purge_at, self.states_max):
                self._purge(now)
            if len(self._states) >= self.states_max:
                self.hits["table full"] += 1
                return False
        self._states[state] = now
        return True

    def _purge(self, now: float) -> None:
        self._states = {
            state: last
            for state, last in self._states.items()
            if state[0] != "udp" or now - last < self.udp_state_s
        }
        self._purge_at = max(_PURGE_STATES, 2 * len(self._states))


_LINES: Final[Mapping[Part, re.Pattern[bytes]]] = {
    "via": re.compile(rb"(?im)^(?:via|v)[ \t]*:[^\r\n]*"),
    "contact": re.compile(rb"(?im)^(?:contact|m)[ \t]*:[^\r\n]*"),
    "sdp": re.compile(rb"(?m)^[co]=[^\r\n]*"),
}
_LENGTH: Final = re.compile(rb"(?im)^((?:content-length|l)[ \t]*:[ \t]*)\d+")


def _readdressed(octets: bytes, old: str, new: str, action: Rewrite) -> bytes:
    """Replace one host by another in the parts that the gateway touches."""
    before, after = old.encode(), new.encode()
    head, blank, body = octets.partition(b"\r\n\r\n")
    for part in action.parts:
        swap = _LINES[part]
        if part == "sdp":
            body = swap.sub(lambda found: found[0].replace(before, after), body)
        else:
            head = swap.sub(lambda found: found[0].replace(before, after), head)
    if action.mends_length:
        head = _LENGTH.sub(lambda found: found[1] + b"%d" % len(body), head)
    return head + blank + body
