"""The daemon put together: what is made from a configuration and a world, started and stopped.

It runs unchanged in the simulated world: there the world, the store's runner and the absence of a
web door are the only differences.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from psapwatch.announced import Calendar, Change
from psapwatch.assignment import Shard, ground_of, runs_of, thresholds_of
from psapwatch.board import Board
from psapwatch.casebook import Casebook
from psapwatch.config.errors import BadConfig
from psapwatch.config.load import load
from psapwatch.config.reload import replacement
from psapwatch.config.shape import Config
from psapwatch.desk import Desk
from psapwatch.endpoint import Address, Check, Path
from psapwatch.evidence import Evidence
from psapwatch.housekeeping import Housekeeping
from psapwatch.left_open import LeftOpen
from psapwatch.metrics import Metrics
from psapwatch.net.system import close_world
from psapwatch.permits import Permits
from psapwatch.recorder import Recorder, baselines_in
from psapwatch.self_test import SelfTest
from psapwatch.sinks.base import Surroundings, open_sinks
from psapwatch.sinks.outbox import Outbox
from psapwatch.store.opening import Unusable
from psapwatch.store.store import Store
from psapwatch.systemd import Systemd
from psapwatch.turn import finishes_every_s
from psapwatch.verdict import Verdict
from psapwatch.watch import Watch
from psapwatch.web.app import Door, make_app
from psapwatch.web.events import Events
from psapwatch.web.users import Users
from psapwatch.web.view import MaintenanceRow, Refused
from psapwatch.world import CallForbidden, World


class Daemon:
    """One psapwatch: ``start``, then ``stop``. Implements ``web.view.Commands``."""

    def __init__(
        self,
        config: Config,
        world: World,
        store: Store,
        *,
        shard: Shard = (1, 1),
        systemd: Systemd | None = None,
        log: FilteringBoundLogger | None = None,
        self_test: Mapping[str, Address] | None = None,
    ) -> None:
        self.config, self.world, self.store = config, world, store
        self._shard, self._systemd = shard, systemd or Systemd()
        # Bound once: the proxy of ``get_logger`` would make a logger for every attempt.
        self._log: FilteringBoundLogger = (log or structlog.get_logger("psapwatch")).bind()
        loop = asyncio.get_running_loop()
        self.calendar = Calendar()
        self.casebook = Casebook(ground_of(config, shard), lambda: world.entropy.token(6))
        self.board = Board(
            config.vantage, world.clock, store, lambda: self.casebook.open, self._windows_open
        )
        self.events = Events(self.board)
        self.metrics = Metrics(config.all_paths, config.checks, world.clock, vantage=config.vantage)
        self.recorder = Recorder(
            store,
            self.metrics,
            self.board,
            self.events,
            self._log,
            lambda: self._systemd.alive(loop.time()),
        )
        self.desk = Desk(
            self.casebook,
            self.recorder,
            thresholds_of(config),
            muted=self.calendar.names,
            baselines=baselines_in(store),
        )
        self.housekeeping = Housekeeping(
            store,
            self.desk,
            self.metrics,
            self.recorder,
            world.clock,
            self.calendar,
            lambda: self.config.store.keep_days,
            self._take_announced,
            self._log,
        )
        self.watch = Watch(
            world, config.identity, store, self.desk, Permits(store), self.metrics, self._log
        )
        self.left_open = LeftOpen(
            self.watch, self.metrics, self._path_of, self._longest_s, self._spawn, self._log
        )
        self.board.configure(self.runs)
        self._self_test = dict(self_test or {})
        self._door: Door | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._delivering: asyncio.Task[None] | None = None

    @property
    def runs(self) -> tuple[tuple[Path, Check], ...]:
        """Every check on every path that this instance is to run."""
        return runs_of(self.config, self._shard)

    # ---- starting and stopping

    async def start(self, *, web: bool = True) -> Address | None:
        """Adopt what was open, end the calls a killed daemon left, and begin.

        Returns where the web door listens.

        Raises:
            OSError: the web address cannot be used.
            ValueError: two sinks tell the same place, or a sink's file cannot be used.
        """
        wall = self.world.clock.wall()
        self._take_announced()
        self.calendar.turn(wall)
        self.casebook.adopt(self.store.open_now(), wall)
        self.metrics.incidents(self.casebook.open)
        self.housekeeping.show_stops()
        self._open_outbox(self.config)
        listening = await self._open_door() if web else None
        await self.left_open.end_all()
        self.watch.confirm = self.config.detection.confirm
        self.watch.permits.know(self.config.psaps)
        await self.watch.permits.recall(self.config.psaps, wall)
        self._watch_all()
        self._systemd.expect_every(finishes_every_s(self.runs))
        self._spawn(self.housekeeping.run())
        self._spawn(self.left_open.run())
        if self._self_test:
            self._spawn(self._prove_itself().run())
        self.board.is_ready = True
        count = len({path.key for path, _check in self.runs})
        self._systemd.ready(f"watching {count} paths")
        self._log.info(
            "started", vantage=self.config.vantage, paths=count, web=str(listening or "")
        )
        return listening

    async def stop(self) -> int:
        """End every open call, write everything down, and return how many calls would not end."""
        self._systemd.stopping("ending open calls")
        left = await self.watch.stop()
        for task in (*self._tasks, self._delivering):
            if task is not None:
                task.cancel()
        await asyncio.gather(
            *(task for task in (*self._tasks, self._delivering) if task), return_exceptions=True
        )
        if self._door is not None:
            await self._door.close()
        try:
            await self.store.close()
        except Unusable as why:
            self._log.error("not everything could be written", why=str(why))
        await close_world(self.world)
        self._log.info("stopped", calls_left_open=left, unanswered=len(self.watch.calls) - left)
        return left

    async def _open_door(self) -> Address:
        web = self.config.web
        users = _users(web.users_file)
        app = make_app(
            self.board, self, self.metrics, self.events, users=users, lifecycle=web.lifecycle
        )
        self._door = Door(app, web.listen, web.tls)
        return await self._door.open()

    def _open_outbox(self, config: Config) -> None:
        around = Surroundings(
            config.vantage,
            self.world.clock,
            self.world.post,
            self.store.open_now,
            folder=pathlib.Path(config.file).parent,
        )
        outbox = Outbox(
            self.store,
            open_sinks(config.sinks, around),
            self.world.clock,
            told=self.metrics.notification,
        )
        self.recorder.sink_names = outbox.names
        if self._delivering is not None:
            self._delivering.cancel()
        self.metrics.configure(config.all_paths, config.checks, outbox.names)
        self._delivering = asyncio.get_running_loop().create_task(outbox.run())

    def _prove_itself(self) -> SelfTest:
        vantage, clock = self.config.vantage, self.world.clock
        return SelfTest(
            self.world,
            self.config.identity,
            self._self_test,
            self.metrics.self_test,
            lambda why: self.desk.blind(why, vantage, clock.wall()),
            self.watch.excuse,
        )

    def _path_of(self, key: str) -> Path | None:
        return next((each for each in self.config.all_paths if each.key == key), None)

    def _longest_s(self) -> float:
        """The longest patience of any check."""
        return max((check.give_up_after_s for check in self.config.checks), default=0.0)

    # ---- web.view.Commands

    async def reload(self, by: str) -> Sequence[str]:
        """Load the file again; all of it comes into force, or none and the errors are returned."""
        loop = asyncio.get_running_loop()
        self._systemd.reloading(loop.time())
        try:
            new = await loop.run_in_executor(None, load, self.config.file)
            replacement(self.config, new)
            self._take_over(new)
        except (BadConfig, ValueError) as bad:
            errors = [str(error) for error in getattr(bad, "errors", [bad])]
            self.metrics.reloaded(successful=False)
            self._log.error("configuration refused; the running one is kept", by=by, errors=errors)
            return errors
        finally:
            self._systemd.ready()
        self.store.decisions.audit(by, "reload", self.config.file, self.world.clock.wall())
        self.metrics.reloaded(successful=True)
        self._log.info("configuration reloaded", by=by)
        return []

    def _take_over(self, new: Config) -> None:
        self._open_outbox(new)
        self.config = new
        self.casebook.stand_on(ground_of(new, self._shard))
        self.desk.thresholds = thresholds_of(new)
        self._take_announced()
        self.board.configure(self.runs)
        self.watch.identity, self.watch.confirm = new.identity, new.detection.confirm
        self.watch.permits.know(new.psaps)
        self._watch_all()
        self._systemd.expect_every(finishes_every_s(self.runs))

    def _watch_all(self) -> None:
        config = self.config
        responders = (*config.references, *config.controls, *config.must_blocks)
        self.watch.run(self.runs, config.firewalls, responders)

    async def change(self, what: str, by: str, at: float) -> None:
        """Remember a change event; alerts that open soon after quote it."""
        self.store.decisions.note(Change(at, what, by), self.world.clock.wall())
        self._take_announced()

    async def probe(self, target: str, module: str) -> tuple[Evidence, Verdict]:
        """One attempt now; a call only on a configured path that may be called at this moment.

        Raises:
            Refused: unknown check or target, or a call that may not be placed.
        """
        check = next((each for each in self.config.checks if each.name == module), None)
        if check is None:
            names = ", ".join(each.name for each in self.config.checks)
            raise Refused(f"there is no check {module!r}", "module", f"one of {names}")
        wanted = {target, f"sip:{target}"}
        path = next((p for p, _c in self.runs if wanted & {p.key, p.uri, p.psap.id}), None)
        if path is None:
            raise Refused(
                f"{target!r} is no configured target", "target", "name a PSAP, a path or its URI"
            )
        try:
            return await self.watch.probe(path, check)
        except CallForbidden as no:
            raise Refused(
                f"not called: {no}", "target", "wait, or see `psapwatch calls`", 403
            ) from no

    def _windows_open(self) -> Sequence[MaintenanceRow]:
        return [
            MaintenanceRow(each.scope, each.member, each.until_at, each.why, each.id, each.by)
            for each in self.calendar.open
        ]

    def _take_announced(self) -> None:
        """Go by the windows and changes that the configuration and the store hold now."""
        decisions = self.store.decisions
        self.calendar.windows = (*self.config.maintenance, *decisions.windows)
        self.casebook.quote(decisions.changes)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        task.add_done_callback(
            lambda done: self._tasks.remove(done) if done in self._tasks else None
        )


def _users(file: str | None) -> Users | None:
    """Read the web's users.

    Raises:
        OSError, ValueError: the file cannot be used.
    """
    return None if file is None else Users.of(pathlib.Path(file).read_text(encoding="utf-8"))
