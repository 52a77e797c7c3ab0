"""A scenario enacted with real packets: namespaces, nftables, the daemon, and its own judge.

What must come of a scenario stands in its file alone: the simulated run and this one are judged by
the same rules. Fewer PSAPs are watched, as often as the checks' patience allows: so are the times
of the file kept, with the timers of production, and a state that is green is there in seconds.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from components.answering import start_answering
from components.daemon import Daemon, start_daemon
from components.firewall import (
    CONTROL,
    FIREWALL_OUTER,
    INSIDE_V6,
    OUTSIDE,
    OUTSIDE_V6,
    SIP_PORT,
    Laboratory,
    open_laboratory,
)
from components.inbox import Inbox, Posted, open_inbox
from components.inside import start_answering_point
from components.process import Bench
from components.watching import ROOMY, written
from psapwatch.duration import print_duration
from psapwatch.endpoint import Check
from psapwatch.incident import Incident, from_json
from psapwatch.replay.judge import Judged, judge
from psapwatch.replay.play import Played, Told
from psapwatch.replay.scenario import PAGING_S, Scenario, read, shipped
from psapwatch.simulator.alertmanager import Page

PSAPS: Final = 24
PACE: Final = 40.0
"""So much more often a check runs, but not before the one before has been given up."""
VALUES_MAX: Final = 4
"""Of an attribute: six PSAPs share each, which is enough to be blamed."""
CLEAN_S: Final = 8.0
"""In place of five minutes; the only thing that is hurried but the pace."""

GREEN_WITHIN_S: Final = 60.0
REFINED_S: Final = 15.0
"""After its time to open, an incident's cause may take so long to be named for good."""
CLOSED_WITHIN_S: Final = 100.0
"""A silent INVITE is over after 32 s (Timer B), then three calls pass, then ``CLEAN_S``."""
QUIET_AFTER_S: Final = 4.0
"""Watched for so long after the last incident has closed: nothing more may be told."""
LOOK_EVERY_S: Final = 0.5
STILL_S: Final = "0.5"
"""A bucket of ``psapwatch_loop_delay_seconds``: who wakes later than that was not let run."""

NAME: Final = "psapwatch reference"
"""Who answers for every PSAP: one responder."""
_STARTING: Final = threading.Semaphore(2)
"""Scenes that start at a time: that is work, all else is waiting."""
OURS: Final = {"sip_ports": "20000-29999", "rtp_ports": "40000-40999"}

Fault = Callable[["Scene"], AbstractContextManager[None]]
"""Breaks something, asserts on leaving that it was felt, and mends it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario's name, and how its fault is made of real rules."""

    scenario: str
    faults: tuple[Fault, ...]
    expects: tuple[Mapping[str, float], ...] = ()
    """``after`` and ``count`` on the smaller, faster bench, of the scenario's expectations in
    their order; nothing else may differ."""
    answers: str | None = None
    """A script of ``sip.answering_script`` for all PSAPs; None: ``psapwatch respond``."""
    stays_s: float = 6.0
    """The fault stays so long after all is told that must be: nothing else may be told, and what
    the battery tries meets the fault as well."""
    messages_per_second: int | None = None
    """What was agreed, near what the bench's pace comes to; None: more than anybody sends."""
    times: int = 1
    """How often the fault comes, ``stays_s`` there and ``gone_s`` not."""
    gone_s: float = 2.0
    window_s: float = 3_600.0
    """What the scenario's maintenance names may be down for so long after the fault."""
    meanwhile: Callable[[Scene], None] = lambda _scene: None
    """Done in mid-outage, when all is told that must be."""


