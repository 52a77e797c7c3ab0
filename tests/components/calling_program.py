"""Test calls placed one after the other on real sockets: ``calling_program.py '{JSON}'``.

It prints one line of JSON for each call, and ends. ``load`` OPTIONS a second go to ``load_uri`` all
the while, on the same loop, as a busy daemon's would.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import Agreement, Check, Firewall, Identity, Path, PortRange, Psap, Source
from psapwatch.evidence import Evidence, Kind, to_json
from psapwatch.net.pump import Pump
from psapwatch.net.system import close_world, raise_file_limit, system_world
from psapwatch.probes.base import Errand
from psapwatch.probes.burst import BurstSettings
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.world import OpenCall, World

SETTLE_S = 0.05


class Ledger:
    """Keeps no calls, so that they may all be placed."""

    async def open_call(self, row: OpenCall) -> None:
        """Allow it."""


async def attempt(world: World, path: Path, check: Check) -> Evidence:
    """Run one attempt, and wait for what it has to end."""
    resolved = await world.resolver.resolve(path.uri, path.transport)
    crowd: dict[Pump, None] = {}
    identity = Identity("sip:911-path-test@example.net")
    leg = resolved.legs[0]
    errand = Errand(check, leg, resolved, path.leaves_from, identity, crowd, Ledger())
    found: Evidence = await check.settings.run(world, path, errand)
    return found


async def keep_busy(world: World, path: Path, per_second: float) -> None:
    """Send OPTIONS at an even pace, for ever."""
    check = Check("load", 1.0, 0.5, OptionsSettings())
    running: set[asyncio.Task[Evidence]] = set()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        task = loop.create_task(attempt(world, path, check))
        running.add(task)
        task.add_done_callback(running.discard)
        due += 1 / per_second
        await asyncio.sleep(max(0.0, due - loop.time()))


async def main(settings: dict[str, Any]) -> None:
    """Place the calls."""
    raise_file_limit()
    world = system_world()
    ports = PortRange(*settings["rtp_ports"])
    source = Source(settings["source"], rtp_ports=ports, dscp=settings["dscp"])
    psap = Psap(
        settings["psap"],
        "Bench",
        agreement=Agreement("lab"),
        location=settings["location"],
        civic=tuple((name, value) for name, value in settings["civic"]),
    )
    path = Path(
        psap, "p", "here", Firewall("fw", (source,)), settings["uri"], settings["transport"]
    )
    call = BurstSettings() if settings["burst"] else CallSettings(**settings["call"])
    check = Check("call", 1.0, settings["patience_s"], call)
    busy = None
    if settings["load"]:
        loaded = replace(path, uri=settings["load_uri"], transport="udp")
        busy = asyncio.create_task(keep_busy(world, loaded, settings["load"]))
    for _nth in range(settings["count"]):
        evidence = await attempt(world, path, check)
        verdict = diagnose(Case(evidence))
        media = evidence.last(Kind.MEDIA)
        told = {
            "outcome": verdict.outcome,
            "cause": verdict.cause,
            "why": verdict.why,
            "media": dict(media.facts) if media else None,
            "evidence": to_json(evidence),
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(SETTLE_S)
    if busy is not None:
        busy.cancel()
    await asyncio.sleep(SETTLE_S)
    await close_world(world)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
