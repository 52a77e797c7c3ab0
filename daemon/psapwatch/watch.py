"""The one loop per check and path: wait, probe, judge, and look again when something fails.

Everything outside comes in as a constructor argument, so the same loop runs in the simulated world.
The single broad ``except`` is here: our own bug becomes ``prober_fault``, a counter and a log line,
never a page about a PSAP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from psapwatch.battery import Row, row_of
from psapwatch.desk import Desk
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Firewall, Identity, Path
from psapwatch.evidence import Evidence, Kind
from psapwatch.net.pump import Pump
from psapwatch.open_calls import Counters, OpenCalls
from psapwatch.permits import Permits
from psapwatch.pooled import is_on_old_connection
from psapwatch.probes.base import Errand, Heard
from psapwatch.schedule import Budget
from psapwatch.stillness import TICK_S, Stillness
from psapwatch.store.store import Store
from psapwatch.trials import BATTERY, RESPONDERS, Ground, Trials, has_witness
from psapwatch.turn import Run, Turn, first_dues
from psapwatch.verdict import Cause, Verdict, prober_fault
from psapwatch.wanted import IN_A_ROW
from psapwatch.world import CallForbidden, Resolved, World

CONFIRM_AT_S: Final = (0.0, 1.0, 1.0)
"""Waits before the confirm burst's attempts: 0, 1 and 2 s after the failure (detection.md 2)."""
BURSTS_PER_FIREWALL: Final = 8
BROUGHT_FORWARD: Final = 10
"""Other paths that are asked at once when one becomes suspect (detection.md 4)."""
BROUGHT_FORWARD_EVERY_S: Final = 5.0
DENSE_S: Final = 1.0
"""How often the reference is asked while it is open whether its firewall loses calls."""
NEWS_S: Final = 90.0
"""A path that began to fail longer ago starts no battery: a dead PSAP must not wear it out."""
STOP_PATIENCE_S: Final = 3.5
"""How long a stop waits for open calls to end; the whole stop stays under 5 s."""