@dataclass(slots=True)
class Scene:
    """One scenario's real network, and the daemon that watches it."""

    bench: Bench
    row: Row
    scenario: Scenario
    laboratory: Laboratory
    inbox: Inbox
    daemon: Daemon = field(init=False)
    broken_at: float = 0.0
    """When the fault began, Unix seconds."""
    unwell: tuple[str, ...] = ()

    def start_daemon(self, folder: Path | None = None) -> None:
        """Start the daemon outside, on the store of an earlier one where there is one."""
        outside = self.laboratory.outside
        if folder is None:
            text = written(_settings(self, self.laboratory.reach_back(outside, self.inbox.url)))
        else:
            text = (folder / "psapwatch.yml").read_text(encoding="utf-8")
        self.daemon = start_daemon(
            self.bench, text, place=outside, laboratory=self.laboratory, folder=folder
        )

    def wait_until_green(self) -> None:
        """Every check of every path passes, and nothing is told."""
        self.daemon.wait_for(
            lambda: not self._unwell(), GREEN_WITHIN_S, "all green", pause_s=LOOK_EVERY_S
        )
        self.unwell = tuple(self.said())

    def said(self) -> Iterator[str]:
        """What was told so far, for people, in seconds after the fault."""
        for at, notice in self.notices():
            incident = from_json(notice["incident"])
            yield (
                f"{at - self.broken_at:.1f} s {notice['status']} {incident.severity}"
                f" {incident.alertname} {incident.scope} {incident.member} ({incident.cause}):"
                f" {incident.summary} {incident.evidence}"
            )

    def notices(self) -> list[tuple[float, dict[str, Any]]]:
        """What the webhook got, and when; once what came again after a kill, as its key says."""
        first: dict[str, Posted] = {}
        for posted in tuple(self.inbox.posted):
            if posted.answered == 200:
                first.setdefault(posted.headers["Idempotency-Key"], posted)
        return [(posted.at, posted.json()) for posted in first.values()]

    def announce(self) -> None:
        """Tell the daemon, by a reload, which maintenance has been announced."""
        windows = [
            {
                window.scope: window.member,
                "from": _moment(self.broken_at - 60.0),
                "until": _moment(self.broken_at + self.row.window_s),
                "why": window.why,
            }
            for window in self.scenario.maintenance
        ]
        file = self.daemon.config
        text = file.read_text(encoding="utf-8")
        file.write_text(f"{text}{written({'maintenance': windows})}", encoding="utf-8")
        os.kill(self.daemon.running.pid, signal.SIGHUP)
        reloaded = "psapwatch_config_last_reload_success_timestamp_seconds"
        self.daemon.wait_for(
            lambda: self.daemon.total(reloaded) > self.broken_at - 1.0, 10.0, "the reload"
        )

    def played(self) -> Played:
        """What came of it so far, as a simulated run would tell it."""
        notices = self.notices()
        first: dict[str, float] = {}
        last: dict[str, Incident] = {}
        for at, notice in notices:
            incident = from_json(notice["incident"])
            first.setdefault(incident.id, at)
            last[incident.id] = incident
        told = tuple(
            Told(
                incident,
                incident.opened_at - self.broken_at,
                first[incident.id] - self.broken_at,
                incident.closed_at and incident.closed_at - self.broken_at,
            )
            for incident in last.values()
        )
        pages = tuple(
            _page(at, from_json(notice["incident"]))
            for at, notice in notices
            if notice["status"] == "open"
        )
        return Played(self.scenario, 0, self.unwell, (), told, pages, (), "")

    def all_closed(self) -> bool:
        """Whether nothing that was told is still open."""
        return all(told.closed_s is not None for told in self.played().told)

    def bugs(self) -> Iterator[str]:
        """What the daemon says of itself, and must not."""
        if count := self.daemon.total("psapwatch_internal_errors_total"):
            yield f"{count:g} internal errors"
        may_be_blind = any("ProberBlind" in each.alerts for each in self.scenario.expected)
        count = self.daemon.total("psapwatch_causes_total", {"cause": "prober_fault"})
        if count and not may_be_blind and not self.stood_still():
            yield f"{count:g} attempts ended by the prober's own fault"

    def stood_still(self) -> bool:
        """Whether this machine did not let the daemon run, as it says itself."""
        of_loop = "psapwatch_loop_delay_seconds"
        in_time = self.daemon.total(f"{of_loop}_bucket", {"le": STILL_S})
        return self.daemon.total(f"{of_loop}_count") > in_time

    def _unwell(self) -> list[str]:
        rows = self.daemon.json("/api/v1/status")["paths"]
        return [row["path"] for row in rows for check in row["checks"] if check["state"] != "up"]


@dataclass(frozen=True, slots=True)
class Enacted:
    """What came of a row."""

    judged: Judged
    said: tuple[str, ...]
    stood_still: bool
    """The machine did not let the daemon run for a moment: what it missed is no fault of its."""


def enact(bench: Bench, row: Row) -> Enacted:
    """Play a row: all green, the fault, what is told, the fault lifted, and nothing more."""
    scenario = _scaled(read(shipped()[row.scenario]), row)
    laboratory = open_laboratory(bench)
    inbox = bench.stack.enter_context(open_inbox())
    scene = Scene(bench, row, scenario, laboratory, inbox)
    with _STARTING:
        _start(scene)
    scene.wait_until_green()
    scene.broken_at = time.time()
    if scenario.maintenance:
        scene.announce()
    for nth in range(row.times):
        if nth:
            time.sleep(row.gone_s)
        _break(scene)
    judged = judge(_over(scene))
    return Enacted(judged, tuple(scene.said()), scene.stood_still())


def _start(scene: Scene) -> None:
    """Whoever answers inside, the witness on our side, and the daemon outside."""
    bench, laboratory, row = scene.bench, scene.laboratory, scene.row
    if row.answers is None:
        start_answering_point(bench, laboratory)
        if scene.scenario.plan.with_v6:
            start_answering_point(bench, laboratory, f"[{INSIDE_V6}]:{SIP_PORT}")
            laboratory.know(
                {
                    f"psap-{number:03d}.example.gov": (
                        f"198.18.0.{number}",
                        f"2001:db8:18::{number:x}",
                    )
                    for number in range(1, PSAPS + 1)
                }
            )
    else:
        start_answering(bench, row.answers, place=laboratory.inside, port=SIP_PORT)
    start_answering(bench, "multipart", place=laboratory.firewall, port=SIP_PORT)
    laboratory.nft("add rule inet bench forward ct state new")  # from now on it keeps state
    scene.start_daemon()


