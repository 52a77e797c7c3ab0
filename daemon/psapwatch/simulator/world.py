"""The simulated outside: clock, entropy, resolver, and the ``World`` made of them (layer L3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

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


class SimulatedResolver:
    """Names from a table. ``error`` makes every name fail that way; addresses are never asked."""

    def __init__(self, names: Mapping[str, tuple[Address, ...]] | None = None) -> None:
        self.names: dict[str, tuple[Address, ...]] = dict(names or {})
        self.error = ""
        self.delay_s = 0.0
        self._last: dict[str, tuple[Address, ...]] = {}

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
        if self.error or host not in self.names:
            error = self.error or "nxdomain"
            last = self._last.get(f"{uri} {transport}", ())
            return Resolved(host, last, transport, error, "simulated", self.delay_s)
        legs = tuple(
            Address(address.host, port or address.port or _default(transport))
            for address in self.names[host][:LEGS_MAX]
        )
        self._last[f"{uri} {transport}"] = legs
        return Resolved(host, legs, transport, duration_s=self.delay_s)


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
