"""The monitor's own proof: what is always green must pass, what is always red must fail."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from psapwatch.endpoint import Address, Identity
from psapwatch.self_test import BLIND_AFTER_S, GREEN, RED, SelfTest
from psapwatch.simulator.loop import run
from psapwatch.simulator.psap import SimulatedPsap
from psapwatch.simulator.world import SimulatedWorld, simulated_world
from psapwatch.sip.answering_script import SCRIPTS

HOSTS: Final = {GREEN: "127.0.0.1", RED: "127.0.0.2"}


def _targets(world: SimulatedWorld, scripts: dict[str, str]) -> dict[str, SimulatedPsap]:
    for host in HOSTS.values():
        world.network.place(host, "self")
    return {
        name: SimulatedPsap(
            world.network, name, (HOSTS[name],), tag=lambda: "t", script=SCRIPTS[script]
        )
        for name, script in scripts.items()
    }


@pytest.mark.parametrize(
    ("scripts", "broken"),
    [
        ({GREEN: "mirror", RED: "silence"}, ""),
        ({GREEN: "silence", RED: "silence"}, GREEN),
        ({GREEN: "mirror", RED: "mirror"}, RED),
    ],
)
def test_blind_when_a_target_has_the_wrong_colour(scripts: dict[str, str], broken: str) -> None:
    """Proofs are told while both are right; a wrong one makes the prober blind after a minute."""

    async def scene() -> tuple[set[str], list[str]]:
        world = simulated_world(1)
        targets = _targets(world, scripts)
        proven: set[str] = set()
        blind: list[str] = []
        test = SelfTest(
            world,
            Identity("sip:test@example.net"),
            {name: Address(host, 5060) for name, host in HOSTS.items()},
            lambda name, _at: proven.add(name),
            blind.append,
        )
        task = asyncio.get_running_loop().create_task(test.run())
        await asyncio.sleep(BLIND_AFTER_S + 40)
        said = list(blind)
        for name, target in targets.items():
            target.script = SCRIPTS["mirror" if name == GREEN else "silence"]
        await asyncio.sleep(60)
        task.cancel()
        assert blind[len(said) :] == ([""] if broken else [])
        return proven, said

    proven, said = run(scene())
    assert proven == {GREEN, RED}
    assert len(said) == bool(broken)
    assert all(broken in each for each in said)
