"""The monitor's own proof: a target that must be green and one that must be red (layer L4).

Both stand on loopback, inside the daemon. A prober that calls a silent target healthy, or a living
one dead, cannot vouch for its verdicts: then it says so (``ProberBlind``) and nothing about PSAPs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from psapwatch.case import Case
from psapwatch.desk import Excuse
from psapwatch.diagnosis import diagnose
from psapwatch.endpoint import Address, Check, Firewall, Identity, Path, Psap, Source
from psapwatch.net.pump import Pump
from psapwatch.probes.base import Errand
from psapwatch.probes.options import OptionsSettings
from psapwatch.verdict import Outcome, Verdict
from psapwatch.world import Resolved, World

GREEN: Final = "always_green"
RED: Final = "always_red"
EVERY_S: Final = 15.0
BLIND_AFTER_S: Final = 60.0
"""So long without a proof, the prober counts as blind."""

_WANTED: Final = {GREEN: Outcome.PASS, RED: Outcome.FAIL}
_CHECK: Final = Check("self-test", EVERY_S, 4.0, OptionsSettings())


@dataclass(slots=True)
class SelfTest:
    """Probes the two targets for ever; ``proven`` is told each proof, ``blind`` each change."""

    world: World
    identity: Identity
    targets: dict[str, Address]
    """Of ``always_green`` and ``always_red``."""
    proven: Callable[[str, float], None]
    blind: Callable[[str], None]
    """Told why the prober is blind, ``""`` when it sees again."""
    excuse: Excuse = lambda _evidence, verdict: verdict
    """As for every attempt: silence while our own loop stood still proves nothing."""
    _proven_at: dict[str, float] = field(default_factory=dict)
    _is_blind: bool = False

    async def run(self) -> None:
        """Test every ``EVERY_S`` until cancelled."""
        begun = self.world.clock.wall()
        self._proven_at = dict.fromkeys(self.targets, begun)
        while True:
            verdicts = {name: await self._probe(name) for name in self.targets}
            self._judge(verdicts, self.world.clock.wall())
            await asyncio.sleep(EVERY_S)

    def _judge(self, verdicts: dict[str, Verdict], wall: float) -> None:
        for name, verdict in verdicts.items():
            if verdict.outcome is _WANTED[name]:
                self._proven_at[name] = wall
                self.proven(name, wall)
        old = [name for name, at in self._proven_at.items() if wall - at > BLIND_AFTER_S]
        if bool(old) != self._is_blind:
            self._is_blind = bool(old)
            seen = (f"{name}: {verdicts[name].outcome.value}, {verdicts[name].why}" for name in old)
            self.blind("; ".join(seen))

    async def _probe(self, name: str) -> Verdict:
        where = self.targets[name]
        source = Source("::1" if where.is_v6 else "127.0.0.1")
        path = Path(
            Psap(name, name), name, "self", Firewall("self", (source,)), f"sip:{where}", "udp"
        )
        crowd: dict[Pump, None] = {}
        resolved = Resolved(where.host, (where,), "udp")
        errand = Errand(_CHECK, where, resolved, source, self.identity, crowd)
        evidence = await _CHECK.settings.run(self.world, path, errand)
        verdict = self.excuse(evidence, diagnose(Case(evidence)))
        for pump in list(crowd):  # a loopback target has no late answers worth hearing
            pump.abandon()
        return verdict
