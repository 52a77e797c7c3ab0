"""Plays one scenario: quiet, faults, and what the daemon said, kept for the judge (layer L5)."""

from __future__ import annotations

import asyncio
import heapq
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from psapwatch.case import Case
from psapwatch.detection import State
from psapwatch.incident import Incident
from psapwatch.replay.branches import Branches
from psapwatch.replay.invariants import (
    Tap,
    broken_at_rest,
    broken_while_running,
    counts_disagree,
)
from psapwatch.replay.scenario import Scenario
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.replay.timed import Timed, Undo
from psapwatch.simulator.alertmanager import Page
from psapwatch.simulator.world import EPOCH

INCIDENTS_MAX: Final = 10_000

CALM_S: Final = 15.0
"""With all faults over and all that was told closed for so long, no more is waited for."""
CALM_STEP_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Told:
    """One incident, and when, in seconds after the quiet."""

    incident: Incident
    opened_s: float
    paged_s: float | None
    """When the sink first had it."""
    closed_s: float | None
    case: Case | None = None
    """What its cause rests on, as the daemon kept it."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one run."""

    scenario: Scenario
    seed: int
    unwell: tuple[str, ...]
    """What was not well at the end of the quiet."""
    untouched: tuple[str, ...]
    """Faults that nothing ran into."""
    told: tuple[Told, ...]
    """Every incident, in the order of opening."""
    pages: tuple[Page, ...]
    broken: tuple[str, ...]
    """Invariants that did not hold."""
    digest: str
    """Of every packet: the same seed gives the same."""


def play(scenario: Scenario, seed: int, *, thorough: bool = False) -> Played:
    """Run a scenario in a world of this seed; ``thorough`` also compares every count.

    Raises:
        Exception: a bug of ours, with the seed as a note.
    """
    return play_alike([scenario], seed, thorough=thorough)[0]


def play_alike(scenarios: Sequence[Scenario], seed: int, *, thorough: bool = False) -> list[Played]:
    """Run scenarios of the same ``Scenario.beginning``, which is played once for all of them.

    Raises:
        Exception: a bug of ours, with the seed as a note.
    """
    ends = Branches[Scenario, Played](scenarios)
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "psapwatch.db") if scenarios[0].restarts else ":memory:"
        played = partial(_played, scenarios[0], ends.part, seed, database, thorough=thorough)
        return ends.gather(lambda: run(played(), seed=seed))


async def _played(
    begun: Scenario, part: Callable[[], Scenario], seed: int, database: str, *, thorough: bool
) -> Played:
    async with stage(
        seed, begun.plan, begun.checks, begun.detection, begun.maintenance, database=database
    ) as scene:
        tap = Tap(scene)
        await asyncio.sleep(begun.quiet_s)
        unwell = _unwell(scene)
        scenario = part()
        clock = _Clock(scene, asyncio.get_running_loop().time())
        untouched = await _break(scene, scenario)
        incidents = await scene.daemon.store.incidents(INCIDENTS_MAX)
        pages = tuple(scene.topology.world.post.told)
        cases = {each.id: await scene.daemon.store.case(each.id) for each in incidents}
        told = tuple(_told(each, pages, clock, cases[each.id]) for each in _in_order(incidents))
        broken = await broken_while_running(scene, tap, incidents)
        broken += await counts_disagree(scene) if thorough else []
    broken += broken_at_rest(scene)
    digest = scene.topology.world.network.digest
    return Played(scenario, seed, unwell, untouched, told, pages, tuple(broken), digest)


async def _break(scene: Stage, scenario: Scenario) -> tuple[str, ...]:
    """Let everything go wrong in its time; return what nothing ran into."""
    loop = asyncio.get_running_loop()
    origin = loop.time()
    agenda: list[tuple[float, int, str, Timed, Undo | None]] = []
    order = 0
    for label, fault in scenario.faults:
        for at in fault.beginnings():
            heapq.heappush(agenda, (at, order, label, fault, None))
            order += 1
    while agenda and agenda[0][0] < scenario.runs_s:
        at, _order, label, fault, undo = heapq.heappop(agenda)
        await asyncio.sleep(max(0.0, origin + at - loop.time()))
        if undo is not None:
            await undo()
            continue
        undo = await fault.begin(scene, label)
        if fault.for_ is not None:
            order += 1
            heapq.heappush(agenda, (at + fault.for_, order, label, fault, undo))
    is_over = not agenda and scenario.mended_at > 0
    await _until_calm(scene, origin + scenario.runs_s, is_over=is_over)
    untouched = tuple(label for label, fault in scenario.faults if not fault.touched(scene, label))
    for _at, _order, _label, _fault, undo in sorted(agenda, key=lambda each: each[:2]):
        if undo is not None:
            await undo()
    return untouched


async def _until_calm(scene: Stage, end: float, *, is_over: bool) -> None:
    """Watch until the end, or until all is over that was told of; who was told nothing stays."""
    loop = asyncio.get_running_loop()
    calm_since: float | None = None
    while loop.time() < end:
        is_calm = is_over and scene.topology.world.post.told and not scene.daemon.casebook.is_open
        calm_since = (calm_since or loop.time()) if is_calm else None
        if calm_since is not None and loop.time() >= calm_since + CALM_S:
            return
        await asyncio.sleep(min(CALM_STEP_S, end - loop.time()))


def _unwell(scene: Stage) -> tuple[str, ...]:
    """What a scenario must not begin with."""
    rows = scene.daemon.board.paths()
    wrong = [f"{row.psap}/{row.path} is {row.state}" for row in rows if row.state != State.UP]
    wrong += [f"open: {each.summary}" for each in scene.daemon.casebook.open]
    wrong += [f"paged: {page}" for page in scene.pages()]
    return tuple(wrong[:5])


@dataclass(frozen=True, slots=True)
class _Clock:
    """Wall time back into seconds after the quiet, also where the clock was stepped."""

    scene: Stage
    origin: float

    def after(self, wall: float) -> float:
        """Seconds after the quiet; of two moments with the same wall time the earlier."""
        epoch, since = EPOCH, 0.0
        steps = [*self.scene.steps, (float("inf"), 0.0)]
        for until, by in steps:
            at = wall - epoch
            if since <= at <= until:
                return at - self.origin
            epoch, since = epoch + by, until
        return wall - EPOCH - self.origin


def _in_order(incidents: Iterable[Incident]) -> list[Incident]:
    return sorted(incidents, key=lambda incident: (incident.opened_at, incident.id))


def _told(incident: Incident, pages: Sequence[Page], clock: _Clock, case: Case | None) -> Told:
    first = next(
        (page.at for page in pages if page.annotations.get("incident_id") == incident.id), None
    )
    return Told(
        incident,
        clock.after(incident.opened_at),
        None if first is None else first - EPOCH - clock.origin,
        None if incident.closed_at is None else clock.after(incident.closed_at),
        case,
    )
