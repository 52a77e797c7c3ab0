"""A firewall between two sides of the simulated network: rules as data, state, counters (L3).

``inward`` is from the vantage towards the PSAPs. A packet meets the rules in order; the first that
drops, rejects or accepts decides. What crosses inward makes state; what comes back outward needs
it, unless ``outward_open``. Every rule counts its hits, so that a scenario can assert that its
fault really happened. Moments are loop seconds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Final, NamedTuple

from psapwatch.endpoint import TransportName
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.gateway import rewritten
from psapwatch.simulator.icmp import Bucket, IcmpBudget
from psapwatch.simulator.rule import (
    Accept,
    Delay,
    Direction,
    Drop,
    Limit,
    Lose,
    Packet,
    Reject,
    Rewrite,
    Rule,
    TcpReset,
    fits,
)

UDP_STATE_S: Final = 30.0
"""Linux's nf_conntrack_udp_timeout."""
STATES_MAX: Final = 262_144
_PURGE_STATES: Final = 1_024


class Fate(NamedTuple):
    """What becomes of a packet."""

    octets: bytes | None
    """None: it does not arrive."""
    delay_s: float = 0.0
    icmp: tuple[int, int] | None = None
    offender: str = ""
    reset: bool = False


_LOST: Final = Fate(None)
_State = tuple[TransportName, str, int, str, int]
"""Transport, outer host and port, inner host and port."""


def _spread(port: int, salt: bytes) -> float:
    """Map a port into [0, 1), evenly and the same in every run.

    Not a CRC: two of those over the same port differ by a constant and are no two hashes.
    """
    digest = hashlib.blake2b(port.to_bytes(2, "big"), digest_size=4, salt=salt).digest()
    return int.from_bytes(digest, "big") / 2**32


class SimulatedFirewall:
    """Rules, connection state and counters of one firewall."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        seed: int,
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
        self._rules: list[Rule] = []
        self._states: dict[_State, float] = {}
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
        state = (packet.transport, outer.host, outer.port, inner.host, inner.port)
        last = self._states.get(state)
        known = last is not None and (state[0] != "udp" or now - last < self.udp_state_s)
        octets: bytes | None = packet.octets
        delay_s = 0.0
        for rule in self._rules:
            if not self._matches(rule, packet, direction, outer.port, known=known, now=now):
                continue
            action = rule.action
            if isinstance(action, Limit) and not self._exceeds(rule, action, packet, now):
                continue
            self.hits[rule.name] += 1
            if isinstance(action, Accept):
                break
            if isinstance(action, Delay):
                delay_s += action.seconds
            elif isinstance(action, Lose):
                octets = None
            elif isinstance(action, Rewrite):
                octets = rewritten(action, octets, packet, inward=inward) if octets else None
            else:
                return self._refuse(action, packet, now)
        if not known and not self._admits(packet, inward=inward, now=now):
            return _LOST
        self._states[state] = now
        return Fate(octets, delay_s)

    # --- matching

    def _matches(
        self,
        rule: Rule,
        packet: Packet,
        direction: Direction,
        port: int,
        *,
        known: bool,
        now: float,
    ) -> bool:
        if not fits(rule, packet, direction, now):
            return False
        if rule.flows != "any" and (rule.flows == "old") != known:
            return False
        if rule.share < 1.0 and _spread(port, b"share") >= rule.share:
            return False
        member, members = rule.instance
        if members > 1 and int(_spread(port, b"member") * members) != member:
            return False
        return rule.probability >= 1.0 or self._random.random() < rule.probability

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
        """Whether this packet is over the limit, or its source still pays for an earlier one."""
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

    # --- state

    def _admits(self, packet: Packet, *, inward: bool, now: float) -> bool:
        """Whether a packet without state may pass and make some."""
        strict = packet.transport != "udp" and not self.tcp_loose
        if (not inward and not self.outward_open) or (strict and packet.phase != "syn"):
            self.hits["no state"] += 1
            return False
        if len(self._states) >= min(self._purge_at, self.states_max):
            self._purge(now)
        if len(self._states) >= self.states_max:
            self.hits["table full"] += 1
            return False
        return True

    def _purge(self, now: float) -> None:
        self._states = {
            state: last
            for state, last in self._states.items()
            if state[0] != "udp" or now - last < self.udp_state_s
        }
        self._purge_at = max(_PURGE_STATES, 2 * len(self._states))
