"""The demo's world: answering points, two firewalls, an alert receiver and the daemon (layer L5).

Everything is in one process on loopback with real sockets; the daemon is the one that ``psapwatch
run`` starts, told where things are by a configuration that is made here instead of read.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Final

from psapwatch.config import build
from psapwatch.config.shape import OWN_RESPONDER, Config, Detection, Web
from psapwatch.daemon import Daemon
from psapwatch.demo.block import Block
from psapwatch.demo.ground import HOST, Ground, Way
from psapwatch.demo.receiver import Receiver
from psapwatch.demo.towns import TOWNS, Town
from psapwatch.endpoint import (
    Address,
    Check,
    Firewall,
    Identity,
    Limits,
    Path,
    Psap,
    Source,
)
from psapwatch.incident import Incident
from psapwatch.net.answering import Answering, open_targets
from psapwatch.net.system import system_world
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.self_test import GREEN, RED
from psapwatch.sinks.alertmanager import AlertmanagerSettings
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.store.runner import WriterThread
from psapwatch.store.store import Store
from psapwatch.web.app import Door, make_app
from psapwatch.web.panel import Panel
from psapwatch.world import World

VANTAGE: Final = "boston-a"
CHANGES_MAX: Final = 100
SELF_TEST: Final = {GREEN: SCRIPTS["mirror"], RED: SCRIPTS["silence"]}
COLLECTIONS_BEFORE_A_FULL_ONE: Final = 200
LIMITS: Final = Limits(messages_per_second=2_000, calls_per_second=200, concurrent_calls=1_000)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often the demo's daemon looks; everything else is as it is in service.

    One town is told after two failures in a row: an interval and three patiences (over TCP an old
    connection fails first) must stay under the 15 s in which one may read of a button's doing.
    """

    options_every_s: float = 4.0
    calls_every_s: float = 4.0
    reference_every_s: float = 4.0
    give_up_s: float = 2.5
    clean_s: float = 5.0
    resolve_after_s: float = 2.0

    @property
    def checks(self) -> tuple[Check, ...]:
        """The daemon's checks."""
        give_up_s = self.give_up_s
        return (
            Check("keepalive", self.options_every_s, give_up_s, OptionsSettings()),
            Check("test-call", self.calls_every_s, give_up_s, CallSettings()),
            Check("reference", self.reference_every_s, give_up_s, CallSettings(), on="reference"),
        )


@dataclass(frozen=True, slots=True)
class Left:
    """What was still open when all had stopped."""

    calls_here: int
    """Calls that the daemon could not end."""
    calls_there: int
    """Calls that a town still holds for open."""


