"""Daemon, Prometheus and Alertmanager together: one failure is one page, by whichever road.

The shipped configurations run, in seconds instead of minutes. As on 18 June 2024, OPTIONS are
answered throughout while calls are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import pytest

from components.daemon import Daemon
from components.inbox import Inbox, fetch, open_inbox
from components.monitoring import Alertmanager
from components.ports import free_port
from components.process import Bench, program
from components.waiting import until
from components.watching import FIREWALL, watching
from deploy.shipped import ALERTMANAGER, PROMETHEUS
from deploy.towns import Towns, open_towns

PSAPS: Final = 4
CLEAN_S: Final = 2
RESOLVE_AFTER_S: Final = 5
"""Longer than a scrape, an evaluation and ``keep_firing_for`` together, as 90 s are in earnest."""
PAGED_WITHIN_S: Final = 25.0
RESOLVED_WITHIN_S: Final = 60.0
"""A silent INVITE is listened to for 64*T1 = 32 s before its PSAP is called again."""
WELL: Final = "bye_after_100_ms"
QUIET_S: Final = 2.5
"""Several evaluations and group intervals: what was not told by then is not told."""
BLOCKED: Final = {
    "alertname": "CallsBlocked",
    "severity": "page",
    "vantage": "bench",
    "scope": "firewall",
    "member": FIREWALL,
    "firewall": FIREWALL,
}


Told = list[tuple[str, list[dict[str, str]]]]


@dataclass(frozen=True, slots=True)
class Pager:
    """An Alertmanager as shipped, and what people were told by it."""

    manager: Alertmanager
    inbox: Inbox

    def told(self, path: str = "/page") -> Told:
        """What the receiver at a path was told: status, and the labels of the alerts."""
        posts: list[dict[str, Any]] = [
            posted.json() for posted in self.inbox.posted if posted.path == path
        ]
        return [(post["status"], [alert["labels"] for alert in post["alerts"]]) for post in posts]

    def alive(self) -> set[str]:
        """Which watchdogs the dead-man's switch has heard."""
        return {alert["alertname"] for _status, alerts in self.told("/alive") for alert in alerts}

    def roads(self) -> dict[str, str]:
        """By which roads the alert is known, and whether it is active or suppressed."""
        return {
            alert["labels"]["road"]: alert["status"]["state"]
            for alert in self.manager.alerts("CallsBlocked")
        }

    def says_no_more(self) -> None:
        """Nothing else is told for a while."""
        count = len(self.told())
        with pytest.raises(AssertionError, match="another word"):
            until(lambda: len(self.told()) > count, QUIET_S, "another word")


def by(road: str) -> dict[str, str]:
    """Return the alert's labels as they come by one road."""
    return BLOCKED | {"road": road}


@pytest.fixture
def towns() -> Iterator[Towns]:
    """Some answering points."""
    with open_towns(PSAPS) as towns:
        yield towns


@pytest.fixture
def pager(alertmanager: Callable[..., Alertmanager]) -> Iterator[Callable[[], Pager]]:
    """Alertmanagers, each with an inbox of its own."""
    with ExitStack() as stack:

        def start() -> Pager:
            inbox = stack.enter_context(open_inbox())
            return Pager(alertmanager(config_text=_hurried_alertmanager(inbox)), inbox)

        yield start


def _watched(towns: Towns, manager: Alertmanager, **more: Any) -> str:
    """Return a configuration that watches the towns and pushes to an Alertmanager."""
    sink = {"kind": "alertmanager", "urls": [manager.url], "repeat": "1s"}
    return watching(
        towns.uris,
        detection={"clean": f"{CLEAN_S}s"},
        sinks=[sink | {"resolve_after": f"{RESOLVE_AFTER_S}s"}],
        **more,
    )


def _all_pass(watch: Daemon, check: str) -> None:
    watch.wait_for(
        lambda: watch.total("psapwatch_path_up", {"check": check}) == PSAPS, 15, "all pass"
    )


def _hurried_alertmanager(inbox: Inbox) -> str:
    text = ALERTMANAGER.read_text(encoding="utf-8").replace("http://127.0.0.1:9095", inbox.url)
    return re.sub(r"(group_wait|group_interval): \d+[sm]", r"\1: 1s", text)


