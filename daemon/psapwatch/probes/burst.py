"""The burst: eight small test calls to our own responder at once, to meet a limit on calls.

It is no probe that a configuration can name: only the battery sends it, where the firewall's
``rate_burst`` allows that. Each call is a test call as any other, with a row in the ledger of its
own, and ends as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from psapwatch.bursts import called
from psapwatch.endpoint import REFERENCE, Path
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.probes.base import Errand
from psapwatch.probes.call import CallSettings
from psapwatch.schedule import BURST_CALLS
from psapwatch.world import World

_CALL: Final = CallSettings()


@dataclass(frozen=True, slots=True)
class BurstSettings:
    """A burst has no settings: how many calls it takes is what its meaning rests on."""

    kind: Literal["burst"] = "burst"

    async def run(self, world: World, path: Path, errand: Errand) -> Evidence:
        """Place the calls, end them, and return what each came to."""
        assert path.psap.id == REFERENCE, "nobody but our own responder is called so"
        loop = asyncio.get_running_loop()
        began = loop.time()
        calls = await asyncio.gather(*(_CALL.run(world, path, errand) for _ in range(BURST_CALLS)))
        return _whole(calls, loop.time() - began)


def _whole(calls: Sequence[Evidence], duration_s: float) -> Evidence:
    """One attempt of all the calls: what each came to, what was our own fault, every message."""
    kinds = (Kind.LOCAL_ERROR, Kind.NOT_TRIED)
    ours = [seen for call in calls for seen in call.of(*kinds)]
    seen: list[Observation] = [*calls[0].observations[:1], *ours]
    seen += [called(each, 0.0) for each in calls]
    packets = [packet for call in calls for packet in call.transcript]
    return replace(
        calls[0],
        duration_s=duration_s,
        observations=tuple(seen),
        transcript=tuple(sorted(packets, key=lambda packet: packet.at_s)),
    )
