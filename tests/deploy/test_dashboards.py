"""Dashboards: what is committed is what is generated, and every question gets its answer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import pytest
import yaml

from components.inbox import fetch
from components.ports import free_port
from components.process import Bench, program
from deploy.dashboards import FILES, FOLDER, Question, filled, panels, questions, read, variables
from deploy.outage import ENDS_AT, OUTAGE_S, PLAN, SILENT, exposed
from deploy.shipped import DEPLOY, RUNBOOKS, rules, tool
from psapwatch.metrics_names import CONTRACT, PREFIX
from psapwatch.simulator.world import EPOCH
from psapwatch_dashboards.__main__ import DASHBOARDS, text_of

STEP_S: Final = 30
FOR_EVER: Final = "100y"
"""The simulated day is long past; Prometheus must not forget it."""
BLOCKED: Final = "fw-east"

one_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
one_question = pytest.mark.parametrize("question", questions(), ids=str)


class Past:
    """A Prometheus that remembers the simulated outage."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **arguments: Any) -> Any:
        """Ask its API; a refusal fails the test."""
        answer = fetch(f"{self.url}/api/v1/{path}?{urlencode(arguments, doseq=True)}").json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def ask(self, question: Question, **chosen: str) -> list[dict[str, Any]]:
        """Ask a panel's question as Grafana does, and return its series."""
        expr = filled(question.expr, **chosen)
        if question.is_instant:
            found = self.get("query", query=expr, time=ENDS_AT)["result"]
            return [{**each, "values": [each["value"]]} for each in found]
        span = {"start": EPOCH + 60, "end": ENDS_AT, "step": STEP_S}
        series: list[dict[str, Any]] = self.get("query_range", query=expr, **span)["result"]
        return series


def _serve(bench: Bench, data: Path) -> Past:
    """Start a Prometheus that scrapes nothing on a folder of blocks."""
    folder = bench.new_folder("prometheus")
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": []}), encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={FOR_EVER}",
        f"--web.listen-address={urlsplit(url).netloc}",
    ]
    running = bench.start("prometheus", argv, folder=folder)
    running.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready")
    return Past(url)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """The outage back-filled from the daemon's own exposition, and the recording rules over it."""
    folder = tmp_path_factory.mktemp("past")
    history, data = folder / "history.om", folder / "data"
    history.write_text(exposed(), encoding="utf-8")
    made = tool("promtool", "tsdb", "create-blocks-from", "openmetrics", str(history), str(data))
    assert made.returncode == 0, made.stderr
    with ExitStack() as stack:
        bench = Bench(folder, stack)
        for number, layer in enumerate(_layers()):
            _record(_serve(bench, data), layer, folder / f"rules-{number}.yml", data)
            bench.running[-1].end()
        yield _serve(bench, data)


def _layers() -> Iterator[list[dict[str, str]]]:
    """Recording rules, those first that need no other: promtool records what is on disk only."""
    left = {rule.name: rule.expr for rule in rules() if rule.file == "recording.yml"}
    while left:
        ready = {
            name: expr
            for name, expr in left.items()
            if not any(other in expr for other in left if other != name)
        }
        yield [{"record": name, "expr": expr} for name, expr in ready.items()]
        left = {name: expr for name, expr in left.items() if name not in ready}


def _record(past: Past, layer: list[dict[str, str]], file: Path, data: Path) -> None:
    file.write_text(yaml.safe_dump({"groups": [{"name": "layer", "rules": layer}]}))
    made = tool(
        *("promtool", "tsdb", "create-blocks-from", "rules"),
        *(f"--start={EPOCH:.0f}", f"--end={ENDS_AT:.0f}", "--eval-interval=15s"),
        *(f"--url={past.url}", f"--output-dir={data}", str(file)),
    )
    assert made.returncode == 0, made.stderr


def test_the_committed_files_are_the_generated_ones() -> None:
    """``python -m psapwatch_dashboards`` changes nothing, and no other file is there."""
    assert {file.name for file in FILES} == {f"psapwatch-{name}.json" for name in DASHBOARDS}
    for name in DASHBOARDS:
        committed = (FOLDER / f"psapwatch-{name}.json").read_text(encoding="utf-8")
        assert committed == text_of(name)


