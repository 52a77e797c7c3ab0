"""Dashboards: what is committed is what is generated, and every question gets its answer."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.dashboards import FILES, FOLDER, Question, filled, panels, questions, read, variables
from deploy.june import BLOCKED_TOWN, CUT_OFF, CUT_OFF_TOWNS, TLS_TOWN, Record
from deploy.shipped import DEPLOY, RUNBOOKS, rules
from psapwatch.demo.towns import EAST, TOWNS, WEST
from psapwatch.metrics_names import CONTRACT, PREFIX
from psapwatch_dashboards.__main__ import DASHBOARDS, text_of

STEP_S: Final = 2
CHOSEN_TOWNS: Final = {"Certificates run out in": TLS_TOWN}
"""Who is looked at where it is not the blocked town; it has no path over TLS."""

one_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
one_question = pytest.mark.parametrize("question", questions(), ids=str)
pytestmark = pytest.mark.timeout(300)  # the day may have to be played first


def ask(june: Record, question: Question, **chosen: str) -> list[dict[str, Any]]:
    """Ask a panel's question as Grafana does in the middle of the outage; return its series."""
    town = CHOSEN_TOWNS.get(question.panel, BLOCKED_TOWN)
    expr = filled(question.expr, **({"psap": town, "firewall": EAST} | chosen))
    if question.is_instant:
        found = june.past.get("query", query=expr, time=june.middle_at)["result"]
        return [{**each, "values": [each["value"]]} for each in found]
    span = {"start": june.began_at, "end": june.middle_at, "step": STEP_S}
    series: list[dict[str, Any]] = june.past.get("query_range", query=expr, **span)["result"]
    return series


def test_the_committed_files_are_the_generated_ones() -> None:
    """``python -m psapwatch_dashboards`` changes nothing, and no other file is there."""
    assert {file.name for file in FILES} == {f"psapwatch-{name}.json" for name in DASHBOARDS}
    for name in DASHBOARDS:
        committed = (FOLDER / f"psapwatch-{name}.json").read_text(encoding="utf-8")
        assert committed == text_of(name)


@one_question
def test_every_question_is_answered(june: Record, question: Question) -> None:
    """In the middle of the outage each panel has a number, and the labels of its legend."""
    series = ask(june, question)
    assert series, question.expr
    numbers = [float(value) for each in series for _at, value in each["values"]]
    assert any(map(math.isfinite, numbers)), question.expr
    for each in series:
        missing = set(question.labels) - set(each["metric"])
        assert missing == set(), f"{missing} of {question.legend} in {each['metric']}"


@pytest.mark.parametrize(("board", "name", "query"), variables())
def test_every_variable_has_values(june: Record, board: str, name: str, query: str) -> None:
    """Each variable of a dashboard offers what there is to choose."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found is not None, query
    selector = filled(found[1], psap=BLOCKED_TOWN, firewall=EAST)
    values = june.past.get(f"label/{found[2]}/values", **{"match[]": selector})
    towns = sorted(town.id for town in TOWNS)
    behind = [EAST] if board == "psap" else [EAST, WEST]
    expected = {"firewall": behind, "psap": towns, "check": ["keepalive", "test-call"]}
    if name == "instance":
        assert len(values) == 1
    else:
        assert values == expected[name], board


def answer(june: Record, board: str, title: str, **chosen: str) -> dict[tuple[str, ...], float]:
    """The newest value of each series of a panel, by the labels of its legend."""
    return {
        tuple(each["metric"][label] for label in question.labels): float(each["values"][-1][1])
        for question in questions()
        if (question.board, question.panel) == (board, title)
        for each in ask(june, question, **chosen)
    }


def test_the_state_is_told_as_it_is(june: Record) -> None:
    """Calls are blocked at one firewall, where OPTIONS still pass; all is well at the other."""
    share = answer(june, "state", "State by firewall")
    assert share["fw-east",] >= CUT_OFF_TOWNS / 102
    assert share["fw-west",] == 0.0
    works = answer(june, "state", "What still works")
    # At this pace an old verdict is none: a silent call is listened to for 32 s (Timer B).
    assert works.get(("fw-east", "test-call"), 0.0) < 0.2
    assert 0.8 < works["fw-east", "keepalive"] < 1.0
    assert works["fw-west", "test-call"] > 0.9
    assert answer(june, "state", "Firewalls that block calls") == {(): 1.0}
    stopped = answer(june, "state", "Test calls stopped")
    assert stopped == {(): 1.0}


def test_the_map_shows_every_psap_at_its_place(june: Record) -> None:
    """Each of the 204 has coordinates, and is down or not as its firewall is."""
    [question] = [each for each in questions() if each.panel == "PSAPs"]
    shown = {each["metric"]["psap"]: each for each in ask(june, question)}
    assert all(float(each["metric"]["latitude"]) > 41 for each in shown.values())
    down = {psap for psap, each in shown.items() if float(each["values"][-1][1]) == 1.0}
    cut_off = {town.id for town in TOWNS if town.county == CUT_OFF.only}
    assert cut_off <= down <= {town.id for town in TOWNS if town.firewall == EAST}
    assert len(shown) == len(TOWNS)


def test_a_firewall_that_works_looks_like_it(june: Record) -> None:
    """The other firewall's panels say that calls get through it."""
    assert answer(june, "firewall", "Calls through it", firewall=WEST) == {(): 0.0}
    assert answer(june, "firewall", "Calls through it") == {(): 1.0}
    loss = answer(june, "firewall", "Loss by check and size", firewall=WEST)
    assert loss["reference",] == 0.0
    assert answer(june, "firewall", "Loss by check and size")["reference",] > 0.0
    assert answer(june, "firewall", "Burn of the last hour")["test-call",] > 14.4


