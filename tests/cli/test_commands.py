"""Commands on a store without a daemon; every command of the contract, and its help."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from config.configured import plain
from psapwatch.announced import Window
from psapwatch.cli.main import cli, main
from psapwatch.net.clock import SystemClock
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store


def _days_from_now(days: int) -> str:
    return datetime.fromtimestamp(SystemClock().wall() + days * 86_400, UTC).isoformat()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a PSAP in Suffolk and a window of its own."""
    written = plain()
    written["store"] = {"path": "psapwatch.db"}
    written["psaps"][0]["attributes"] = {"county": "Suffolk"}
    written["maintenance"] = [
        {
            "firewall": next(iter(written["firewalls"])),
            "from": _days_from_now(-1),
            "until": _days_from_now(300),
            "why": "CHG-0",
        }
    ]
    file = tmp_path / "psapwatch.yml"
    file.write_text(yaml.safe_dump(written), encoding="utf-8")
    return file


def command(config: Path, *words: str) -> Result:
    """Run one command."""
    return CliRunner().invoke(cli, [*words, "--config", str(config)])


def test_a_window_is_added_listed_ended_and_audited(config: Path) -> None:
    """Who, when and why are kept; a window that is over cannot be ended again."""
    added = command(
        *(config, "maintenance", "add", "--attribute", "county=Suffolk"),
        *("--for", "2h", "--why", "CHG-123", "--by", "ann"),
    )
    assert added.exit_code == 0, added.output
    number = re.match(r"([0-9a-f]{8}): county Suffolk may be down", added.output)
    assert number, added.output
    rows = json.loads(command(config, "maintenance", "list", "--json").output)
    assert [(row["id"], row["state"], row["why"]) for row in rows] == [
        (number[1], "open", "CHG-123"),
        ("", "open", "CHG-0"),
    ]
    assert 7190 < rows[0]["until_at"] - rows[0]["from_at"] <= 7200
    shown = command(config, "maintenance", "list").output
    assert number[1] in shown
    assert "config" in shown
    ended = command(config, "maintenance", "end", number[1], "--by", "bob")
    assert ended.exit_code == 0, ended.output
    again = command(config, "maintenance", "end", number[1])
    assert (again.exit_code, "has ended" in again.output) == (1, True)
    over = json.loads(command(config, "maintenance", "list", "--all", "--json").output)
    assert [row["state"] for row in over] == ["over", "open"]
    said = json.loads(command(config, "audit", "--json").output)
    assert [(each["who"], each["what"], each["why"]) for each in said] == [
        ("bob", f"maintenance end {number[1]}", "CHG-123"),
        ("ann", f"maintenance add {number[1]} county Suffolk", "CHG-123"),
    ]
    assert "bob" in command(config, "audit", "--limit", "1").output


def test_a_planned_window_can_be_called_off(config: Path) -> None:
    """One that is still to begin is never open afterwards."""
    command(
        *(config, "maintenance", "add", "--attribute", "county=Suffolk", "--why", "CHG-5"),
        *("--from", "2098-12-01T02:00:00-05:00", "--until", "2098-12-01T04:00:00-05:00"),
    )
    [_fixed, planned] = json.loads(command(config, "maintenance", "list", "--json").output)
    assert planned["state"] == "planned"
    assert command(config, "maintenance", "end", planned["id"]).exit_code == 0
    [left] = json.loads(command(config, "maintenance", "list", "--json").output)
    assert left["why"] == "CHG-0"


