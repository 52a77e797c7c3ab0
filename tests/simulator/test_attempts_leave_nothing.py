"""What an attempt was made of goes with it: nothing is left to the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from psapwatch.endpoint import Check, Identity
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.world import OpenCall
from simulator.outside import Outside, simulated

FORGOTTEN_S = 40.0
"""After this every timer of RFC 3261 has fired."""


class Crowd(dict[Pump, None]):
    """Remembers every pump without keeping it."""

    def __init__(self) -> None:
        super().__init__()
        self.pumps: list[weakref.ref[Pump]] = []

    def __setitem__(self, pump: Pump, nothing: None) -> None:
        self.pumps.append(weakref.ref(pump))
        super().__setitem__(pump, nothing)


class Ledger:
    """Allows every call."""

    async def open_call(self, row: OpenCall) -> None:
        """Allow it."""

    def note_answer(self, call_id: str, octets: bytes) -> None:
        """Forget it."""

    def close_call(self, call_id: str, how: str, at: float) -> None:
        """Forget it."""


@pytest.mark.parametrize("script", ["mirror", "silence", "busy", "trying_then_mirror", "forked"])
@pytest.mark.parametrize("settings", [OptionsSettings(), CallSettings()], ids=["options", "call"])
def test_attempts_end_without_the_collector(script: str, settings: Any) -> None:
    """With the collector off, a finished attempt's pump is gone: at 150 a second it must be."""

    async def main(outside: Outside) -> Crowd:
        crowd = Crowd()
        path = outside.built.outlooks[0].paths[0]
        resolved = await outside.built.world.resolver.resolve(path.uri, path.transport)
        identity = Identity("sip:911-path-test@example.net")
        errand = Errand(
            Check("check", 300.0, 4.0, settings),
            resolved.legs[0],
            resolved,
            path.leaves_from,
            identity,
            crowd,
            Ledger(),
            heard=lambda _heard: None,
        )
        await settings.run(outside.built.world, path, errand)
        await asyncio.sleep(FORGOTTEN_S)
        return crowd

    gc.collect()
    gc.disable()
    try:
        crowd = simulated(main, plan=Plan(psaps=1, script=SCRIPTS[script]))
        assert [pump() for pump in crowd.pumps] == [None]
    finally:
        gc.enable()
