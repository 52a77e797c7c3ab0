"""The simulated outside: clock, entropy, resolver, and the ``World`` made of them (layer L3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from psapwatch.endpoint import Address, TransportName
from psapwatch.simulator.alertmanager import FakeAlertmanager
from psapwatch.simulator.chance import seeded
from psapwatch.simulator.network import SimulatedNetwork
from psapwatch.world import Resolved, World

EPOCH: Final = 1_718_683_200.0
"""2024-06-18T04:00:00Z, midnight in Boston: the wall clock at loop time 0."""
LEGS_MAX: Final = 8
_SIP_HOST: Final = re.compile(r"sips?:(?:[^@]*@)?(\[[0-9a-fA-F:.]+\]|[^:;?>]+)(?::(\d+))?")


class SimulatedClock:
    """Wall time that follows the loop, and can be stepped as a broken NTP would."""

    def __init__(self, *, epoch: float = EPOCH) -> None:
        self._epoch = epoch

    def wall(self) -> float:
        """Return Unix seconds."""
        return self._epoch + asyncio.get_running_loop().time()

    def step(self, seconds: float) -> None:
        """Move wall time against loop time."""
        self._epoch += seconds


class SimulatedEntropy:
    """Chance from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = seeded(seed, "entropy")

    def token(self, octets: int) -> str:
        """Return ``2 * octets`` lower-case hex digits."""
        return self._random.getrandbits(8 * octets).to_bytes(octets, "little").hex()

    def uniform(self, low: float, high: float) -> float:
        """Return a float in ``[low, high)``."""
        return low + (high - low) * self._random.random()


class _Found(NamedTuple):
    """What a name last had, and the legs that were made of it."""

    addresses: tuple[Address, ...]
    legs: tuple[Address, ...]


class SimulatedResolver:
    """Names from a table. ``error`` makes every name fail that way; addresses are never asked."""

    def __init__(self, names: Mapping[str, tuple[Address, ...]] | None = None) -> None:
        self.names: dict[str, tuple[Address, ...]] = dict(names or {})
        self.error = ""
        self.delay_s = 0.0
        self._last: dict[tuple[str, TransportName], _Found] = {}

    async def resolve(self, uri: str, transport: TransportName) -> Resolved:
        """As ``world.Resolver.resolve``; the port is the URI's, the name's, or the transport's."""
        where = _where(uri)
        if where is None:
            return Resolved(uri, (), transport, error="other", detail="not a SIP URI")
        host, port, is_numeric = where
        if is_numeric:
            return Resolved(host, (Address(host, port or _default(transport)),), transport)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        last = self._last.get((uri, transport))
        addresses = self.names.get(host)
        if self.error or addresses is None:
            error, legs = self.error or "nxdomain", last.legs if last else ()
            return Resolved(host, legs, transport, error, "simulated", self.delay_s)
        if last is None or last.addresses is not addresses:
            legs = tuple(
                Address(address.host, port or address.port or _default(transport))
                for address in addresses[:LEGS_MAX]
            )
            last = self._last[uri, transport] = _Found(addresses, legs)
        return Resolved(host, last.legs, transport, duration_s=self.delay_s)


@lru_cache(maxsize=4_096)
def _where(uri: str) -> tuple[str, int, bool] | None:
    """Host, port (0 where there is none) and whether the host is an address."""
    found = _SIP_HOST.match(uri)
    if found is None:
        return None
    host = found[1].strip("[]")
    return host, int(found[2] or 0), host.replace(".", "").isdigit() or ":" in host


def _default(transport: TransportName) -> int:
    return 5061 if transport == "tls" else 5060


class SimulatedWorld(World):
    """A ``World`` whose parts are still known as what they are, for tests and scenarios."""

    clock: SimulatedClock
    entropy: SimulatedEntropy
    network: SimulatedNetwork
    resolver: SimulatedResolver
    post: FakeAlertmanager


def simulated_world(seed: int) -> SimulatedWorld:
    """Build an empty world from a seed; place hosts and join places on ``.network``."""
    clock = SimulatedClock()
    return SimulatedWorld(
        clock=clock,
        entropy=SimulatedEntropy(seed),
        network=SimulatedNetwork(seed=seed, clock=clock),
        resolver=SimulatedResolver(),
        post=FakeAlertmanager(SimulatedClock()),  # its clock is not ours to step
    )