def test_a_psap_s_history_shows_when_it_fell(june: Record) -> None:
    """A town behind the blocked firewall was up before and is down in the middle."""
    [question] = [each for each in questions() if each.panel == "State of each path"]
    [each] = ask(june, question)
    states = [float(value) for _at, value in each["values"]]
    assert 2.0 in states
    assert states[-1] == 6.0
    assert states.index(2.0) < states.index(6.0)


def test_every_panel_helps_its_reader() -> None:
    """Description, unit, thresholds and a link to a runbook that is there, on every panel."""
    for board, panel in panels():
        where = f"{board}: {panel['title']}"
        assert panel["description"].endswith("."), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], where
        [link] = panel["links"]
        page = re.fullmatch(r"\$\{runbooks:raw\}/(\w+\.md)", link["url"])
        assert page is not None, where
        assert (RUNBOOKS / page[1]).is_file(), where


def test_a_click_leads_to_pages_that_the_daemon_has() -> None:
    """Data links name a page of the daemon or a dashboard, with a field that the panel shows."""
    shown = {"psap", "id"}
    leads = [
        link["url"]
        for _board, panel in panels()
        for link in panel["fieldConfig"]["defaults"].get("links", ())
    ]
    assert leads
    for url in leads:
        assert re.match(r"\$\{daemon:raw\}/(incidents|psaps)/|/d/psapwatch-psap\?var-psap=", url)
        assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= shown


@one_file
def test_panels_do_not_overlap(file: Path) -> None:
    """Every panel has a place of its own within 24 columns, and an id of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in read(file)["panels"]:
        at = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(at["x"], at["x"] + at["w"])
            for row in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in read(file)["panels"]]
    assert sorted(set(numbers)) == sorted(numbers)


def test_only_our_metrics_are_asked_for() -> None:
    """Every metric that a panel names is exported or recorded."""
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    known = {row.name + suffix for row in CONTRACT for suffix in suffixes.get(row.kind, ("",))} | {
        rule.name for rule in rules()
    }
    named = {
        name
        for question in questions()
        for name in re.findall(r"[\w:]*psapwatch[\w:]+", question.expr)
    }
    assert named - known == set()


def test_most_metrics_are_shown_somewhere() -> None:
    """No metric of the contract is without a panel, but for those that serve the others."""
    asked = " ".join(question.expr for question in questions())
    unseen = {row.name.removeprefix(PREFIX) for row in CONTRACT if row.name not in asked}
    assert unseen == {"config_last_reload_success_timestamp_seconds", "incidents_total"}


def test_provisioning_fits_the_dashboards() -> None:
    """The provisioning files name a Prometheus and a folder of files, as Grafana wants them."""
    folder = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    assert source["jsonData"]["timeInterval"] == "15s"
    [leads] = source["jsonData"]["exemplarTraceIdDestinations"]
    assert leads["name"] == "call_id"
    assert leads["url"] == "$PSAPWATCH_URL/attempts/$${__value.raw}"
    [provider] = yaml.safe_load((folder / "dashboards/psapwatch.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
