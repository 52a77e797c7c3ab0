"""The whole daemon in the simulated world: what scenarios, seeds and tests stand on (layer L5).

The daemon runs unchanged; only its world, its store's runner and the missing web door differ. An
hour takes seconds, and the same seed gives the same transcript.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from psapwatch.config import build
from psapwatch.config.shape import Config, Detection, Window
from psapwatch.daemon import Daemon
from psapwatch.endpoint import Check, Identity
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.simulator.loop import run
from psapwatch.simulator.topology import Outlook, Plan, Topology, topology
from psapwatch.simulator.world import simulated_world
from psapwatch.sinks.alertmanager import AlertmanagerSettings
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store

ALERTMANAGER: Final = "http://alertmanager.invalid:9093"

CHECKS: Final = (
    Check("keepalive", 15.0, 4.0, OptionsSettings()),
    Check("test-call", 300.0, 8.0, CallSettings()),
    Check("reference", 15.0, 8.0, CallSettings(), on="reference"),
)
"""OPTIONS every 15 s, calls every 5 min, the reference every 15 s: the load of detection.md 3."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A built world with the daemon of its first vantage running in it."""

    topology: Topology
    daemon: Daemon

    def pages(self) -> list[str]:
        """What was paged, in order: ``alertname scope member``."""
        told = (dict(page.labels) for page in self.topology.world.post.pages)
        return [
            " ".join(page.get(name, "") for name in ("alertname", "scope", "member"))
            for page in told
            if page.get("severity") == "page"
        ]


def configured(
    outlook: Outlook,
    checks: Sequence[Check] = CHECKS,
    detection: Detection = Detection(),  # noqa: B008 - frozen
    maintenance: tuple[Window, ...] = (),
) -> Config:
    """The configuration of one vantage of a simulated topology."""
    return replace(
        Config.empty(),
        vantage=outlook.vantage,
        identity=Identity("sip:911-path-test@example.net", provider="Example ESInet"),
        firewalls=outlook.firewalls,
        checks=tuple(checks),
        psaps=tuple(dict.fromkeys(path.psap for path in outlook.paths)),
        paths=outlook.paths,
        references=build.references(outlook.vantage, outlook.firewalls),
        controls=build.controls(outlook.vantage, outlook.firewalls),
        detection=detection,
        maintenance=maintenance,
        sinks=(AlertmanagerSettings(kind="alertmanager", urls=[ALERTMANAGER]),),
    )


@asynccontextmanager
async def stage(
    seed: int,
    plan: Plan = Plan(),  # noqa: B008 - frozen
    checks: Sequence[Check] = CHECKS,
    detection: Detection = Detection(),  # noqa: B008 - frozen
    maintenance: tuple[Window, ...] = (),
) -> AsyncIterator[Stage]:
    """Build the world, start the daemon, and end it cleanly; inside ``simulator.loop.run``."""
    world = simulated_world(seed)
    built = topology(world, seed, plan)
    config = configured(built.outlooks[0], checks, detection, maintenance)
    daemon = Daemon(config, world, Store(":memory:", Inline()))
    await daemon.start(web=False)
    try:
        yield Stage(built, daemon)
    finally:
        await daemon.stop()
        await asyncio.sleep(40.0)  # what was still listening hears its last timer


__all__ = ["ALERTMANAGER", "CHECKS", "Stage", "configured", "run", "stage"]
