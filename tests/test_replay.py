"""Scenarios: read like a configuration, played with every fault, judged without mercy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result

from psapwatch.cli.main import cli
from psapwatch.config.errors import BadConfig
from psapwatch.config.fields import alternatives, tag_of
from psapwatch.incident import Incident
from psapwatch.replay.branches import Branches
from psapwatch.replay.faults import AnyFault
from psapwatch.replay.judge import judge
from psapwatch.replay.play import Played, Told, play, play_alike
from psapwatch.replay.scenario import NEEDS, Need, Scenario, read, read_octets, shipped
from psapwatch.simulator.alertmanager import Page
from psapwatch.simulator.loop import run
from psapwatch.verdict import Cause

BY_NAME = (
    *("massachusetts-2024-all", "massachusetts-2024-invite", "massachusetts-2024-media"),
    *("optus-2025", "minnesota-2021", "intrado-2014", "intrado-2020", "pennsylvania-2025"),
    *("lumen-2024", "att-2017"),
)
OF_THE_BOOK = {f"S{nth:02d}" for nth in range(1, 46)} - {"S18", "S22", "S29", "S35", "S38", "S44"}
"""outages.md section 5 leaves these numbers out."""

SMALL = """
title: one firewall, three PSAPs, a minute without calls
network: {psaps: 3}
quiet: 90s
faults:
  - {kind: rule, at: 5s, firewall: fw-east, for: 60s}
runs: 8m
expect:
  - alert: CallsBlocked
    scope: firewall
    member: fw-east
    cause: [calls_blocked, invite_blocked]
    after: 5s
    within: 20s
"""


def _small(old: str = "", new: str = "") -> Scenario:
    assert old in SMALL
    return read_octets(SMALL.replace(old, new).encode(), "mine.yml", "mine")


# --- what is shipped


@pytest.fixture(scope="module")
def scenarios() -> dict[str, Scenario]:
    """Return every scenario that comes with psapwatch."""
    return {name: read(path) for name, path in shipped().items()}


def test_the_outages_are_there_by_name(scenarios: dict[str, Scenario]) -> None:
    """Those that people ask for first, and everything that the book of outages numbers."""
    assert set(BY_NAME) <= set(scenarios)
    told = {word for each in scenarios.values() for word in each.facts.replace(",", " ").split()}
    assert OF_THE_BOOK - told == {"S25"}  # waits for media addresses


def test_every_scenario_says_what_happens_and_what_must_come_of_it(
    scenarios: dict[str, Scenario],
) -> None:
    """A title, where the facts stand, and times that fit into the run."""
    for name, each in scenarios.items():
        assert each.title, name
        assert each.facts, name
        for expected in each.expected:
            nameless = expected.alerts in (["CallsBlocked"], ["ProberBlind"])
            assert expected.cause or nameless or each.needs, name
            assert expected.after + expected.within < each.runs_s, name


def test_needs_are_parts_that_somebody_described() -> None:
    """What a scenario may wait for is a closed set, each with its sentence."""
    assert set(NEEDS) == set(get_args(Need))


# --- reading


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("runs: 8m\n", "", "mine.yml:2: runs: is required: watched for so long after the quiet"),
        ("quiet: 90s", "quite: 90s", "mine.yml:4: quite: unknown key (did you mean quiet?)"),
        ("firewall: fw-east, for", "firewall: fw, for", "faults[0].firewall: no firewall 'fw' is"),
        ("for: 60s", "for: 60s, who: [psap-009]", "faults[0].who: nobody is called 'psap-009'"),
        ("kind: rule", "kind: rain", "faults[0].kind: must be rule or states or load or"),
        ("for: 60s", "for: 60s, times: 3", "faults[0].times: `times` needs `every`"),
        ("within: 20s", "within: soon", "expect[0].within: 'soon' is no duration"),
        ("cause: [calls", "cause: [cals", "expect[0].cause[0]: "),
        ("{psaps: 3}", "{psaps: 3, answers: politely}", "there is no answering script 'politely'"),
        ("for: 60s", "for: 60s, member: five", "'five' is nothing of the kind; write it like 0/4"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, error: str) -> None:
    """As in a configuration: file, line, key, and what is allowed."""
    with pytest.raises(BadConfig) as bad:
        _small(old, new)
    assert error in str(bad.value)


def test_faults_come_again_as_often_as_they_say() -> None:
    """``every`` and ``times``: a flap is one line."""
    ((_label, fault),) = _small("for: 60s", "for: 20s, every: 40s, times: 3").faults
    assert list(fault.beginnings()) == [5.0, 45.0, 85.0]
    assert fault.over_at == 105.0


# --- playing

FAULTS = {
    "rule": "methods: [OPTIONS], action: delay, by: 100ms",
    "states": "forget: true, udp_timer: 20s, strict_tcp: true",
    "load": "firewall: fw-east, per_second: 5",
    "answers": "who: [psap-002], script: text_only",
    "host": "who: [psap-002], state: stopped",
    "certificate": "issuer: self-signed",
    "names": "error: nxdomain",
    "detour": "psap: psap-001, to: psap-002",
    "link": "loss: 0.05, mtu: 1280",
    "bypass": "firewall: fw-east",
    "clock": "forward: 5m",
    "sinks": "status: 500",
    "daemon": "how: killed",
    "prober": "error: EMFILE",
    "change": "what: CHG-1",
}
"""One of each kind, whole: every key that it has in common with none."""


def test_every_kind_of_fault_is_tried() -> None:
    """A new kind of fault gets its line here."""
    assert set(FAULTS) == {tag_of(model) for model in alternatives(AnyFault)}


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_fault_comes_and_goes(kind: str) -> None:
    """It is felt while it is there, breaks no invariant, and is gone when it is over."""
    text = f"""