@one_question
def test_every_question_is_answered(past: Past, question: Question) -> None:
    """In the middle of the outage each panel has a number, and the labels of its legend."""
    series = past.ask(question, psap=SILENT, firewall=BLOCKED)
    assert series, question.expr
    numbers = [float(value) for each in series for _at, value in each["values"]]
    assert any(map(math.isfinite, numbers)), question.expr
    for each in series:
        missing = set(question.labels) - set(each["metric"])
        assert missing == set(), f"{missing} of {question.legend} in {each['metric']}"


@pytest.mark.parametrize(("board", "name", "query"), variables())
def test_every_variable_has_values(past: Past, board: str, name: str, query: str) -> None:
    """Each variable of a dashboard offers something to choose."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found is not None, query
    selector = filled(found[1], psap=SILENT, firewall=BLOCKED)
    values = past.get(f"label/{found[2]}/values", **{"match[]": selector})
    expected = {
        "instance": ["boston-a:9911"],
        "firewall": list(PLAN.firewalls),
        "psap": [f"psap-{number:03d}" for number in range(1, PLAN.psaps + 1)],
        "check": ["keepalive", "test-call"],
    }
    assert values == expected[name], board


def answer(past: Past, board: str, title: str, **chosen: str) -> dict[tuple[str, ...], float]:
    """The newest value of each series of a panel, by the labels of its legend."""
    asked = {"psap": SILENT, "firewall": BLOCKED} | chosen
    return {
        tuple(each["metric"][label] for label in question.labels): float(each["values"][-1][1])
        for question in questions()
        if (question.board, question.panel) == (board, title)
        for each in past.ask(question, **asked)
    }


def test_the_state_is_told_as_it_is(past: Past) -> None:
    """One firewall is down, one is not; calls and OPTIONS still pass the other one."""
    share = answer(past, "state", "State by firewall")
    assert share["fw-east",] == 1.0
    assert 0 < share["fw-west",] < 0.5  # the silent PSAP's paths
    works = answer(past, "state", "What still works")
    assert works["fw-east", "keepalive"] == 0.0
    assert works["fw-east", "test-call"] < 0.2  # the stopped PSAP's last one had passed
    assert works["fw-west", "keepalive"] > 0.5
    assert answer(past, "state", "Firewalls that block calls") == {(): 1.0}


def test_the_map_shows_every_psap_at_its_place(past: Past) -> None:
    """Each PSAP has coordinates and the share of its paths that is down: the silent one all."""
    [question] = [each for each in questions() if each.panel == "PSAPs"]
    shown = {each["metric"]["psap"]: each for each in past.ask(question)}
    assert len(shown) == PLAN.psaps
    assert all(float(each["metric"]["latitude"]) > 42 for each in shown.values())
    down = {psap: float(each["values"][-1][1]) for psap, each in shown.items()}
    assert down.pop(SILENT) == 1.0
    assert set(down.values()) == {0.5}


def test_a_firewall_that_works_looks_like_it(past: Past) -> None:
    """The other firewall's panels say that calls get through it."""
    assert answer(past, "firewall", "Calls through it", firewall="fw-west") == {(): 0.0}
    assert answer(past, "firewall", "Calls through it") == {(): 1.0}
    loss = answer(past, "firewall", "Loss by check", firewall="fw-west")
    assert loss["reference",] == 0.0
    assert answer(past, "firewall", "Loss by check")["reference",] == 1.0
    assert answer(past, "firewall", "Burn of the last hour")["keepalive",] > 14.4


def test_a_psap_s_history_shows_when_it_fell(past: Past) -> None:
    """The silent PSAP was up before and is down now, on every path."""
    [question] = [each for each in questions() if each.panel == "State of each path"]
    for each in past.ask(question, psap=SILENT):
        states = [float(value) for _at, value in each["values"]]
        assert 2.0 in states[: -int(OUTAGE_S / STEP_S)], each["metric"]
        assert states[-1] == 6.0, each["metric"]


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
    [provider] = yaml.safe_load((folder / "dashboards/psapwatch.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