def _ended(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
) -> tuple[int, str]:
    """Run a command as the shell does: exit code, and what it said of a mistake."""
    monkeypatch.setattr("sys.argv", ["psapwatch", *words, "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, " ".join(capsys.readouterr().err.split())


WRONG = [
    (["--for", "2h"], 64, "exactly one of"),
    (["--firewall", "a", "--psap", "b", "--for", "2h"], 64, "exactly one of"),
    (["--attribute", "county", "--for", "2h"], 64, "write NAME=VALUE"),
    (["--firewall", "a"], 64, "say when it ends"),
    (["--firewall", "a", "--for", "2h", "--until", "2099-01-01T00:00:00Z"], 64, "say when it ends"),
    (["--firewall", "a", "--for", "two hours"], 64, "no duration"),
    (["--firewall", "a", "--until", "2099-01-01T00:00:00"], 64, "has no zone"),
    (["--firewall", "a", "--until", "tomorrow"], 64, "is no time"),
    (["--firewall", "a", "--until", "2020-01-01T00:00:00Z"], 64, "is over already"),
    (
        ["--psap", "b", "--from", "2099-01-02T00:00:00Z", "--until", "2099-01-01T00:00:00Z"],
        64,
        "must be later than its begin",
    ),
    (["--firewall", "a", "--for", "99999999d"], 64, "longer than a hundred years"),
    (["--firewall", "a", "--until", "2199-01-01T00:00:00Z"], 64, "longer than a hundred years"),
    (["--firewall", "a", "--from", "9999-12-31T23:59:59-12:00", "--for", "1h"], 64, "9998"),
    (["--firewall", "a", "--from", "0001-01-01T00:00:00+14:00", "--for", "1h"], 64, "1970"),
    (["--firewall", "nowhere", "--for", "2h"], 1, "has no firewall 'nowhere'"),
    (["--psap", "nowhere", "--for", "2h"], 1, "has no psap 'nowhere'"),
    (["--path", "no/where", "--for", "2h"], 1, "has no path 'no/where'"),
    (["--attribute", "county=Sufolk", "--for", "2h"], 1, "did you mean county=Suffolk"),
]


@pytest.mark.parametrize(("words", "code", "says"), WRONG)
def test_what_is_wrong_is_said_and_nothing_is_kept(
    config: Path,
    words: list[str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Usage errors exit 64; a name that the configuration does not have exits 1."""
    code_of, said = _ended(config, monkeypatch, capsys, "maintenance", "add", *words, "--why", "x")
    assert (code_of, says in said) == (code, True), said
    assert not (config.parent / "psapwatch.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("calls", "stop", "--why", ""),
        ("calls", "stop", "--why", "storm", "--by", " "),
        ("calls", "resume", "--why", "\t"),
        ("calls", "commission", "--psap", "ma-boston", "--with", ""),
        ("maintenance", "add", "--psap", "ma-boston", "--for", "2h", "--why", "  "),
        ("maintenance", "end", "5f2c09ab", "--by", ""),
        ("incidents", "ack", "i-1", "--by", ""),
        ("baseline", "accept", "ma-boston/fw-east", "--by", " "),
    ],
    ids=" ".join,
)
def test_what_is_kept_for_ever_says_something(
    config: Path,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A reason or a name of nothing is a slip, mostly of a script's variable: nothing is done."""
    code, said = _ended(config, monkeypatch, capsys, *words)
    assert (code, "must not be empty" in said) == (64, True), said
    assert not config.with_name("psapwatch.db").exists()


def test_an_absurd_window_of_an_older_version_is_listed(config: Path) -> None:
    """It was kept before there was a longest one: it can be seen, and ended."""
    endless = Window("firewall", "fw-east", 0.0, 1e13, "CHG-9", "5f2c09ab", "ann")
    store = Store(config.with_name("psapwatch.db"), Inline())
    store.decisions.add_window(endless, 0.0)
    asyncio.run(store.close())
    shown = command(config, "maintenance", "list")
    assert (shown.exit_code, "5f2c09ab" in shown.output) == (0, True)
    assert command(config, "maintenance", "end", "5f2c09ab").exit_code == 0


def test_what_stays_stopped_is_said(config: Path) -> None:
    """Each stop is lifted by itself: the general one leaves that of a PSAP, and the reverse."""
    command(config, "calls", "stop", "--psap", "ma-boston", "--why", "asked", "--by", "ann")
    command(config, "calls", "stop", "--why", "storm", "--by", "bob")
    lifted = command(config, "calls", "resume", "--why", "over")
    said, *left = lifted.output.splitlines()
    assert said == "the stop of all test calls is lifted"
    [one] = left
    assert one.startswith(
        "ma-boston is still stopped, by ann: asked (psapwatch calls resume --psap"
    )
    again = command(config, "calls", "resume", "--why", "over")
    assert (again.exit_code, "ma-boston is still stopped" in again.output) == (1, True)
    command(config, "calls", "stop", "--why", "storm", "--by", "bob")
    of_one = command(config, "calls", "resume", "--psap", "ma-boston", "--why", "over").output
    assert "every PSAP is still stopped, by bob: storm" in of_one
    assert "still" not in command(config, "calls", "resume", "--why", "over").output


def test_a_baseline_of_nothing_is_said_to_be_nothing(config: Path) -> None:
    """No answer yet: shown as such, and nothing to accept; a path that is none is named."""
    refused = command(config, "baseline", "accept", "ma-boston/nowhere")
    assert (refused.exit_code, "has no path" in refused.output) == (1, True)
    key = refused.output.split("it has ")[1].strip().split(",")[0]
    nothing = command(config, "baseline", "accept", key)
    assert (nothing.exit_code, "nothing has answered" in nothing.output) == (1, True)
    assert "nothing has answered" in command(config, "baseline", "show").output


@pytest.fixture
def status_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any]], tuple[object, str]]:
    """What `psapwatch status` ends with and prints where a daemon answers so."""

    def shown(answer: dict[str, Any]) -> tuple[object, str]:
        monkeypatch.setattr("psapwatch.cli.status._ask", lambda _url: answer)
        monkeypatch.setattr("sys.argv", ["psapwatch", "status"])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    return shown


def test_status_says_what_is_announced_and_stopped(
    status_of: Callable[[dict[str, Any]], tuple[object, str]],
) -> None:
    """Maintenance and stopped test calls are part of how things stand."""
    notes = ["Maintenance of firewall fw-east: CHG-7", "Test calls to ma-lynn are stopped: storm"]
    answer = {"headline": "All calls get through", "counts": "1 up", "notes": notes, "level": "ok"}
    code, shown = status_of(answer)
    assert code == 0
    assert all(note in shown for note in notes)


HOSTILE: Final = "[/bold] [CHG-7] :warning: [link=x]y"
"""What a stranger may write in a reason phrase, or an operator in a reason."""


def test_a_table_shows_what_was_written(config: Path) -> None:
    """No word of it is taken for markup."""
    words = ("--attribute", "county=Suffolk", "--for", "2h", "--why", HOSTILE, "--by", "ann")
    assert command(config, "maintenance", "add", *words).exit_code == 0
    assert HOSTILE in command(config, "maintenance", "list").output
    assert HOSTILE in command(config, "audit").output


def test_status_shows_what_the_far_end_wrote(
    status_of: Callable[[dict[str, Any]], tuple[object, str]],
) -> None:
    """Of a path, of an incident, of a note: as it stands."""
    check = {"state": "down", "why": f"503 to INVITE: {HOSTILE} (path)"}
    row = {"psap": "p", "path": "p/e", "firewall": "e", "transport": "udp", "state": "down"}
    answer = {
        "headline": "Calls to 1 PSAP fail",
        "paths": [{**row, "checks": [check]}],
        "notes": [f"{HOSTILE} (note)"],
        "incidents": [
            {"alertname": "CallsBlocked", "id": "1", "summary": f"\x1b[2J{HOSTILE} (summary)"}
        ],
        "level": "bad",
    }
    code, shown = status_of(answer)
    assert code == 2
    assert all(f"{HOSTILE} ({where})" in shown for where in ("path", "note", "summary")), shown
    assert "\x1b" not in shown


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    around = click.Context(group)
    for name in group.list_commands(around):
        each = group.get_command(around, name)
        if isinstance(each, click.Group):
            yield from _commands(each, (*words, name))
        yield (*words, name)


CONTRACT = {
    *("run", "check-config", "probe", "status", "incidents", "incidents list", "incidents show"),
    *("incidents ack", "calls", "calls stop", "calls resume", "calls commission", "maintenance"),
    *("maintenance add", "maintenance end", "baseline", "baseline show", "baseline accept"),
    *("respond", "replay", "demo", "explain"),
}


def test_every_command_of_the_contract_is_there() -> None:
    """Scripts stand on these names."""
    assert {" ".join(words) for words in _commands(cli)} >= CONTRACT


@pytest.mark.parametrize("words", sorted(_commands(cli)), ids=" ".join)
def test_help_shows_an_example_that_begins_with_the_command(words: tuple[str, ...]) -> None:
    """Each command's help has one line to copy; a group shows one of its own commands."""
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0
    example = done.output.partition("Example:")[2].strip()
    assert example.startswith(" ".join(("psapwatch", *words)))
