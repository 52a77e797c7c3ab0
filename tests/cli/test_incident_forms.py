"""``psapwatch incidents show`` on a store that a daemon has left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from config.configured import plain
from psapwatch.case import Case
from psapwatch.cli.main import cli
from psapwatch.evidence import Kind, Observation, Packet
from psapwatch.notice_forms import FORMS
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store
from psapwatch.verdict import PASSED
from samples import FAILED, OPTIONS_TEXT, TEST_CALL, WALL, answered, attempt, incident, path, sent

LOST = Observation(Kind.SILENT, 4.0, {"method": "INVITE", "after_s": 4.0})
SENT = Packet(0.0, "out", "198.51.100.9:5060", OPTIONS_TEXT)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration, and beside it the store of an outage with its attempts."""
    written = plain()
    written["store"] = {"path": "psapwatch.db"}
    written["psaps"][0]["paths"][0]["id"] = "east"
    written["psaps"][0]["business_line"] = "+1 617 555 0100"
    file = tmp_path / "psapwatch.yml"
    file.write_text(yaml.safe_dump(written), encoding="utf-8")
    asyncio.run(_fill(tmp_path / "psapwatch.db"))
    return file


async def _fill(database: Path) -> None:
    store = Store(database, Inline())
    east = path()
    for number, at in enumerate((WALL - 400, WALL + 2, WALL + 17)):
        fails = attempt(
            east, seen=(sent(),), at=at, attempt_id=f"options-{number}", transcript=(SENT,)
        )
        store.record_attempt(fails, FAILED)
    call = attempt(east, TEST_CALL, (sent(method="INVITE"),), at=WALL + 20, attempt_id="call-1")
    store.record_attempt(call, FAILED)
    passed = attempt(east, TEST_CALL, at=WALL - 300, attempt_id="call-0")
    store.record_attempt(passed, PASSED)
    store.save_incident(incident(affected=("ma-boston/east", "ma-gone/west")))
    await store.close()


def show(config: Path, *options: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli, ["incidents", "show", "i-1", "--config", str(config), *options])


@pytest.mark.parametrize("form", list(FORMS))
def test_each_form_is_written_from_the_store(config: Path, form: str) -> None:
    """Every form of an incident of a daemon that is down; it names the incident or its PSAP."""
    done = show(config, "--format", form)
    assert done.exit_code == 0, done.output
    assert "i-1" in done.output or "Boston Police Department" in done.output


def test_configuration_and_store_meet_in_the_form(config: Path) -> None:
    """Business line and transport from the file; a PSAP no longer in it keeps its id."""
    text = show(config, "--format", "fcc").output
    assert "Boston Police Department |  | +1 617 555 0100" in text
    assert "ma-gone" in text
    assert "SIP over udp" in text


def test_a_failing_call_of_the_incident_is_shown(config: Path) -> None:
    """A call rather than OPTIONS, of the incident rather than before it, and its check's pass."""
    text = show(config, "--format", "markdown").output
    assert "attempt call-1" in text
    assert "attempt call-0" in text
    assert "options-0" not in text


def test_the_zone_of_the_readers_is_theirs_to_name(config: Path) -> None:
    """A zone that is not known is a usage error that says what to write."""
    assert "EDT" in show(config, "--time-zone", "America/New_York").output
    wrong = show(config, "--time-zone", "Boston")
    assert wrong.exit_code == 2
    assert "America/New_York" in wrong.output


def test_an_unknown_incident_is_named(config: Path) -> None:
    """The message says which store has no such incident."""
    done = CliRunner().invoke(cli, ["incidents", "show", "i-9", "--config", str(config)])
    assert done.exit_code == 1
    assert "has no incident 'i-9'" in done.output


def test_the_list_shows_whole_ids(config: Path) -> None:
    """On a narrow terminal other columns give way: the id is what `show` asks for.

    A pipe is as wide as it takes.
    """
    database = config.parent / "psapwatch.db"

    async def add() -> None:
        store = Store(database, Inline())
        store.save_incident(replace(incident(), id="5f0c2a9be1d3"))
        await store.close()

    asyncio.run(add())
    listing = ["incidents", "list", "--config", str(config)]
    narrow = CliRunner().invoke(cli, listing, env={"COLUMNS": "60", "FORCE_COLOR": "1"}).output
    assert ("5f0c2a9be1d3" in narrow, "CallsBlocked" in narrow) == (True, False)
    piped = CliRunner().invoke(cli, listing, env={"COLUMNS": "60"}).output
    assert {"5f0c2a9be1d3", incident().alertname, incident().cause.value} <= set(piped.split())


def test_the_case_is_shown_and_judged_again(config: Path) -> None:
    """Text ends with each row of the battery; the JSON is what ``explain --case`` reads."""
    assert "judged:" not in show(config).output  # no case is kept yet
    refused = CliRunner().invoke(cli, ["explain", "--case", "-"], input="{}")
    assert refused.exit_code == 1
    assert "no case" in refused.output

    async def keep() -> None:
        store = Store(config.with_name("psapwatch.db"), Inline())
        lost = (sent(method="INVITE"), LOST)
        call = attempt(path(), TEST_CALL, lost, attempt_id="call-1")
        answer = answered(phase_s=0.02, late=False, from_peer=True, source="198.51.100.9:5060")
        options = attempt(seen=(sent(), answer))
        store.save_case("i-1", Case(call, battery={"call": call, "options": options}))
        await store.close()

    asyncio.run(keep())
    assert "judged: fail: invite_blocked" in show(config).output
    plain_text = show(config, "--format", "json").output
    judged = CliRunner().invoke(cli, ["explain", "--case", "-"], input=plain_text)
    assert judged.exit_code == 0
    assert "judged: fail: invite_blocked" in judged.output
