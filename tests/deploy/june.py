"""18 June 2024 played for real, in seconds: 204 answering points, two firewalls, and both roads.

The daemon, a Prometheus and two Alertmanagers run as shipped, hurried. The first Alertmanager is
reached by both roads; of the second the push road is cut, and later Prometheus is stopped. It is
played once a test run, kept as a ``Record``, and what Prometheus stored stays there to be asked.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import pytest
import yaml

from components.certificates import Authority, Certificate
from components.daemon import PROGRAM, Daemon, start_daemon
from components.inbox import Inbox, fetch, open_inbox
from components.monitoring import (
    Alertmanager,
    Prometheus,
    run_prometheus,
    start_alertmanager,
)
from components.ports import LOOPBACK, free_port
from components.process import Bench
from components.waiting import until
from components.watching import ROOMY
from deploy.shipped import ALERTMANAGER, PROMETHEUS
from psapwatch.demo.block import Block
from psapwatch.demo.ground import Ground
from psapwatch.demo.towns import EAST, TOWNS, WEST
from psapwatch.endpoint import Address, Tls
from psapwatch.net.answering import Answering
from psapwatch.net.system import SystemEntropy
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS

TOO_PROTECTIVE: Final = Block(EAST, "invite")
CUT_OFF: Final = Block(EAST, "all", only="Dukes")
"""Later in the same outage nothing at all reaches this county."""
CUT_OFF_TOWNS: Final = sum(town.county == CUT_OFF.only for town in TOWNS)
SILENT: Final = Block(EAST, "all")
BLOCKED_TOWN: Final = "ma-edgartown"
"""In the county that is cut off."""
STOPPED_TOWN: Final = "ma-nantucket"
TLS_TOWN: Final = "ma-worcester"
"""Behind the firewall that works; it has a second path, over TLS."""
VANTAGE: Final = "boston-a"
EVERY: Final = "6s"
"""Between two OPTIONS, and between two test calls, to each town: 70 attempts a second."""
GIVE_UP: Final = "3s"
CLEAN: Final = "2s"
RESOLVE_AFTER: Final = "14s"
"""Longer than a scrape, an evaluation and ``keep_firing_for`` together, as 90 s are in earnest."""
SCRAPE: Final = "2s"
KEEP_FIRING: Final = "10s"
"""More missed scrapes are forgiven than in earnest: on a busy machine two seconds are short."""
HURRY: Final = 30
"""So many times faster are the recording rules."""
PATIENCE_S: Final = 60.0
"""For each step: far above what it takes, since two cores may be shared."""
LOOK_EVERY_S: Final = 0.25
QUIET_S: Final = 2.5
"""Several evaluations and group intervals: what was not told by then is not told."""
CALLS_BLOCKED: Final = {
    "alertname": "CallsBlocked",
    "severity": "page",
    "vantage": VANTAGE,
    "scope": "firewall",
    "member": EAST,
    "firewall": EAST,
}

Told = list[tuple[str, list[dict[str, str]]]]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Pager:
    """An Alertmanager as shipped, and what people were told by it."""

    manager: Alertmanager
    inbox: Inbox

    def told(self, path: str = "/page") -> Told:
        """What the receiver at a path was told: status, and the labels of the alerts."""
        posts = [posted.json() for posted in self.inbox.posted if posted.path == path]
        return [(post["status"], [alert["labels"] for alert in post["alerts"]]) for post in posts]

    def summaries(self) -> list[str]:
        """The sentence of each page."""
        posts = [posted.json() for posted in self.inbox.posted if posted.path == "/page"]
        return [alert["annotations"]["summary"] for post in posts for alert in post["alerts"]]

    def alive(self) -> set[str]:
        """Which watchdogs the dead-man's switch has heard."""
        return {alert["alertname"] for _status, alerts in self.told("/alive") for alert in alerts}

    def roads(self) -> dict[str, str]:
        """By which roads the alert is known, and whether it is active or suppressed."""
        return {
            alert["labels"]["road"]: alert["status"]["state"]
            for alert in self.manager.alerts("CallsBlocked")
        }