def _over(scene: Scene) -> Played:
    """Wait until what was told is closed, and a little longer."""
    stays_open = any(each.stays_open for each in scene.scenario.expected)
    if not stays_open:
        _wait(scene.all_closed, CLOSED_WITHIN_S)
    time.sleep(QUIET_AFTER_S)
    played = scene.played()
    still_open = [
        f"{told.incident.summary} (still open)"
        for told in played.told
        if told.closed_s is None and not stays_open
    ]
    return replace(played, broken=(*scene.bugs(), *still_open))


def _break(scene: Scene) -> None:
    """Let the fault be there until all is told that must be, and ``stays_s`` longer."""
    expected = scene.scenario.expected
    patience_s = max((each.after + each.within for each in expected), default=0.0)
    with ExitStack() as stack:
        for fault in scene.row.faults:
            stack.enter_context(fault(scene))
        if scene.row.times == 1:
            _wait(lambda: judge(scene.played()).passed, patience_s + PAGING_S + REFINED_S)
        scene.row.meanwhile(scene)
        time.sleep(scene.row.stays_s)


def _wait(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for something; if it does not come, the judge has better words for that."""
    give_up_at = time.monotonic() + within_s
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(LOOK_EVERY_S)


def _scaled(scenario: Scenario, row: Row) -> Scenario:
    """The same scenario for the bench: fewer PSAPs at a faster pace, and nothing less expected."""
    plan = replace(
        scenario.plan,
        psaps=PSAPS,
        attributes=tuple((name, values[:VALUES_MAX]) for name, values in scenario.plan.attributes),
        calls_every_s=scenario.plan.calls_every_s / PACE,
    )
    pace = PACE / len(plan.firewalls)  # the paths to one PSAP take turns
    checks = tuple(
        replace(check, every_s=max(check.give_up_after_s, check.every_s / pace))
        for check in scenario.checks
    )
    assert all(change.keys() <= {"after", "count"} for change in row.expects), row.expects
    changes = (*row.expects, *({} for _ in scenario.expected))
    expected = tuple(
        each.model_copy(update=change)
        for each, change in zip(scenario.expected, changes, strict=False)
    )
    return replace(scenario, plan=plan, checks=checks, expected=expected, faults=(), runs_s=0.0)


def _settings(scene: Scene, webhook: str) -> dict[str, Any]:
    scenario = scene.scenario
    plan = scenario.plan
    [transport] = plan.transports
    source = {"advertise": None, **OURS}
    sources = (*OUTSIDE[:2], OUTSIDE_V6) if plan.with_v6 else OUTSIDE[:2]
    witness = f"sip:witness@{FIREWALL_OUTER}"
    agreed = scene.row.messages_per_second
    limits = {**ROOMY, "messages_per_second": agreed} if agreed else ROOMY
    return {
        "vantage": "boston-a",
        "identity": {"from": "sip:911-path-test@example.net"},
        "store": {"path": "FOLDER/psapwatch.db"},
        "firewalls": {
            name: {
                "sources": [
                    {"address": address, "witness": witness, **source} for address in sources
                ],
                "reference": f"sip:reference@198.{18 + nth}.255.1;transport={transport}",
                "control": {"source": {"address": CONTROL, **source}},
                "limits": limits,
            }
            for nth, name in enumerate(plan.firewalls)
        },
        "checks": {check.name: _check(check) for check in scenario.checks},
        "psaps": [_psap(scene, number, transport) for number in range(1, plan.psaps + 1)],
        "detection": {"clean": print_duration(CLEAN_S)},
        "sinks": [{"kind": "webhook", "url": webhook}],
    }


def _check(check: Check) -> dict[str, Any]:
    settings = check.settings.model_dump(exclude={"kind"}, exclude_defaults=True)
    return {
        "probe": check.settings.kind,
        "every": print_duration(check.every_s),
        "give_up_after": print_duration(check.give_up_after_s),
        "on": check.on,
        "flow": check.flow,
        **{
            name: print_duration(value) if isinstance(value, float) else value
            for name, value in settings.items()
        },
    }


def _psap(scene: Scene, number: int, transport: str) -> dict[str, Any]:
    scenario = scene.scenario
    expected = {} if scene.row.answers else {"expect": {"name": NAME}}
    return {
        **expected,
        "id": f"psap-{number:03d}",
        "name": f"PSAP {number}",
        "attributes": {
            name: values[number % len(values)] for name, values in scenario.plan.attributes
        },
        "paths": [
            {
                "firewall": name,
                "uri": f"sip:psap@psap-{number:03d}.example.gov:{SIP_PORT};transport={transport}"
                if scenario.plan.with_v6
                else f"sip:psap@198.{18 + nth}.0.{number};transport={transport}",
            }
            for nth, name in enumerate(scenario.plan.firewalls)
        ],
        "test_calls": {
            "consent": "lab",
            "every": print_duration(scenario.plan.calls_every_s),
            "short_interval_agreed": True,
            "commissioned": True,
        },
    }


def _page(at: float, incident: Incident) -> Page:
    return Page(at, incident.alertname, frozenset(), incident.severity, {})


def _moment(unix: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(unix)))