def _start_prometheus(bench: Bench, watch: Daemon, manager: Alertmanager) -> str:
    """Run the shipped prometheus.yml and its rules on our targets, every second."""
    folder = bench.new_folder("prometheus")
    for name in ("recording.yml", "alerts.yml"):
        text = (PROMETHEUS / name).read_text(encoding="utf-8")
        hurried = text.replace("keep_firing_for: 30s", "keep_firing_for: 2s")
        (folder / name).write_text(hurried, encoding="utf-8")
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8").replace("15s", "1s")
    text = text.replace("127.0.0.1:9911", urlsplit(watch.base_url).netloc)
    text = text.replace("127.0.0.1:9093", urlsplit(manager.url).netloc)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={urlsplit(url).netloc}",
        "--enable-feature=exemplar-storage",
        "--rules.alert.resend-delay=1s",  # what it says before it knows Alertmanager is lost
    ]
    running = bench.start("prometheus", argv, folder=folder)
    running.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready")
    return url


@pytest.mark.timeout(120)
def test_both_roads_are_one_notification(
    bench: Bench, daemon: Callable[..., Daemon], pager: Callable[[], Pager], towns: Towns
) -> None:
    """The pushed and the derived alert are one page, and their end is one resolution."""
    people = pager()
    watch = daemon(_watched(towns, people.manager))
    prometheus = _start_prometheus(bench, watch, people.manager)
    _all_pass(watch, "test-call")
    until(lambda: people.alive() == {"Watchdog", "PrometheusWatchdog"}, 10, "both watchdogs")
    assert people.told() == []

    towns.play("invite_silence")
    watch.wait_for(people.told, PAGED_WITHIN_S, "the page")
    both = {"push": "active", "rules": "suppressed"}
    until(lambda: people.roads() == both, 10, "both roads arrive, and one is quiet")
    people.says_no_more()
    assert people.told() == [("firing", [by("push")])]

    towns.play(WELL)
    watch.wait_for(lambda: not people.roads(), RESOLVED_WITHIN_S, "the end of both")
    until(lambda: len(people.told()) > 1, 5, "the resolution")
    people.says_no_more()
    [(_firing, _alerts), (status, ended)] = people.told()
    assert status == "resolved"
    assert by("push") in ended  # its twin may stand beside it: Prometheus repeats that it is over
    assert all(alert in (by("push"), by("rules")) for alert in ended)
    assert people.told("/ticket") == []
    assert _exemplars(prometheus), "no call is named beside its latency"


@pytest.mark.timeout(120)
def test_either_road_alone_pages(
    bench: Bench, daemon: Callable[..., Daemon], pager: Callable[[], Pager], towns: Towns
) -> None:
    """Without Prometheus, and without the push, one page comes all the same, and its end.

    One outage, told to two people: to the first by the daemon alone, to the second by Prometheus.
    """
    by_push, by_rules = pager(), pager()
    watch = daemon(_watched(towns, by_push.manager, call=None))
    _start_prometheus(bench, watch, by_rules.manager)
    _all_pass(watch, "keepalive")
    until(lambda: by_rules.alive() == {"PrometheusWatchdog"}, 10, "the rules' watchdog")

    towns.play("silence")
    for people, road in ((by_push, "push"), (by_rules, "rules")):
        watch.wait_for(people.told, PAGED_WITHIN_S, f"the page by {road}")
    towns.play(WELL)
    for people, road in ((by_push, "push"), (by_rules, "rules")):
        watch.wait_for(lambda: len(people.told()) > 1, RESOLVED_WITHIN_S, f"its end by {road}")  # noqa: B023 - waited for at once
    by_rules.says_no_more()
    for people, road in ((by_push, "push"), (by_rules, "rules")):
        assert people.told() == [("firing", [by(road)]), ("resolved", [by(road)])]
        assert people.told("/ticket") == []
    assert by_push.alive() == {"Watchdog"}
    assert by_rules.alive() == {"PrometheusWatchdog"}


def _exemplars(url: str) -> set[str]:
    """The calls that Prometheus can name."""
    asked = {
        "query": "psapwatch_response_duration_seconds_bucket",
        "start": 0,
        "end": 1e11,
    }
    found = fetch(f"{url}/api/v1/query_exemplars?{urlencode(asked)}").json()["data"]
    return {each["labels"]["call_id"] for series in found for each in series["exemplars"]}
