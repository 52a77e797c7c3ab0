"""The walk: OPTIONS that may go one hop further each time, to see who is the last to answer.

By ``max_forwards`` the SIP hops answer (RFC 3261 16.3, 483), by ``ttl`` the IP hops (ICMP time
exceeded). Steps are made one after the other, each on a flow of its own, and never an INVITE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence, Kind, Observation
from psapwatch.probes.base import Errand, Setting, attempt
from psapwatch.probes.options import exchange
from psapwatch.sip.options import OptionsExchange
from psapwatch.sip.request import MAX_FORWARDS
from psapwatch.walks import By, final_of, hop_seen, is_end, is_lost
from psapwatch.world import World

HOPS_MAX: Final = 16


class WalkSettings(BaseModel):
    """Settings of ``probe: walk``; ``give_up_after`` of its check is the patience of a step."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["walk"] = "walk"
    by: By = Field("max_forwards", description="SIP hops; `ttl`: IP hops, over UDP alone")
    hops: int = Field(8, ge=1, le=HOPS_MAX, description="steps at most")

    async def run(self, world: World, path: Path, errand: Errand) -> Evidence:
        """Walk along the path until somebody answers for good, or nobody does any more."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        steps: list[tuple[float, Evidence]] = []
        hops: list[Observation] = []
        while len(steps) < self.hops:
            since_s = loop.time() - began
            step = await self._step(world, path, errand, len(steps))
            steps.append((since_s, step))
            if errand.leg is None or step.first(Kind.LOCAL_ERROR):
                break
            hops.append(hop_seen(step, self.by, len(steps), since_s))
            if is_end(hops[-1]) or is_lost(hops):
                break
        return _whole(steps, hops, loop.time() - began)

    async def _step(self, world: World, path: Path, errand: Errand, nth: int) -> Evidence:
        by_ttl = self.by == "ttl" and path.transport == "udp"

        def machine(setting: Setting) -> OptionsExchange:
            return exchange(setting, hops=MAX_FORWARDS if by_ttl else nth, any_icmp_ends=by_ttl)

        return await attempt(world, path, errand, machine, ttl=nth + 1 if by_ttl else 0)


def _whole(
    steps: Sequence[tuple[float, Evidence]], hops: Sequence[Observation], duration_s: float
) -> Evidence:
    """One attempt of all the steps: the hops, the final that ended it, and every message."""
    last_s, last = steps[-1]
    resolved = steps[0][1].observations[:1]
    ends = [final_of(last)] if hops and is_end(hops[-1]) else [last.first(Kind.LOCAL_ERROR)]
    seen = [replace(each, at_s=each.at_s + last_s) for each in ends if each is not None]
    packets = [
        replace(each, at_s=each.at_s + since_s)
        for since_s, step in steps
        for each in step.transcript
    ]
    return replace(
        steps[0][1],
        duration_s=duration_s,
        observations=(*resolved, *hops, *seen),
        transcript=tuple(packets),
    )
