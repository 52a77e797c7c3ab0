"""The whole daemon in simulated time: who usually answers is known over restarts, and accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from commanded import command
from psapwatch.baseline import NEW_ANSWERER_PASSES
from psapwatch.endpoint import Check
from psapwatch.probes.options import OptionsSettings
from psapwatch.recorder import baselines_in
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import Script, Step
from psapwatch.store.store import reading

KEEPALIVE = Check("keepalive", 15.0, 4.0, OptionsSettings())
LEARNT_S = 15.0 * 12
FIRST = "psap-001"
KEY = f"{FIRST}/fw-east"
EDGE = Script(options=(Step(200, headers=(("Server", "edge SBC"),)),))
"""What an element in front of the answering point would say in its place."""


def _played(folder: Path, acts: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        database = str(folder / "psapwatch.db")
        async with stage(3, Plan(psaps=2), (KEEPALIVE,), database=database) as scene:
            await acts(scene)

    run(whole())


def _of(scene: Stage, psap: str = FIRST) -> tuple[str, str]:
    row = next(row for row in scene.daemon.board.paths() if row.psap == psap)
    return row.state, row.checks[0].why


def test_an_element_that_answers_in_place_is_noticed_after_a_restart_as_well(
    tmp_path: Path,
) -> None:
    """Degraded, with what differs; only the PSAP in question; twenty answers later it is usual."""

    async def acts(scene: Stage) -> None:
        await asyncio.sleep(LEARNT_S)
        assert [row.state for row in scene.daemon.board.paths()] == ["up", "up"]
        await scene.kill()
        scene.topology.psaps[FIRST].script = EDGE
        await scene.start()
        await asyncio.sleep(40)
        state, why = _of(scene)
        assert state == "degraded"
        assert why.endswith("Server edge SBC, usually psapwatch answering point")
        assert _of(scene, "psap-002")[0] == "up"
        await asyncio.sleep(15 * NEW_ANSWERER_PASSES)
        assert _of(scene)[0] == "up"

    _played(tmp_path, acts)


def test_an_answerer_accepted_by_a_command_is_usual_at_once(tmp_path: Path) -> None:
    """The running daemon takes it over by its housekeeping; the audit says who and what."""

    async def acts(scene: Stage) -> None:
        await asyncio.sleep(LEARNT_S)
        scene.topology.psaps[FIRST].script = EDGE
        await asyncio.sleep(40)
        assert _of(scene)[0] == "degraded"
        done = command(scene, tmp_path, "baseline", "accept", KEY, "--by", "ann")
        assert done.exit_code == 0, done.output
        assert "keepalive: 200 by Server edge SBC" in done.output
        await asyncio.sleep(17)
        assert _of(scene)[0] == "up"
        shown = command(scene, tmp_path, "baseline", "show", KEY, "--json")
        assert '"accepted_by": "ann"' in shown.output
        assert '"server": "edge SBC"' in shown.output

    _played(tmp_path, acts)

    async def audited() -> list[tuple[str, str]]:
        store = reading(tmp_path / "psapwatch.db")
        found = [(each.who, each.what) for each in await store.decisions.audited()]
        assert all(each.is_learnt for each in baselines_in(store).values())
        await store.close()
        return found

    assert asyncio.run(audited()) == [("ann", f"baseline accept {KEY}")]
