"""Open one flow, send OPTIONS of the sizes given, and print what was seen, as JSON.

    python open_and_send.py TRANSPORT SOURCE PEER PATIENCE_S [BODY_OCTETS ...]

A program of its own, because a test that stands outside a firewall is in another namespace.
"""

from __future__ import annotations

import asyncio
import json
import sys

from net.far_end import a_network, options
from psapwatch.endpoint import Address, Source, Tls, TransportName
from psapwatch.evidence import Observation
from psapwatch.net import TRANSPORTS
from psapwatch.world import Arrival, Road

PORT = 5060


class Witness:
    """Keeps what is seen, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []
        self.something = asyncio.Event()

    def arrived(self, arrival: Arrival) -> None:
        """Keep the size of what came."""
        self.seen.append(("arrived", {"octets": len(arrival.octets)}))
        self.something.set()

    def observed(self, seen: Observation) -> None:
        """Keep it."""
        self.seen.append((seen.kind, dict(seen.facts)))

    def failed(self, seen: Observation) -> None:
        """Keep it."""
        self.seen.append((seen.kind, dict(seen.facts)))
        self.something.set()


async def attempt(
    transport: TransportName, source: str, peer: str, patience_s: float, sizes: list[int]
) -> Witness:
    """Open, then send one message after the other, each when something came of the last."""
    witness = Witness()
    leaves_from = Source(source, interface="fw", dscp=46)
    road = Road(transport, leaves_from, Address(peer, PORT), tls=Tls(verify=False))
    async with a_network() as network:
        flow = await network.open(road, "a@test", witness, patience_s=patience_s)
        for size in sizes if flow else ():
            assert flow is not None
            witness.something.clear()
            flow.send(options(body=b"x" * size))
            waiting = asyncio.ensure_future(witness.something.wait())
            await asyncio.wait([waiting], timeout=patience_s)
            waiting.cancel()
    return witness


def main() -> None:
    """Read the arguments, print the observations."""
    transport, source, peer, patience_s, *sizes = sys.argv[1:]
    done = asyncio.run(
        attempt(
            TRANSPORTS[transport].name,  # type: ignore[index]  # a KeyError says what is wrong
            source,
            peer,
            float(patience_s),
            [int(size) for size in sizes],
        )
    )
    sys.stdout.write(json.dumps(done.seen))


if __name__ == "__main__":
    main()