class Lab:
    """Opened inside the running loop, closed at the end; rules may be changed in between."""

    def __init__(self, rhythm: Rhythm) -> None:
        self.rhythm = rhythm
        self.world: World = system_world()
        self.receiver = Receiver(self.world.clock)
        self.ground = Ground(self.world.entropy)
        self.relays = self.ground.relays
        self.blocked_at: dict[Block, float] = {}
        """Wall time at which each rule in force came into force."""
        self.changes: deque[float] = deque(maxlen=CHANGES_MAX)
        """Wall times at which rules came and went."""
        self._folder = tempfile.TemporaryDirectory(prefix="psapwatch-demo-")
        self._daemon: Daemon | None = None
        self._door: Door | None = None
        self._targets: dict[str, Answering] = {}

    @property
    def daemon(self) -> Daemon:
        """The daemon that watches."""
        assert self._daemon is not None, "the lab is not open"
        return self._daemon

    async def open(self, listen: Address, panel: Callable[[Lab], Panel] | None = None) -> Address:
        """Start everything; returns where the page is.

        Raises:
            OSError: an address cannot be used; ``close`` what was opened.
        """
        await self.ground.open()
        firewalls = {
            name: Firewall(name, (Source(HOST),), reference=way.uri, limits=LIMITS)
            for name, way in self.ground.references.items()
        }
        paths = [self._path(*each, firewalls) for each in self.ground.towns.items()]
        config = self._config(tuple(firewalls.values()), paths, await self.receiver.open())
        store = Store(str(FilePath(self._folder.name) / "psapwatch.db"), WriterThread())
        self._targets = await open_targets(SELF_TEST, self.world.entropy)
        targets = {name: target.where for name, target in self._targets.items()}
        self._daemon = daemon = Daemon(config, self.world, store, self_test=targets)
        app = make_app(
            daemon.board,
            daemon,
            daemon.metrics,
            daemon.events,
            panel=Panel() if panel is None else panel(self),
        )
        self._door = Door(app, listen)
        where = await self._door.open()
        await daemon.start(web=False)
        _keep_from_the_collector()
        return where

    async def close(self) -> Left:
        """Lift every rule, end every call, stop everything, and say what was still open."""
        for rule in list(self.blocked_at):
            with suppress(
                OSError
            ):  # a closed port was taken: the rest must be stopped all the same
                await self.lift(rule)
        calls_here, _closed = await asyncio.gather(
            self._daemon.stop() if self._daemon is not None else _nothing(),
            self._door.close() if self._door is not None else _nothing(),
        )
        calls_there = await self.ground.close()
        for target in self._targets.values():
            target.close()
        await self.receiver.close()
        self._folder.cleanup()
        return Left(calls_here, calls_there)

    @property
    def open_incidents(self) -> Sequence[Incident]:
        """What the daemon knows to be broken."""
        return self.daemon.casebook.open

    @property
    def healthy(self) -> int:
        """How many paths to towns are up."""
        towns = {town.id for town in TOWNS}
        return sum(row.state == "up" and row.psap in towns for row in self.daemon.board.paths())

    @property
    def internal_errors(self) -> int:
        """What the daemon counted as its own fault; each is a bug."""
        found = self.daemon.metrics.registry.get_sample_value("psapwatch_internal_errors_total")
        return int(found or 0)

    def block(self, rule: Block) -> None:
        """Put a rule in force.

        Raises:
            KeyError: there is no such firewall.
        """
        self.relays[rule.firewall].block(rule)
        if rule not in self.blocked_at:
            self.blocked_at[rule] = self._changed()

    async def lift(self, rule: Block) -> int:
        """Take a rule away; returns how much it had stopped.

        Raises:
            OSError: a port that it had closed was taken by another program.
        """
        stopped = self.relays[rule.firewall].stopped.get(rule, 0)
        if self.blocked_at.pop(rule, None) is not None:
            self._changed()
            await self.relays[rule.firewall].lift(rule)
        return stopped

    def changed_before(self, wall: float) -> float | None:
        """When a rule last came or went before ``wall``."""
        return next((at for at in reversed(self.changes) if at <= wall), None)

    def _changed(self) -> float:
        now = self.world.clock.wall()
        self.changes.append(now)
        return now

    def _path(self, town: Town, way: Way, firewalls: Mapping[str, Firewall]) -> Path:
        psap = Psap(town.id, town.name, (("county", town.county),), agreement=OWN_RESPONDER)
        firewall = firewalls[town.firewall]
        return Path(psap, town.firewall, VANTAGE, firewall, way.uri, way.transport)

    def _config(
        self, firewalls: tuple[Firewall, ...], paths: Sequence[Path], receiver: str
    ) -> Config:
        rhythm = self.rhythm
        return replace(
            Config.empty(),
            vantage=VANTAGE,
            identity=Identity("sip:911-path-test@example.net", provider="psapwatch demo"),
            web=Web(Address(HOST, 0)),
            firewalls=firewalls,
            checks=rhythm.checks,
            psaps=tuple(path.psap for path in paths),
            paths=tuple(paths),
            references=build.references(VANTAGE, firewalls),
            detection=Detection(clean_s=rhythm.clean_s),
            sinks=(
                AlertmanagerSettings(
                    kind="alertmanager", urls=[receiver], resolve_after=rhythm.resolve_after_s
                ),
            ),
        )


async def _nothing() -> int:
    return 0


def _keep_from_the_collector() -> None:
    """Let no full garbage collection hold the loop: both sides of every call are in this process.

    It would look at half a million objects, for 0.3 s, which reads as a slow firewall.
    """
    gc.collect()
    gc.freeze()
    young, middle, _old = gc.get_threshold()
    gc.set_threshold(young, middle, COLLECTIONS_BEFORE_A_FULL_ONE)
