"""Writes the golden cases anew: one real case a cause, as the daemon kept it in the simulator.

``make golden`` runs it, for all causes or for those that are named. A cause comes from a scenario's
incident, or, where one attempt alone shows it, from answering points that play a script.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from psapwatch import case as cases
from psapwatch import logs
from psapwatch.case import Case
from psapwatch.diagnosis import diagnose
from psapwatch.replay.play import play
from psapwatch.replay.scenario import read, shipped
from psapwatch.replay.stage import Stage, run, stage
from psapwatch.simulator.topology import Plan
from psapwatch.simulator.world import EPOCH
from psapwatch.sip.answering_script import SCRIPTS, Script
from psapwatch.store.redact import redacted
from psapwatch.verdict import Cause

GOLDEN: Final = Path(__file__).parent / "golden" / "evidence"
SEED: Final = 1
ENACTED_S: Final = 330.0
"""A round of calls, and some."""
PSAPS_MAX: Final = 60
"""Enough of them to make a domain; a golden case shows one of them anyway."""
IN_FULL: Final = frozenset({Cause.PROBER_QUARANTINED})
"""Fewer PSAPs would not be sent enough."""
AFTER_S: Final = 90.0
"""So long after an incident is due its battery has run."""
ATTEMPTS_READ: Final = 50


@dataclass(frozen=True, slots=True)
class Played:
    """Answering points that play a script until an attempt shows the cause."""

    script: Script


@dataclass(frozen=True, slots=True)
class Enacted:
    """The faults of a scenario, all from the first, until an attempt shows the cause."""

    scenario: str


SOURCES: Final[dict[Cause, str | Played | Enacted]] = {
    Cause.CALLS_BLOCKED: "massachusetts-2024-all",
    Cause.INVITE_BLOCKED: "massachusetts-2024-invite",
    Cause.MEDIA_BLOCKED: Enacted("massachusetts-2024-media"),
    Cause.ONE_WAY_MEDIA: Enacted("verizon-2022-october"),
    Cause.NEW_FLOWS_BLOCKED: "s11-rule-push-behind-established",
    Cause.STALE_FLOW: "s14-stuck-udp-session",
    Cause.SOURCE_BLOCKED: "att-2017",
    Cause.LARGE_MESSAGE_UDP_LOST: "s16-fragments-dropped",
    Cause.LARGE_MESSAGE_TCP_STALLED: "s17-path-mtu-black-hole",
    Cause.CONTENT_BLOCKED: "content-blocked",
    Cause.RATE_LIMITED: "s19-rate-limit-under-load",
    Cause.UDP_STATE_TIMEOUT: "s21-udp-state-timeout",
    Cause.EXPLICIT_REJECT: "s43-administratively-prohibited",
    Cause.CONNECTION_REFUSED: "s27-one-psap-stopped",
    Cause.FINAL_RESPONSE_LOST: Played(SCRIPTS["trying_then_silence"]),
    Cause.TEARDOWN_BLOCKED: Enacted("s23-bye-dropped"),
    Cause.ACK_LOST: "s23-ack-dropped",
    Cause.NAME_RESOLUTION: Enacted("intrado-2020"),
    Cause.TLS_FAILURE: Enacted("tls-handshake-refused"),
    Cause.TLS_CERTIFICATE: Enacted("s34-certificate-expired"),
    Cause.ADDRESS_FAMILY: "ipv6-dropped",
    Cause.UNREACHABLE: Enacted("lumen-2024"),
    Cause.PSAP_ENDPOINT: Played(SCRIPTS["options_404"]),
    Cause.SERVICE_UNAVAILABLE: Enacted("intrado-2014"),
    Cause.MISROUTED: "washington-2021",
    Cause.ALG_REWRITE: "s26-gateway-rewrites",
    Cause.MALFORMED_RESPONSE: Played(SCRIPTS["no_cseq"]),
    Cause.TEST_CALL_REFUSED: Played(SCRIPTS["invite_488"]),
    Cause.UNSAFE_ANSWER: "a-person-answers",
    Cause.PROBER_QUARANTINED: "s20-the-prober-is-quarantined",
    Cause.PROBER_FAULT: Played(SCRIPTS["invite_400"]),
    Cause.UNKNOWN: "s28-one-psap-options-only-over-tcp",
}
"""Where each golden case comes from; causes that only a pattern or our own sight can name, and
that no case shows by itself, stand in ``test_golden_evidence.NO_CASE_SHOWS``."""


def main(words: Sequence[str]) -> int:
    """Write the cases of the causes that are named, or of all; return how many failed."""
    logs.set_up(lambda: EPOCH, level=logs.NOTHING)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    missing = 0
    for cause in [Cause(word) for word in words] or SOURCES:
        found = _case_of(cause, SOURCES[cause])
        click.echo(f"{cause.value}: {'-' if found is None else diagnose(found).why}")
        missing += found is None
        if found is not None:
            written = json.dumps(cases.to_json(found), indent=1, ensure_ascii=False)
            (GOLDEN / f"{cause.value}.json").write_text(f"{written}\n", encoding="utf-8")
    return missing


def _case_of(cause: Cause, source: str | Played | Enacted) -> Case | None:
    if isinstance(source, Played | Enacted):
        return run(_attempted(cause, source), seed=SEED)
    scenario = read(shipped()[source])
    due_s = max((each.after + each.within for each in scenario.expected), default=0.0)
    psaps_max = scenario.plan.psaps if cause in IN_FULL else PSAPS_MAX
    plan = replace(scenario.plan, psaps=min(scenario.plan.psaps, psaps_max))
    short = replace(scenario, plan=plan, runs_s=min(scenario.runs_s, due_s + AFTER_S))
    kept = (told.case for told in play(short, SEED).told if told.incident.cause is cause)
    return next((each for each in kept if each and diagnose(each).cause is cause), None)


async def _attempted(cause: Cause, source: Played | Enacted) -> Case | None:
    if isinstance(source, Played):
        async with stage(SEED, Plan(psaps=3)) as scene:
            for psap in scene.topology.psaps.values():
                psap.script = source.script
            await asyncio.sleep(ENACTED_S)
            return await _shown(scene, cause)
    scenario = read(shipped().get(source.scenario, GOLDEN.with_name(f"{source.scenario}.yml")))
    plan = replace(scenario.plan, psaps=min(scenario.plan.psaps, 20))
    async with stage(SEED, plan, scenario.checks) as scene:
        await asyncio.sleep(ENACTED_S)
        undone = [await fault.begin(scene, label) for label, fault in scenario.faults]
        await asyncio.sleep(ENACTED_S)
        found = await _shown(scene, cause)
        for undo in undone:
            await undo()
        return found


async def _shown(scene: Stage, cause: Cause) -> Case | None:
    """The first attempt that shows the cause by itself."""
    for path in scene.config.paths:
        for evidence, verdict in await scene.daemon.store.attempts(
            path.psap.id, path.id, limit=ATTEMPTS_READ
        ):
            kept = Case(redacted(evidence))
            if verdict.cause is cause and diagnose(kept).cause is cause:
                return kept
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
