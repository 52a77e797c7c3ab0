"""Maintenance and changes in the whole daemon, in simulated time: announced by others, kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from psapwatch.announced import ROUND_S, Change, Window
from psapwatch.endpoint import Check
from psapwatch.probes.options import OptionsSettings
from psapwatch.replay.rule_fault import RuleFault
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.replay.timed import Undo
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store

PLAN = Plan(psaps=4, firewalls=("fw-east", "fw-west"))
KEEPALIVE = Check("keepalive", 15.0, 4.0, OptionsSettings())
QUIET_S = 30.0
LONG_S = 3_600.0
Acts = Callable[[Stage], Awaitable[None]]


def _played(folder: Path, acts: Acts, plan: Plan = PLAN) -> None:
    async def whole() -> None:
        async with stage(5, plan, (KEEPALIVE,), database=str(folder / "psapwatch.db")) as scene:
            await asyncio.sleep(QUIET_S)
            await acts(scene)

    run(whole())


async def _by_another(folder: Path, change: Callable[[Store], None]) -> None:
    """Change the store as a command does, and wait until the daemon has taken it over."""
    store = Store(folder / "psapwatch.db", Inline())
    change(store)
    await store.close()
    await asyncio.sleep(2)


def _window(scene: Stage, for_s: float = LONG_S) -> Window:
    wall = scene.daemon.world.clock.wall()
    return Window("firewall", "fw-east", wall, wall + for_s, "CHG-7", "w1", "ann")


def _add(window: Window) -> Callable[[Store], None]:
    return lambda store: store.decisions.add_window(window, window.from_at)


async def _kill(scene: Stage, firewall: str) -> Undo:
    """The firewall drops everything from now on."""
    return await RuleFault(firewall=firewall).begin(scene, firewall)


def _told(scene: Stage) -> list[tuple[str, str, str]]:
    return [(each.alertname, each.scope, each.member) for each in scene.daemon.casebook.open]


def test_a_window_that_a_command_adds_scopes_and_mutes_nothing_else(tmp_path: Path) -> None:
    """What it names may die without a word, over a restart; loss beyond it pages meanwhile."""

    async def acts(scene: Stage) -> None:
        window = _window(scene)
        await _by_another(tmp_path, lambda store: store.decisions.add_window(window, 0.0))
        [shown] = scene.daemon.board.maintenance()
        assert (shown.member, shown.id, shown.by, shown.why) == ("fw-east", "w1", "ann", "CHG-7")
        text = "".join(scene.daemon.metrics.pieces(openmetrics=False))
        assert 'psapwatch_maintenance_active{firewall="fw-east"} 1.0' in text
        await _kill(scene, "fw-east")
        await asyncio.sleep(120)
        assert scene.topology.firewalls["fw-east"].hits["fw-east"] > 0
        assert _told(scene) == []
        await scene.kill()
        await scene.start()
        await asyncio.sleep(120)
        assert _told(scene) == []
        await _kill(scene, "fw-west")
        await asyncio.sleep(60)
        assert {"CallsBlocked"} == {name for name, _scope, _member in _told(scene)}
        assert any(page.startswith("CallsBlocked") for page in scene.pages())

    _played(tmp_path, acts)


def test_a_window_ended_by_a_command_leaves_nothing_unsaid(tmp_path: Path) -> None:
    """The firewall is still dead when somebody ends the window early: paged within two minutes."""

    async def acts(scene: Stage) -> None:
        window = _window(scene)
        await _by_another(tmp_path, lambda store: store.decisions.add_window(window, 0.0))
        await _kill(scene, "fw-east")
        await asyncio.sleep(120)
        assert _told(scene) == []
        wall = scene.daemon.world.clock.wall()
        await _by_another(tmp_path, lambda store: store.decisions.end_window(window, "bob", wall))
        await asyncio.sleep(ROUND_S - 2)
        assert _told(scene) == [("CallsBlocked", "firewall", "fw-east")]
        assert "CallsBlocked firewall fw-east" in scene.pages()

    _played(tmp_path, acts)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_neither_passes_nor_fails_after_a_window_is_paged(
    tmp_path: Path, *, is_restarted: bool
) -> None:
    """A green round is required: answers that say nothing of the path are not green."""

    async def acts(scene: Stage) -> None:
        psap = scene.topology.psaps["psap-001"]
        await _by_another(tmp_path, _add(_window(scene, 60.0)))
        psap.script = SCRIPTS["options_400"]
        await asyncio.sleep(50)
        if is_restarted:
            await scene.kill()
            await asyncio.sleep(30)
            await scene.start()
        await asyncio.sleep(5)
        assert _told(scene) == []
        await asyncio.sleep(ROUND_S - 10)
        assert _told(scene) == [("CallsBlocked", "firewall", "fw-east")]
        [incident] = scene.daemon.casebook.open
        assert incident.affected == ("psap-001/fw-east",)
        assert "ended (CHG-7): psap-001/fw-east" in incident.summary
        psap.script = SCRIPTS["multipart"]
        await asyncio.sleep(360)
        assert _told(scene) == []

    _played(tmp_path, acts)


def test_a_green_round_after_a_window_says_nothing(tmp_path: Path) -> None:
    """All that it named passes in time: no alert."""

    async def acts(scene: Stage) -> None:
        await _by_another(tmp_path, _add(_window(scene, 120.0)))
        mend = await _kill(scene, "fw-east")
        await asyncio.sleep(60)
        await mend()
        await asyncio.sleep(60 + 2 * ROUND_S)
        assert scene.topology.world.post.told == [] or scene.pages() == []
        assert await scene.daemon.store.incidents() == []

    _played(tmp_path, acts)


def test_a_change_before_a_failure_is_quoted_after_a_restart(tmp_path: Path) -> None:
    """A change event is kept, and what begins soon after says so; one told later is added."""

    async def acts(scene: Stage) -> None:
        clock = scene.daemon.world.clock
        await scene.daemon.change("CHG-123", "NOC", clock.wall())
        await scene.kill()
        await scene.start()
        await asyncio.sleep(35)
        await _kill(scene, "fw-east")
        await asyncio.sleep(30)
        [incident] = scene.daemon.casebook.open
        assert re.search(r"Started \d\d s after change CHG-123 by NOC\.$", incident.summary)
        pushed = scene.topology.world.post.pages[-1].annotations
        assert pushed["changes"] == incident.started_after[0]
        late = Change(incident.first_failure_at - 3, "CHG-124", "ann")
        await _by_another(tmp_path, lambda store: store.decisions.note(late, clock.wall()))
        [incident] = scene.daemon.casebook.open
        assert incident.summary.endswith("Started 3 s after change CHG-124 by ann.")
        assert len(incident.started_after) == 2
        await asyncio.sleep(1)
        told = scene.topology.world.post.firing().values()
        pushed = next(each.annotations for each in told if each.name == "CallsBlocked")
        assert pushed["changes"] == "\n".join(incident.started_after)

    _played(tmp_path, acts)