@dataclass(frozen=True, slots=True)
class Record:
    """What people were told, and by which roads, as the day went on."""

    both: Pager
    """Hears the daemon and Prometheus."""
    uncalled: Pager
    """The daemon's pushes do not reach it: its push road is cut."""
    told_before: Told
    """To both of them, while all was well."""
    stopped: tuple[int, ...]
    """How many packets each rule of the first outage stopped."""
    roads: Mapping[str, str]
    """In its middle: each road by which ``both`` knew of it, and whether it was kept quiet."""
    began_at: float
    middle_at: float
    """Wall times, in seconds: when the first scrape was, and the middle of the outage."""
    first: tuple[Told, Told]
    """The first outage as the two were told it, from its begin to its end."""
    second: tuple[Told, Told]
    """The second outage, without Prometheus."""
    call: tuple[str, str]
    """A Call-ID that Prometheus names in the middle, and the daemon's page of that call."""
    past: Prometheus
    """A Prometheus with all that was stored; it scrapes nothing any more."""


class GroundThread:
    """The towns and the firewalls, in a thread and a loop of their own."""

    def __init__(self, ground: Ground, loop: asyncio.AbstractEventLoop) -> None:
        self.ground = ground
        self._loop = loop

    def block(self, rule: Block) -> None:
        """Put a rule in force."""
        self._loop.call_soon_threadsafe(self.ground.relays[rule.firewall].block, rule)

    def lift(self, rule: Block) -> int:
        """Take a rule away; returns how many packets it had stopped."""
        relay = self.ground.relays[rule.firewall]
        stopped = relay.stopped[rule]
        self.run(relay.lift(rule))
        return stopped

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        """Do something in the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


@contextmanager
def open_ground() -> Iterator[GroundThread]:
    """Stand the 204 towns until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def make() -> Ground:
        return Ground(SystemEntropy())  # its relays want the running loop

    try:
        ground = asyncio.run_coroutine_threadsafe(make(), loop).result(PATIENCE_S)
        standing = GroundThread(ground, loop)
        try:
            standing.run(ground.open())
            yield standing
        finally:
            standing.run(ground.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _answer_over_tls(certificate: Certificate) -> Answering:
    point = AnsweringPoint(
        SCRIPTS["multipart"],
        name="Worcester over TLS",
        tag=lambda: SystemEntropy().token(8),
        address=Address(LOOPBACK, free_port()),
    )
    tls = Tls(cert_file=str(certificate.cert_file), key_file=str(certificate.key_file))
    answering = Answering(point, "tls", tls=tls, per_source_a_second=1_000)
    await answering.open()
    return answering


def _watched(ground: Ground, over_tls: Mapping[str, Any], managers: tuple[str, str]) -> str:
    """Return the configuration of a daemon that watches all of it."""
    sink = {"kind": "alertmanager", "repeat": "1s", "resolve_after": RESOLVE_AFTER}
    settings = {
        "vantage": VANTAGE,
        "identity": {"from": "sip:911-path-test@example.net"},
        "store": {"path": "FOLDER/psapwatch.db"},
        "firewalls": {
            name: {"sources": [{"address": LOOPBACK}], "reference": way.uri, "limits": dict(ROOMY)}
            for name, way in ground.references.items()
        },
        "checks": {
            "keepalive": {"probe": "options", "every": EVERY, "give_up_after": GIVE_UP},
            "test-call": {"probe": "call", "every": EVERY, "give_up_after": GIVE_UP},
            "reference": {
                "probe": "call",
                "on": "reference",
                "every": "3s",
                "give_up_after": "2900ms",
                "media": True,
            },
        },
        "psaps": [
            {
                "id": town.id,
                "name": town.name,
                "attributes": {"county": town.county},
                "location": {"lat": round(41.5 + number / 200, 3), "lon": -71.0 - number % 7 / 10},
                "paths": [
                    {"firewall": town.firewall, "uri": way.uri},
                    *([dict(over_tls)] if town.id == TLS_TOWN else []),
                ],
                "test_calls": {
                    "consent": "lab",
                    "every": "1s",
                    "short_interval_agreed": True,
                    "commissioned": True,
                },
            }
            for number, (town, way) in enumerate(ground.towns.items())
        ],
        "detection": {"clean": CLEAN},
        "sinks": [{**sink, "urls": [url]} for url in managers],
    }
    return yaml.safe_dump(settings, sort_keys=False)


def hurried(text: str, by: int = HURRY) -> str:
    """Divide every duration of a file of rules, so that its minutes pass in seconds."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return re.sub(
        r"(?<![\w:])(\d+)([smhd])\b|(?<=:)(\d+)([smhd])(?=\])",
        lambda it: f"{int(it[1] or it[3]) * seconds[it[2] or it[4]] * 1000 // by}ms",
        text,
    ).replace("]) * 300", f"]) * {300 // by}")


def _hurried_alertmanager(inbox: Inbox) -> str:
    text = ALERTMANAGER.read_text(encoding="utf-8").replace("http://127.0.0.1:9095", inbox.url)
    return re.sub(r"(group_wait|group_interval): \d+[sm]", r"\1: 1s", text)


def _pager(bench: Bench, stack: ExitStack) -> Pager:
    inbox = stack.enter_context(open_inbox())
    return Pager(start_alertmanager(bench, config_text=_hurried_alertmanager(inbox)), inbox)


def _configured(folder: Path, watch: Daemon, pagers: tuple[Pager, ...]) -> Path:
    """Write the shipped prometheus.yml and rules, with our targets, every second."""
    recording = (PROMETHEUS / "recording.yml").read_text(encoding="utf-8")
    (folder / "recording.yml").write_text(hurried(recording), encoding="utf-8")
    alerts = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")
    alerts = alerts.replace("keep_firing_for: 30s", f"keep_firing_for: {KEEP_FIRING}")
    (folder / "alerts.yml").write_text(alerts, encoding="utf-8")
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace("scrape_interval: 15s", f"scrape_interval: {SCRAPE}")
    text = text.replace("evaluation_interval: 15s", "evaluation_interval: 1s")
    text = text.replace("127.0.0.1:9911", urlsplit(watch.base_url).netloc)
    managers = '", "'.join(urlsplit(pager.manager.url).netloc for pager in pagers)
    text = text.replace("127.0.0.1:9093", managers)
    file = folder / "prometheus.yml"
    file.write_text(text, encoding="utf-8")
    return file


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that plays a part, while the day lasts."""

    both: Pager
    uncalled: Pager
    standing: GroundThread
    watch: Daemon
    prometheus: Prometheus
    began_at: float

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something has come about; asking must not be the load that it waits for."""
        until(condition, PATIENCE_S, what, pause_s=LOOK_EVERY_S)

    def sees(self, expr: str) -> float:
        """What Prometheus answers now, in one number; nothing is 0."""
        return sum(float(each["value"][1]) for each in self.prometheus.query(expr))

    def told(self) -> tuple[Told, Told]:
        """What the two were told so far."""
        return self.both.told(), self.uncalled.told()

    def told_no_more(self) -> tuple[Told, Told]:
        """See that nobody is told another word for a while; return what they were told."""
        told = self.told()
        try:
            until(lambda: self.told() != told, QUIET_S, "another word", pause_s=LOOK_EVERY_S)
        except AssertionError:
            return told
        pytest.fail(f"another word: {self.told()} after {told}")


@contextmanager
def played(folder: Path) -> Iterator[Record]:
    """Play the day, end it, and yield what came of it."""
    with ExitStack() as stack:
        bench = Bench(folder, stack)
        data = bench.new_folder("data")
        with ExitStack() as day:
            stage = _stage(Bench(bench.new_folder("day"), day), day, data)
            _all_well(stage)
            record = _second_outage(stage, _first_outage(stage))
            assert stage.watch.running.end(PATIENCE_S) == 0  # how soon is another test
        quiet = bench.new_folder("quiet") / "prometheus.yml"
        quiet.write_text("scrape_configs: []\n", encoding="utf-8")
        yield replace(record, past=run_prometheus(bench, quiet, data))


def _stage(bench: Bench, day: ExitStack, data: Path) -> _Stage:
    """Start everything."""
    both, uncalled = _pager(bench, day), _pager(bench, day)
    standing = day.enter_context(open_ground())
    authority = Authority(bench.new_folder("certificates"))
    over_tls = standing.run(_answer_over_tls(authority.issue(addresses=[LOOPBACK])))
    day.callback(lambda: standing.run(_closed(over_tls)))
    trust = {"ca_file": str(authority.ca_file)}
    path = {"id": "tls", "firewall": WEST, "uri": f"sips:{over_tls.where}", "tls": trust}
    nobody = f"http://{LOOPBACK}:{free_port()}"  # the cut end of the second one's push road
    watch = start_daemon(bench, _watched(standing.ground, path, (both.manager.url, nobody)))
    config = _configured(bench.new_folder("rules"), watch, (both, uncalled))
    # A short delay: what it says before it knows Alertmanager is lost.
    prometheus = run_prometheus(bench, config, data, "--rules.alert.resend-delay=1s")
    return _Stage(both, uncalled, standing, watch, prometheus, time.time())


def _all_well(stage: _Stage) -> None:
    """Wait until every path is up by either check and stop calls to one town, as operators do."""
    for check in ("keepalive", "test-call"):
        up = f'sum(psapwatch_path_up{{check="{check}"}})'
        stage.wait(lambda: stage.sees(up) == len(TOWNS) + 1, f"every {check} passes")  # noqa: B023 - waited for at once
    argv = [str(PROGRAM), "calls", "stop", "--psap", STOPPED_TOWN, "--why", "storm"]
    subprocess.run([*argv, "--config", str(stage.watch.config)], check=True, timeout=PATIENCE_S)
    alive = {"Watchdog", "PrometheusWatchdog"}
    stage.wait(lambda: stage.both.alive() == alive, "both watchdogs")
    stage.wait(stage.uncalled.alive, "the rules' watchdog")


def _first_outage(stage: _Stage) -> Record:
    """By both roads to the one, by the rules alone to the other; and its end."""
    told_before = [each for told in stage.told() for each in told]
    stage.standing.block(TOO_PROTECTIVE)
    stage.wait(lambda: all(stage.told()), "the pages")
    known = {"push": "active", "rules": "suppressed"}
    stage.wait(lambda: stage.both.roads() == known, "one road speaks, one is quiet")
    stage.standing.block(CUT_OFF)
    down = f'sum(psapwatch_paths_down{{firewall="{EAST}"}})'
    stage.wait(lambda: stage.sees(down) >= CUT_OFF_TOWNS, "paths down")
    stage.told_no_more()
    # Where a scrape has just failed, Prometheus knows nothing for a moment.
    scraped = 'min(up{job="psapwatch"}) and on () firewall:psapwatch_attempts_failed:ratio1h'
    stage.wait(lambda: stage.sees(scraped) == 1, "a scrape, and rules over it")
    roads, middle_at = stage.both.roads(), time.time()
    call_id = named_calls(stage.prometheus, stage.began_at, middle_at)[-1]
    page = fetch(f"{stage.watch.base_url}/attempts/{call_id}").text
    stopped = tuple(stage.standing.lift(rule) for rule in (CUT_OFF, TOO_PROTECTIVE))
    stage.wait(lambda: not stage.both.roads(), "the end by both roads")
    stage.wait(lambda: all(len(told) > 1 for told in stage.told()), "both are told the end")
    return Record(
        both=stage.both,
        uncalled=stage.uncalled,
        told_before=told_before,
        stopped=stopped,
        roads=roads,
        began_at=stage.began_at,
        middle_at=middle_at,
        first=stage.told_no_more(),
        second=([], []),
        call=(call_id, page),
        past=stage.prometheus,
    )


def _second_outage(stage: _Stage, record: Record) -> Record:
    """Without Prometheus: the push alone."""
    assert stage.prometheus.running.end() == 0
    before = [len(told) for told in record.first]
    stage.standing.block(SILENT)
    stage.wait(lambda: len(stage.both.told()) > before[0], "a page all the same")
    by_both, by_rules = stage.told_no_more()
    assert stage.standing.lift(SILENT) > 0
    return replace(record, second=(by_both[before[0] :], by_rules[before[1] :]))


async def _closed(answering: Answering) -> None:
    answering.close()


def named_calls(prometheus: Prometheus, start: float, end: float) -> list[str]:
    """The Call-IDs that stand beside latencies, oldest first."""
    query = "psapwatch_response_duration_seconds_bucket"
    found = prometheus.get("query_exemplars", query=query, start=start, end=end)
    named = [each for series in found for each in series["exemplars"]]
    return [each["labels"]["call_id"] for each in sorted(named, key=itemgetter("timestamp"))]
