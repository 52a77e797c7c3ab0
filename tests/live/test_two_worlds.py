"""The simulator's firewall agrees with nftables: the same rules, the same probes, both worlds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from components.daemon import PROGRAM
from components.firewall import OUTSIDE, SIP_PORT, Laboratory
from components.inside import start_answering_point
from components.process import Bench
from components.watching import watching
from psapwatch.daemon import Daemon
from psapwatch.endpoint import Check, TransportName
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.replay.stage import configured
from psapwatch.report import attempt_json
from psapwatch.simulator.loop import run
from psapwatch.simulator.rule import Drop, Reject, Rule, TcpReset
from psapwatch.simulator.topology import Plan, topology
from psapwatch.simulator.world import simulated_world
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store

PORT: Final = f"dport {SIP_PORT}"
KINDS: Final = {"options": OptionsSettings(), "call": CallSettings()}


@dataclass(frozen=True, slots=True)
class Row:
    """One rule as nftables has it and as the simulator has it, and what is probed."""

    name: str
    nft: str
    simulated: Rule
    transport: TransportName
    kind: str
    matches: bool = True
    passes: bool = False
    """All the same: a BYE that is lost is no loss when the far side hangs up by itself."""


def _drop(name: str, **facts: Any) -> Rule:
    return Rule(name=name, action=Drop(), **facts)


_INVITE = "@th,64,48 0x494e56495445"
ROWS: Final = (
    Row("silence", f"udp {PORT} counter drop", _drop("r"), "udp", "options"),
    Row("silent-call", f"udp {PORT} counter drop", _drop("r"), "udp", "call"),
    Row("no-way-back", f"udp s{PORT[1:]} counter drop",
        _drop("r", direction="outward"), "udp", "options"),
    Row("prohibited", f"udp {PORT} counter reject with icmpx admin-prohibited",
        Rule(name="r", action=Reject(3, 13)), "udp", "options"),
    Row("closed-port", f"udp {PORT} counter reject with icmpx port-unreachable",
        Rule(name="r", action=Reject(3, 3)), "udp", "options"),
    Row("invite-only", f"udp {PORT} {_INVITE} counter drop",
        _drop("r", methods=frozenset({"INVITE"})), "udp", "call"),
    Row("invite-only-seen-by-options", f"udp {PORT} {_INVITE} counter drop",
        _drop("r", methods=frozenset({"INVITE"})), "udp", "options", matches=False, passes=True),
    Row("final-lost", f"udp s{PORT[1:]} @th,64,88 0x5349502f322e3020323030 counter drop",
        _drop("r", codes=frozenset({200})), "udp", "options"),
    Row("large", f"udp {PORT} meta length > 828 counter drop",
        _drop("r", min_size=801), "udp", "call"),
    Row("teardown", f"udp {PORT} @th,64,32 0x42594520 counter drop",
        _drop("r", methods=frozenset({"BYE"}), direction="inward"), "udp", "call", passes=True),
    Row("reset", f"tcp {PORT} counter reject with tcp reset",
        Rule(name="r", action=TcpReset()), "tcp", "options"),
    Row("silent-syn", f"tcp {PORT} counter drop", _drop("r"), "tcp", "options"),
)  # fmt: skip


@pytest.fixture
def lab(bench: Bench, laboratory: Laboratory) -> Laboratory:
    """The laboratory with our own answering point inside."""
    start_answering_point(bench, laboratory)
    return laboratory


def _in_the_laboratory(lab: Laboratory, folder: Path, row: Row) -> dict[str, Any]:
    """Probe once through nftables; the exit code says the outcome, which is compared anyway."""
    uri = f"sip:psap@198.18.0.9:{SIP_PORT};transport={row.transport}"
    config = watching(
        {"ma-9": uri},
        source=OUTSIDE[0],
        options={"probe": "options", "every": "15s", "give_up_after": "4s"},
        call={"probe": "call", "every": "15s", "give_up_after": "8s"},
    )
    file = folder / "psapwatch.yml"
    file.write_text(config.replace("FOLDER", str(folder)), encoding="utf-8")
    words = f"{PROGRAM} probe '{uri}' --kind {row.kind} --config {file} --json; true"
    answer: dict[str, Any] = json.loads(lab.run(lab.outside, ["sh", "-c", words]))
    return answer


def _in_the_simulator(row: Row, *, blocked: bool) -> dict[str, Any]:
    """Probe once through the simulated firewall."""

    async def scene() -> dict[str, Any]:
        world = simulated_world(1)
        built = topology(world, 1, Plan(psaps=1, transports=(row.transport,)))
        daemon = Daemon(configured(built.outlooks[0]), world, Store(":memory:", Inline()))
        daemon.watch.run((), daemon.config.firewalls)
        firewall = built.firewalls["fw-east"]
        if blocked:
            firewall.add(row.simulated)
        give_up_s = 8.0 if row.kind == "call" else 4.0
        check = Check("probe", 60.0, give_up_s, KINDS[row.kind])
        seen = await daemon.watch.probe(daemon.config.paths[0], check)
        await daemon.watch.stop(40.0)
        assert (firewall.hits["r"] > 0) is (blocked and row.matches)
        return attempt_json(*seen)

    return run(scene(), seed=1)


def _said(answer: dict[str, Any]) -> tuple[str, str, list[str]]:
    """Outcome, cause, and the kinds of observation in order, repeated transmissions once."""
    verdict = answer["verdict"]
    kinds = [kind for kind, _at_s, _facts in answer["attempt"]["observations"]]
    return verdict["outcome"], verdict["cause"], list(dict.fromkeys(kinds))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_worlds_say_the_same(lab: Laboratory, tmp_path: Path, row: Row) -> None:
    """Outcome, cause and kinds of evidence agree, and the rule met the probe in both worlds."""
    (tmp_path / "before").mkdir()
    (tmp_path / "blocked").mkdir()
    before = _said(_in_the_laboratory(lab, tmp_path / "before", row))
    assert before == _said(_in_the_simulator(row, blocked=False))
    assert before[0] == "pass"
    with lab.rule(row.nft, must_move=row.matches) as rule:
        real = _said(_in_the_laboratory(lab, tmp_path / "blocked", row))
        assert (rule.packets > 0) is row.matches
    assert real == _said(_in_the_simulator(row, blocked=True))
    assert (real[0] == "pass") is row.passes
