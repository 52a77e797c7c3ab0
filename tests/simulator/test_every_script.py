"""The daemon's own probes against every script, in virtual time: whatever answers, calls end."""

from __future__ import annotations

import asyncio

import pytest

from psapwatch.endpoint import Check, Identity
from psapwatch.evidence import Evidence, Kind
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.simulator.topology import Plan
from psapwatch.sip.answering_script import SCRIPTS
from psapwatch.world import OpenCall
from simulator.outside import Outside, simulated

STREAMABLE = sorted(SCRIPTS.keys() - {"garbage", "truncated", "short_content_length", "lf_only"})
"""Those that break a stream's framing end the connection; they are UDP's."""
FORGOTTEN_S = 200.0
"""After this an answering point has forgotten what it could not end (timer C)."""


class Ledger:
    """Keeps no calls, so that they may all be placed."""

    async def open_call(self, row: OpenCall) -> None:
        """Allow it."""

    def note_answer(self, call_id: str, octets: bytes) -> None:
        """Forget it."""

    def close_call(self, call_id: str, how: str, at: float) -> None:
        """Forget it."""


async def probe(outside: Outside, *, is_call: bool) -> Evidence:
    """Run one attempt along the first path and wait until everything that listened has ended."""
    path = outside.built.outlooks[0].paths[0]
    settings = CallSettings() if is_call else OptionsSettings()
    check = Check("check", 300.0, 8.0 if is_call else 4.0, settings)
    resolved = await outside.built.world.resolver.resolve(path.uri, path.transport)
    crowd: dict[Pump, None] = {}
    errand = Errand(
        check,
        resolved.legs[0],
        resolved,
        path.leaves_from,
        Identity("sip:911-path-test@example.net"),
        crowd,
        Ledger(),
    )
    evidence = await settings.run(outside.built.world, path, errand)
    await asyncio.sleep(FORGOTTEN_S)
    assert not crowd, "an attempt that still listens after every RFC timer"
    assert outside.built.open_flows == 0
    assert outside.built.open_calls == 0
    return evidence


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_call_over_udp_always_ends(name: str) -> None:
    """Every script, UDP: no flow, no call and no listener stays."""

    async def main(outside: Outside) -> Evidence:
        return await probe(outside, is_call=True)

    evidence = simulated(main, plan=Plan(psaps=1, script=SCRIPTS[name]))
    assert evidence.first(Kind.SENT) is not None
    assert evidence.duration_s < 40


@pytest.mark.parametrize("name", STREAMABLE)
def test_a_call_over_tcp_always_ends(name: str) -> None:
    """Every script that a stream can carry, TCP: the same."""

    async def main(outside: Outside) -> Evidence:
        return await probe(outside, is_call=True)

    evidence = simulated(main, plan=Plan(psaps=1, script=SCRIPTS[name], transports=("tcp",)))
    assert evidence.duration_s < 40


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_options_always_end(name: str) -> None:
    """Every script, OPTIONS over UDP: the attempt is over by its patience."""

    async def main(outside: Outside) -> Evidence:
        return await probe(outside, is_call=False)

    evidence = simulated(main, plan=Plan(psaps=1, script=SCRIPTS[name]))
    assert evidence.duration_s <= 4.1
