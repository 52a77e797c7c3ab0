"""A call over TCP whose connection is lost is ended as soon as a connection can be had again."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from psapwatch.endpoint import Check
from psapwatch.probes.call import CallSettings
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.simulator.rule import Rule, TcpReset
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import Script, Step

NO_TCP: Final = Rule(name="no-tcp", action=TcpReset(), transports=frozenset({"tcp"}))
ANSWERS: Final = Script(
    invite=(Step(100), Step(200, 0.5, "mirror")), hangs_up_after_s=None, minds_expires=False
)
RINGS: Final = Script(
    invite=(Step(100), Step(200, 60.0, "mirror")), hangs_up_after_s=None, minds_expires=False
)


def methods(scene: Stage) -> list[str]:
    """What came to the only PSAP."""
    return [seen.method for seen in scene.topology.psaps["psap-001"].log]


@pytest.mark.parametrize(("script", "ends_with"), [(ANSWERS, "BYE"), (RINGS, "CANCEL")])
def test_a_call_is_ended_after_its_way_was_away(script: Script, ends_with: str) -> None:
    """14 s without TCP from the moment that it was heard: no new connection comes up."""
    calls = Check("test-call", 300.0, 8.0, CallSettings(media=script is ANSWERS))

    async def scenario() -> None:
        plan = Plan(psaps=1, transports=("tcp",), script=script)
        async with stage(1, plan, (calls,)) as scene:
            while "INVITE" not in methods(scene):  # noqa: ASYNC110 - simulated time
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.6)
            firewall = scene.topology.firewalls["fw-east"]
            firewall.add(NO_TCP)
            await asyncio.sleep(14.0)
            assert firewall.hits["no-tcp"] > 1, "no new connection was tried"
            assert ends_with not in methods(scene)
            firewall.remove("no-tcp")
            await asyncio.sleep(60.0)
            assert methods(scene).count("INVITE") == 1
            assert ends_with in methods(scene)
            assert scene.topology.psaps["psap-001"].open_calls == 0
            assert not await scene.daemon.store.open_calls()

    run(scenario())
