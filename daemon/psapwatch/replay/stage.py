"""The whole daemon in the simulated world: what scenarios, seeds and tests stand on (layer L5).

The daemon runs unchanged; only its world, its store's runner and the missing web door differ. An
hour takes seconds, and the same seed gives the same transcript.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from psapwatch.announced import Window
from psapwatch.config import build
from psapwatch.config.shape import Config, Detection
from psapwatch.daemon import Daemon
from psapwatch.endpoint import Check, Identity
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.simulator.loop import run
from psapwatch.simulator.topology import Outlook, Plan, Topology, topology
from psapwatch.simulator.world import simulated_world
from psapwatch.sinks.alertmanager import AlertmanagerSettings
from psapwatch.sinks.webhook import WebhookSettings
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store

ALERTMANAGER: Final = "http://alertmanager.invalid:9093"
WEBHOOK: Final = "http://webhook.invalid/notices"
SETTLE_S: Final = 40.0
"""After a stop: whatever was still listening hears its last timer (64*T1 and some)."""

CHECKS: Final = (
    Check("keepalive", 15.0, 4.0, OptionsSettings()),
    Check("test-call", 300.0, 8.0, CallSettings()),
    Check("reference", 15.0, 8.0, CallSettings(), on="reference"),
)
"""OPTIONS every 15 s, calls every 5 min, the reference every 15 s: the load of detection.md 3."""


class Stage:
    """A built world with the daemon of its first vantage running in it."""

    daemon: Daemon

    def __init__(self, built: Topology, config: Config, database: str) -> None:
        self.topology = built
        self.config = config
        self.starts = 0
        self.is_running = False
        self.scenery: set[asyncio.Task[None]] = set(asyncio.all_tasks())
        """Tasks that are no part of the daemon: they survive its being killed."""
        self.sent: Counter[str] = Counter()
        """What was sent by others, by the label of the fault that has them do so."""
        self.marks: dict[str, float] = {}
        """Loop times of a fault's last beginning, by its label."""
        self.steps: list[tuple[float, float]] = []
        """When the wall clock was stepped (loop time), and by how much."""
        self.left_open = 0
        """Test calls that the last stop could not end."""
        self._database = database

    async def start(self) -> None:
        """Start the daemon, on the store that an earlier one left."""
        self.daemon = Daemon(self.config, self.topology.world, Store(self._database, Inline()))
        await self.daemon.start(web=False)
        self.starts += 1
        self.is_running = True

    async def stop(self) -> None:
        """End the daemon as SIGTERM does."""
        self.is_running = False
        self.left_open = await self.daemon.stop()

    async def kill(self) -> None:
        """End the daemon as SIGKILL does: nothing more is sent, what is committed stays."""
        self.is_running = False
        self.daemon.watch.end_ticks()
        doomed = asyncio.all_tasks() - self.scenery
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        for pump in list(self.daemon.watch.crowd):
            pump.abandon()
        await self.daemon.store.close()

    def step_clock(self, seconds: float) -> None:
        """Step the wall clock as a broken NTP would."""
        self.steps.append((asyncio.get_running_loop().time(), seconds))
        self.topology.world.clock.step(seconds)

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
        must_blocks=build.must_blocks(outlook.vantage, outlook.firewalls),
        detection=detection,
        maintenance=maintenance,
        sinks=(
            AlertmanagerSettings(kind="alertmanager", urls=[ALERTMANAGER]),
            WebhookSettings(kind="webhook", url=WEBHOOK),
        ),
    )


@asynccontextmanager
async def stage(
    seed: int,
    plan: Plan = Plan(),  # noqa: B008 - frozen
    checks: Sequence[Check] = CHECKS,
    detection: Detection = Detection(),  # noqa: B008 - frozen
    maintenance: tuple[Window, ...] = (),
    *,
    database: str = ":memory:",
) -> AsyncIterator[Stage]:
    """Build the world, start the daemon, and end it cleanly; inside ``simulator.loop.run``."""
    world = simulated_world(seed)
    built = topology(world, seed, plan)
    scene = Stage(built, configured(built.outlooks[0], checks, detection, maintenance), database)
    await scene.start()
    try:
        yield scene
    finally:
        await scene.stop()
        await asyncio.sleep(SETTLE_S)


__all__ = ["ALERTMANAGER", "CHECKS", "WEBHOOK", "Stage", "configured", "run", "stage"]