title: {kind}
network: {{psaps: 3, transports: [udp, tls]}}
quiet: 60s
faults: [{{kind: {kind}, for: 30s, {FAULTS[kind]}}}]
runs: 120s
"""
    played = play(read_octets(text.encode(), "here", kind), 1)
    assert played.unwell == ()
    assert played.untouched == ()
    assert played.broken == ()
    assert all(told.closed_s is None or told.closed_s > 30 for told in played.told)


def test_a_fault_that_nobody_feels_fails_the_scenario() -> None:
    """A block that blocks nothing proves nothing, however green the rest is."""
    judged = judge(play(_small("for: 60s", "for: 60s, methods: [SUBSCRIBE]"), 1))
    assert "nothing ran into rule-0" in judged.problems
    assert "no CallsBlocked firewall fw-east" in judged.problems


def test_what_is_broken_before_fails_the_scenario() -> None:
    """The state before the fault must have been green."""
    judged = judge(play(_small("{psaps: 3}", "{psaps: 3, answers: silence}"), 1))
    assert any(problem.startswith("not well before: ") for problem in judged.problems)


def test_a_scenario_passes() -> None:
    """Opened, told, named and closed as expected."""
    judged = judge(play(_small(), 1))
    assert judged.problems == ()
    assert judged.opened_s is not None
    assert 0 < judged.opened_s <= 20
    assert judged.pages == 1


def test_what_begins_alike_is_played_once_and_comes_out_the_same() -> None:
    """A quiet that is shared changes no packet of what comes after it."""
    whole, calls = _small(), _small("for: 60s", "for: 30s, methods: [INVITE]")
    assert whole.beginning == calls.beginning
    together = play_alike([whole, calls, whole], 1)
    assert together == [play(whole, 1), play(calls, 1), play(whole, 1)]
    assert len({each.digest for each in together}) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{psaps: 3}", "{psaps: 4}"),
        ("quiet: 90s", "quiet: 91s"),
        ("runs: 8m", "runs: 8m\ndetection: {clean: 1m}"),
        ("runs: 8m", "runs: 8m\nmaintenance: [{psap: psap-001, from: 1m, for: 1m}]"),
        ("kind: rule, at: 5s, firewall: fw-east", "kind: daemon, at: 5s, how: killed"),
    ],
)
def test_what_begins_otherwise_is_played_alone(old: str, new: str) -> None:
    """Another network, quiet, detection or window; and a store that is a file."""
    assert _small().beginning != _small(old, new).beginning


def test_a_copy_that_fails_says_so_where_all_began() -> None:
    """Neither a failure nor a copy that dies is lost, and nobody comes back twice."""
    here = os.getpid()

    async def fail(end: Callable[[], str]) -> str:
        if (word := end()) == "raise":
            raise ValueError(word)
        if word == "die":
            os._exit(3)
        return word

    def gathered(*ends: str) -> list[str]:
        branches = Branches[str, str](ends)
        return branches.gather(lambda: run(fail(branches.part), seed=7))

    assert gathered("a", "b", "c") == ["a", "b", "c"]
    with pytest.raises(ValueError, match="raise") as failed:
        gathered("raise", "b")
    assert "simulated with seed 7" in failed.value.__notes__
    with pytest.raises(RuntimeError, match="ended without a word"):
        gathered("die", "b")
    assert os.getpid() == here


# --- judging


def _told(**changes: Any) -> Told:
    plain: dict[str, Any] = {
        "id": "i1", "alertname": "CallsBlocked", "severity": "page", "vantage": "v",
        "scope": "firewall", "member": "fw-east", "psap": "", "firewall": "fw-east",
        "cause": Cause.CALLS_BLOCKED, "summary": "it fails", "opened_at": 0.0,
        "first_failure_at": 0.0,
    }  # fmt: skip
    times: dict[str, Any] = {"opened_s": 10.0, "paged_s": 11.0, "closed_s": 400.0}
    times |= {name: changes.pop(name) for name in times if name in changes}
    return Told(Incident(**plain | changes), **times)


def _judged(*told: Told, scenario: Scenario | None = None) -> list[str]:
    pages = tuple(
        Page(0.0, each.incident.alertname, frozenset(), each.incident.severity, {}) for each in told
    )
    return list(judge(Played(scenario or _small(), 1, (), (), told, pages, (), "")).problems)


def test_what_is_expected_is_no_problem() -> None:
    """The baseline of the cases below."""
    assert _judged(_told()) == []


def _wrong() -> Iterator[tuple[dict[str, Any], str]]:
    name = "page CallsBlocked firewall fw-east"
    yield {"opened_s": 25.1}, f"{name} opened after 20.1 s, expected within 20 s"
    yield {"opened_s": 4.0}, f"{name} opened 1.0 s before its fault"
    yield {"paged_s": None}, f"{name} was told to nobody"
    yield {"paged_s": 40.0}, f"{name} was told after 35.0 s, expected within 25 s"
    yield {"closed_s": None}, f"{name} is still open in the end"
    yield {"cause": Cause.RATE_LIMITED}, "cause rate_limited, expected calls_blocked or invite"
    yield {"member": "fw-west"}, "no CallsBlocked firewall fw-east"
    yield {"severity": "ticket"}, "0 pages, expected 1"


@pytest.mark.parametrize(("changes", "says"), list(_wrong()))
def test_what_is_wrong_is_named(changes: dict[str, Any], says: str) -> None:
    """Time, cause, scope, severity: each has its sentence."""
    closes = _small("runs: 8m", "runs: 20m")
    assert any(says in problem for problem in _judged(_told(**changes), scenario=closes))


def test_nothing_else_may_be_told() -> None:
    """An alert too many is as wrong as one too few, and so is a page too many."""
    other = _told(id="i2", scope="psap", member="psap-001")
    problems = _judged(_told(), other)
    assert any("unexpected page CallsBlocked psap psap-001" in each for each in problems)
    assert "2 pages, expected 1" in problems


# --- the command


def _replay(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["replay", *arguments])


def test_the_list_names_all_and_what_they_wait_for() -> None:
    """One line each; nothing that waits for a part is called passing."""
    listed = _replay("--list").output
    assert all(f"{name} " in listed for name in shipped())
    waiting = [name for name, path in shipped().items() if read(path).needs]
    for name in waiting[:1]:
        assert f"{name}: not run, needs" in _replay(name).output


def test_a_file_of_ones_own_is_replayed(tmp_path: Path) -> None:
    """The worst day of one's own network, as a table or as JSON; exit 0 when all is as expected."""
    mine = tmp_path / "mine.yml"
    mine.write_text(SMALL, encoding="utf-8")
    table = _replay(str(mine))
    assert table.exit_code == 0, table.output
    assert "mine" in table.output
    told = json.loads(_replay(str(mine), "--json").output)
    assert told["ok"] is True
    assert told["incidents"][0]["cause"] == told["cause"]
    mine.write_text(SMALL.replace("within: 20s", "within: 1s"), encoding="utf-8")
    late = _replay(str(mine))
    assert late.exit_code == 1
    assert "expected within 1 s" in late.output
    assert f"again with: psapwatch replay {mine} --seed 1" in late.stderr


def test_what_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    """No such scenario; a file with errors; nothing asked for."""
    assert "neither a scenario" in _replay("atlantis-9600").output
    bad = tmp_path / "bad.yml"
    bad.write_text("title: [", encoding="utf-8")
    assert "is not YAML" in _replay(str(bad)).output
    assert _replay().exit_code != 0


def test_a_scenario_can_be_printed_to_write_ones_own_from() -> None:
    """What is printed is what is read, for the shipped ones and for worlds by chance."""
    for name in ("massachusetts-2024-invite", "random"):
        printed = _replay(name, "--print", "--seed", "5").output
        assert read_octets(printed.encode(), "printed", name).faults