class Watch:
    """Runs every check on its paths until it is stopped."""

    def __init__(  # noqa: PLR0917 - the parts of a daemon, general to specific
        self,
        world: World,
        identity: Identity,
        store: Store,
        desk: Desk,
        permits: Permits,
        counters: Counters,
        log: FilteringBoundLogger,
    ) -> None:
        self.world, self.store, self.desk, self.permits = world, store, desk, permits
        self.crowd: dict[Pump, None] = {}
        self.confirm = True
        self.identity, self._counters, self._log = identity, counters, log
        self._turns: dict[tuple[str, str], Turn] = {}
        self._budgets: dict[str, Budget] = {}
        self._bursts: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self.calls = OpenCalls(store, world.clock, counters)
        self.stillness = Stillness()
        self.trials = Trials(self._try_out, desk.sight.asks, desk.casebook.tried.singles_pass)
        self._responders: dict[tuple[str, str], Path] = {}
        self._ticker: asyncio.TimerHandle | None = None

    # ---- what runs

    def run(
        self, runs: Sequence[Run], firewalls: Iterable[Firewall], responders: Sequence[Path] = ()
    ) -> None:
        """Start these checks, keep those that run already, and stop all others.

        ``responders``: the paths to our own responders, for the battery.
        """
        self._responders = {(path.psap.id, path.firewall.id): path for path in responders}
        self.trials.guard(responders)
        now = asyncio.get_running_loop().time()
        for firewall in firewalls:
            known = self._budgets.get(firewall.id)
            if known is None or known.limits != firewall.limits:
                self._budgets[firewall.id] = Budget(firewall.limits)
        wanted = {(path.key, check.name): (path, check) for path, check in runs}
        for key, turn in list(self._turns.items()):
            if wanted.get(key) != (turn.path, turn.check):
                self._retire(turn, forget=key not in wanted)
        for due, (path, check) in first_dues(wanted.values(), now):
            if (path.key, check.name) not in self._turns:
                turn = Turn(path, check, due)
                self._turns[turn.key] = turn
                turn.task = asyncio.get_running_loop().create_task(self._keep(turn))
        if self._ticker is None:
            self._await_tick()

    async def stop(self, patience_s: float = STOP_PATIENCE_S) -> int:
        """Start nothing more, end every open call, and return how many would not end in time.

        What nobody ever reacted to does not count: nothing rings, and its row is kept.
        """
        self.calls.enter_no_more()
        for turn in list(self._turns.values()):
            self._retire(turn, forget=False)
        self.trials.stop()
        self.end_ticks()
        for pump in list(self.crowd):
            pump.end()
        deadline = (loop := asyncio.get_running_loop()).time() + patience_s
        while self.calls and loop.time() < deadline:  # noqa: ASYNC110 - bounded, once, at the end
            await asyncio.sleep(0.02)
        left = self.calls.answered
        for pump in list(self.crowd):
            pump.abandon()
        return left

    def end_ticks(self) -> None:
        """Review nothing more."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def probe(self, path: Path, check: Check) -> tuple[Evidence, Verdict]:
        """Run one attempt now, outside the schedule but under the same ledger and budgets.

        Raises:
            CallForbidden: a call that may not be placed at this moment.
        """
        turn = Turn(path, check, asyncio.get_running_loop().time())
        if check.is_call:
            permit = self.permits.ask(path, self.world.clock.wall())
            if not permit.granted:
                raise CallForbidden(permit.reason)
        return await self._attempt(turn)

    def excuse(self, evidence: Evidence, verdict: Verdict) -> Verdict:
        """The verdict, or inconclusive where it was our own loop that stood still."""
        return self.stillness.excuse(evidence, verdict, asyncio.get_running_loop().time())

    # ---- the loop

    async def _keep(self, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not (hurried := await turn.alarm.until(turn.due)):
                self._counters.schedule_delay(max(0.0, loop.time() - turn.due))
            began = loop.time()
            try:
                if await self._may(turn, hurried=hurried):
                    await self._once(turn)
            except Exception as error:  # noqa: BLE001 - the single place, see the module's docstring
                self._own_fault("attempt", error)
            turn.move_on(loop.time(), thinned=self.desk.sight.quarantines.thins(turn.path))
            if turn.path.psap.id == REFERENCE and self.desk.is_suspicious(turn.path):
                turn.due = min(turn.due, max(loop.time(), began + DENSE_S))

    def _own_fault(self, what: str, error: Exception) -> None:
        self._counters.internal_error()
        self._log.exception(f"{what} failed by our own fault", verdict=prober_fault(error).why)

    def _await_tick(self) -> None:
        """Be called again: a timer and no task, which would wake twice for nothing to do."""
        loop = asyncio.get_running_loop()
        due = loop.time() + TICK_S
        self.stillness.expect(due)
        self._ticker = loop.call_at(due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let incidents open and close between attempts, and measure how late the loop is."""
        self._counters.loop_delay(self.stillness.ticked(loop.time()))
        try:
            self.desk.tick(self.world.clock.wall())
        except Exception as error:  # noqa: BLE001 - a bug in judging must not end the watching
            self._own_fault("review", error)
        self._await_tick()

    async def _may(self, turn: Turn, *, hurried: bool) -> bool:
        """Whether a call is permitted now; one that has to wait waits, unless it was hurried."""
        if not turn.check.is_call:
            return True
        while True:
            permit = self.permits.ask(turn.path, self.world.clock.wall())
            if permit.granted:
                return True
            if hurried or not 0 < permit.wait_s <= turn.interval_s:
                self._log.debug(
                    "call not placed", path=turn.path.key, check=turn.check.name, why=permit.reason
                )
                return False
            await asyncio.sleep(permit.wait_s + 0.001)

    async def _once(self, turn: Turn) -> None:
        """One scheduled attempt, and when it is the first to fail the burst on new connections."""
        evidence, verdict = await self._attempt(turn)
        if verdict.failed and not turn.check.is_call and is_on_old_connection(evidence):
            evidence, verdict = await self._attempt(turn, is_first=True)
        if not verdict.failed or not self.confirm:
            return
        self._suspect(turn)
        self._bring_forward(turn)
        if turn.check.is_call and turn.path.psap.id not in (REFERENCE, CONTROL):
            return  # a PSAP is never called more often to confirm
        firewall = turn.path.firewall.id
        if self._bursts.get(firewall, 0) >= BURSTS_PER_FIREWALL or not self._is_open(turn):
            return
        self._bursts[firewall] = self._bursts.get(firewall, 0) + 1
        try:
            async with asyncio.TaskGroup() as burst:  # each takes its own time to give up
                for wait_s in CONFIRM_AT_S:
                    await asyncio.sleep(wait_s)
                    if self._is_open(turn):
                        burst.create_task(self._attempt(turn, is_first=True))
        finally:
            self._bursts[firewall] -= 1

    def _suspect(self, turn: Turn) -> None:
        """Let the battery tell what it is; what has failed for long is no news."""
        since = self.desk.standing(turn.path, turn.check).failing_since
        wall, firewall = self.world.clock.wall(), turn.path.firewall.id
        if since is None or wall - since > NEWS_S or turn.path.psap.id == CONTROL:
            return
        ours = (self._responders.get((whom, firewall)) for whom in RESPONDERS)
        ground = Ground(turn.path, *ours, call_failed_at=wall if turn.check.is_call else None)
        if self.trials.failed(ground, asyncio.get_running_loop().time()) and has_witness(ground):
            self.desk.sight.ask(firewall, wall)

    async def _try_out(self, path: Path, check: Check, row: Row) -> None:
        """Make one attempt of the battery: under ledger and budget as any other."""
        assert not check.is_call or path.psap.id == REFERENCE, "a PSAP is never called to find out"
        try:
            evidence = await self._sent(Turn(path, check, 0.0), is_first=row == "new_connection")
        except Exception as error:  # noqa: BLE001 - as in ``_keep``: the battery goes on
            self._own_fault("attempt", error)
            return
        self.desk.tried(path, row, evidence, self.world.clock.wall(), self.excuse)

    def _is_open(self, turn: Turn) -> bool:
        """Whether one more failure would say something: chance is not ruled out yet."""
        standing = self.desk.standing(turn.path, turn.check)
        is_told = self.desk.casebook.is_covered(turn.path)
        return standing.last_failed and standing.failures < IN_A_ROW and not is_told

    def _bring_forward(self, turn: Turn) -> None:
        """Ask the neighbours now: a firewall is not to be told PSAP by PSAP (detection.md 4)."""
        now, firewall = asyncio.get_running_loop().time(), turn.path.firewall.id
        asked_at = self._asked_at.get(firewall)
        if asked_at is not None and now - asked_at < BROUGHT_FORWARD_EVERY_S:
            return
        self._asked_at[firewall] = now
        beside = [each for each in self._turns.values() if each.path.firewall.id == firewall]
        others = [
            each
            for each in sorted(beside, key=lambda each: each.due, reverse=True)
            if each is not turn and not each.check.is_call
        ]
        ours = [each for each in beside if each.path.psap.id in (REFERENCE, CONTROL)]
        calls = [each for each in beside if each.check.is_call and turn.check.is_call]
        for each in (*others[:BROUGHT_FORWARD], *ours, *calls[:BROUGHT_FORWARD]):
            each.alarm.ring()

    async def _attempt(self, turn: Turn, *, is_first: bool = False) -> tuple[Evidence, Verdict]:
        evidence = await self._sent(turn, is_first=is_first)
        turn.count += 1
        row = row_of(turn.path, turn.check)
        verdict = self._judge(turn.path, turn.check, evidence)
        if row is not None:
            self.desk.fill(turn.path, row, evidence, verdict)
        return evidence, verdict

    async def _sent(self, turn: Turn, *, is_first: bool = False) -> Evidence:
        """Send one attempt within budget and ledger, and return what it saw."""
        path, check, kind = turn.path, turn.check, turn.check.settings.kind
        budget, loop = self._budgets[path.firewall.id], asyncio.get_running_loop()
        while (wait_s := budget.wait_s(kind, loop.time())) > 0:  # noqa: ASYNC110 - a token bucket
            await asyncio.sleep(wait_s)
        budget.enter(kind, loop.time())
        wall = self.world.clock.wall()
        if check.is_call:
            self.permits.enter(path, wall)
        try:
            resolved = await self.world.resolver.resolve(path.next_hop or path.uri, path.transport)
            if not resolved.error and check.name != BATTERY:
                self.desk.keep_legs(path, check, map(str, resolved.legs))
            errand = self._errand(turn, resolved, is_first=is_first)
            evidence: Evidence = await check.settings.run(self.world, path, errand)
        finally:
            budget.leave(kind)
            if check.is_call:
                self.permits.leave(path)
        return evidence

    def _judge(self, path: Path, check: Check, evidence: Evidence) -> Verdict:
        wall = self.world.clock.wall()
        was_late = self.stillness.lately(asyncio.get_running_loop().time())
        verdict = self.desk.take(path, check, evidence, wall, was_late=was_late, excuse=self.excuse)
        if check.is_call and self.permits.learn(path, evidence, verdict, wall):
            self.desk.unsafe(path, verdict.why, wall)
        is_bad = verdict.failed or verdict.cause is Cause.PROBER_FAULT
        level = self._log.warning if is_bad else self._log.debug
        level(
            "attempt",
            attempt=evidence.attempt_id,
            call_id=evidence.call_id,
            path=path.key,
            check=check.name,
            leg=evidence.leg,
            outcome=verdict.outcome.value,
            cause=verdict.cause.value,
            why=verdict.why,
        )
        return verdict

    def _errand(self, turn: Turn, resolved: Resolved, *, is_first: bool) -> Errand:
        leg, source = turn.way_of(resolved.legs)
        return Errand(
            check=turn.check,
            leg=leg,
            resolved=resolved,
            source=source,
            identity=self.identity,
            crowd=self.crowd,
            ledger=self.calls.of(turn.path) if turn.check.is_call else None,
            heard=self._heard if turn.check.is_call else None,
            is_first=is_first,
        )

    def _heard(self, heard: Heard) -> None:
        """Take what a call shows; an unsafe answer counts also where no verdict will tell it."""
        path, is_judged = heard.path, not heard.late and heard.check.name != BATTERY
        self.calls.heard(heard.call_id, path.firewall.id, heard.seen, heard.octets, late=heard.late)
        if heard.seen.kind is Kind.UNSAFE and not is_judged:
            wall, seen = self.world.clock.wall(), heard.seen
            why = f"{seen['why']}: {seen.get('detail')}"
            self.permits.unsafe(path, why, wall)
            self.desk.unsafe(path, why, wall)

    def _retire(self, turn: Turn, *, forget: bool) -> None:
        """Stop a check; an attempt in flight goes on listening inside its pump."""
        del self._turns[turn.key]
        if turn.task is not None:
            turn.task.cancel()
        if forget:
            self.desk.forget(turn.path, turn.check)
