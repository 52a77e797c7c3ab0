"""A real Alertmanager takes what the daemon pushes, and tells people once."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from components.inbox import Inbox
from components.monitoring import Alertmanager
from components.process import program
from components.waiting import until
from psapwatch.incident import Incident, Notice, Status
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import HttpPost
from psapwatch.sinks.alertmanager import AlertmanagerSettings
from psapwatch.sinks.base import Surroundings, open_sinks
from psapwatch.sinks.outbox import Outbox
from psapwatch.store.runner import WriterThread
from psapwatch.store.store import Store
from psapwatch.verdict import Cause

SHIPPED: Final = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"
VANTAGE: Final = "boston-a"
RESOLVE_AFTER_S: Final = 1.0
BLOCKED: Final = {
    "alertname": "CallsBlocked",
    "severity": "page",
    "vantage": VANTAGE,
    "road": "push",
    "scope": "firewall",
    "member": "fw-east",
    "firewall": "fw-east",
}


def shipped(inbox: Inbox) -> str:
    """Return the shipped configuration, telling our inbox, and in seconds instead of minutes."""
    text = SHIPPED.read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:9095", inbox.url)
    text = re.sub(r"group_wait: 10s", "group_wait: 1s", text)
    return re.sub(r"group_interval: 1m", "group_interval: 1s", text)


def blocked(number: int = 1, **more: Any) -> Incident:
    """Return an incident of a blocked firewall that opens now."""
    now = SystemClock().wall()
    fields: dict[str, Any] = {
        "id": f"incident-{number}",
        "alertname": "CallsBlocked",
        "severity": "page",
        "vantage": VANTAGE,
        "scope": "firewall",
        "member": "fw-east",
        "psap": "",
        "firewall": "fw-east",
        "cause": Cause.CALLS_BLOCKED,
        "summary": "10 of 10 test calls through fw-east failed",
        "opened_at": now,
        "first_failure_at": now - 8,
        "affected": tuple(f"ma-{n}" for n in range(204)),
        "evidence": {"failed": 10, "tried": 10},
    }
    return Incident(**(fields | more))


class Pushing:
    """A store and its outbox, telling real Alertmanagers."""

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self.store = store
        self._outbox = outbox

    def tell(self, status: Status, incident: Incident) -> None:
        """Save an incident and have it told."""
        notice = Notice(status, incident, SystemClock().wall())
        self.store.save_incident(incident, [(name, notice) for name in self._outbox.names])

    def close(self, incident: Incident) -> None:
        """Close an incident now."""
        self.tell("closed", replace(incident, closed_at=SystemClock().wall()))


def push(database: Path, urls: list[str], scene: Callable[[Pushing], Awaitable[None]]) -> None:
    """Run a scene beside a delivering outbox."""

    async def run() -> None:
        store, post, clock = Store(database, WriterThread()), HttpPost(), SystemClock()
        settings = AlertmanagerSettings(urls=urls, resolve_after=RESOLVE_AFTER_S, repeat=0.5)
        around = Surroundings(VANTAGE, clock, post, store.open_now)
        outbox = Outbox(store, open_sinks([settings], around), clock)
        delivering = asyncio.create_task(outbox.run())
        try:
            await scene(Pushing(store, outbox))
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            await post.close()
            await store.close()

    asyncio.run(run())


async def eventually(condition: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    """Wait beside the running loop."""
    await asyncio.to_thread(until, condition, within_s, what)


def told(inbox: Inbox, path: str) -> list[tuple[str, list[dict[str, str]]]]:
    """What the receivers of a path were told: status, and the labels of the alerts."""
    posts = [posted.json() for posted in inbox.posted if posted.path == path]
    return [(post["status"], [alert["labels"] for alert in post["alerts"]]) for post in posts]


def test_the_shipped_configuration_is_accepted() -> None:
    """Alertmanager's own checker finds nothing wrong with the example that is shipped."""
    done = subprocess.run(
        [program("amtool"), "check-config", str(SHIPPED)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=CallsBlocked", "severity=page"], "page"),
        (["alertname=RedundancyLost", "severity=ticket"], "ticket"),
        (["alertname=Watchdog", "severity=none"], "dead-mans-switch"),
        (["alertname=PrometheusWatchdog"], "dead-mans-switch"),
    ],
)
def test_the_shipped_configuration_routes(labels: list[str], receiver: str) -> None:
    """Pages page, tickets are filed, and both watchdogs reach the dead-man's switch."""
    done = subprocess.run(
        [program("amtool"), "config", "routes", "test", f"--config.file={SHIPPED}", *labels],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == receiver


def test_an_incident_pages_once_and_resolves(
    alertmanager: Callable[..., Alertmanager], inbox: Inbox, tmp_path: Path
) -> None:
    """From the push to the pager: one notification with the contract's labels, one resolution."""
    running = alertmanager(config_text=shipped(inbox))

    async def scene(pushing: Pushing) -> None:
        incident = blocked()
        pushing.tell("open", incident)
        await eventually(lambda: told(inbox, "/page"), "the page")
        pushing.tell("changed", replace(incident, cause=Cause.INVITE_BLOCKED, changes=1))
        await asyncio.sleep(2)
        [alert] = running.alerts("CallsBlocked")
        assert alert["labels"] == BLOCKED
        assert alert["annotations"]["cause"] == "invite_blocked"
        assert alert["annotations"]["incident_id"] == "incident-1"
        assert alert["annotations"]["affected"].endswith("and 164 more")
        pushing.close(incident)
        await eventually(lambda: len(told(inbox, "/page")) > 1, "the resolution")
        assert told(inbox, "/page") == [("firing", [BLOCKED]), ("resolved", [BLOCKED])]

    push(tmp_path / "psapwatch.db", [running.url], scene)
    assert told(inbox, "/ticket") == []
    watchdog = {"alertname": "Watchdog", "severity": "none", "vantage": VANTAGE, "road": "push"}
    assert told(inbox, "/alive")[0] == ("firing", [watchdog])


def test_both_roads_page_once(
    alertmanager: Callable[..., Alertmanager], inbox: Inbox, tmp_path: Path
) -> None:
    """The same alert from the rules is inhibited by the pushed one, and so are its consequences."""
    running = alertmanager(config_text=shipped(inbox))
    behind = {"scope": "psap", "member": "ma-boston", "psap": "ma-boston"}

    async def scene(pushing: Pushing) -> None:
        pushing.tell("open", blocked())
        await eventually(lambda: running.alerts("CallsBlocked"), "the push")
        running.post(
            {"labels": BLOCKED | {"road": "rules"}},
            {"labels": BLOCKED | behind},
            {
                "labels": BLOCKED
                | {"alertname": "RedundancyLost", "severity": "ticket", "psap": "ma-boston"}
            },
        )
        await eventually(lambda: told(inbox, "/page"), "the page")
        await asyncio.sleep(3)
        states = {alert["status"]["state"] for alert in running.alerts("RedundancyLost")}
        assert states == {"suppressed"}

    push(tmp_path / "psapwatch.db", [running.url], scene)
    assert told(inbox, "/page") == [("firing", [BLOCKED])]
    assert told(inbox, "/ticket") == []


def test_the_rules_alone_page_too(alertmanager: Callable[..., Alertmanager], inbox: Inbox) -> None:
    """With the daemon's push lost, the alert from Prometheus's rules pages by itself."""
    running = alertmanager(config_text=shipped(inbox))
    running.post({"labels": BLOCKED | {"road": "rules"}})
    until(lambda: told(inbox, "/page"), 10, "the page")
    assert told(inbox, "/page") == [("firing", [BLOCKED | {"road": "rules"}])]


def test_a_restarted_daemon_neither_pages_again_nor_forgets(
    alertmanager: Callable[..., Alertmanager], inbox: Inbox, tmp_path: Path
) -> None:
    """In mid-outage the next process goes on repeating, and resolves what the first one opened."""
    running = alertmanager(config_text=shipped(inbox))
    database = tmp_path / "psapwatch.db"
    incident = blocked()

    async def first(pushing: Pushing) -> None:
        pushing.tell("open", incident)
        await eventually(lambda: told(inbox, "/page"), "the page")

    async def second(pushing: Pushing) -> None:
        before = running.alerts("CallsBlocked")[0]["updatedAt"]
        await eventually(
            lambda: running.alerts("CallsBlocked")[0]["updatedAt"] != before, "a repeat"
        )
        pushing.close(pushing.store.open_now()[0])
        await asyncio.sleep(0.2)

    async def third(_pushing: Pushing) -> None:
        await eventually(lambda: len(told(inbox, "/page")) > 1, "the resolution")

    for scene in (first, second, third):
        push(database, [running.url], scene)
    assert told(inbox, "/page") == [("firing", [BLOCKED]), ("resolved", [BLOCKED])]


def test_a_dead_member_of_the_cluster_holds_nothing_up(
    alertmanager: Callable[..., Alertmanager], inbox: Inbox, tmp_path: Path
) -> None:
    """With one of two Alertmanagers down, the other one pages at once; the first hears later."""
    dead, live = alertmanager(), alertmanager(config_text=shipped(inbox))
    dead.running.end()

    async def scene(pushing: Pushing) -> None:
        pushing.tell("open", blocked())
        await eventually(lambda: live.alerts("CallsBlocked"), "the push", 3.0)
        names = [f"alertmanager/{each.url.removeprefix('http://')}" for each in (dead, live)]
        assert [pushing.store.pending_count(name) for name in names] == [1, 0]

    push(tmp_path / "psapwatch.db", [dead.url, live.url], scene)


def test_alertmanager_refuses_nothing_that_we_push(
    alertmanager: Callable[..., Alertmanager], tmp_path: Path
) -> None:
    """Long lists, odd characters and thousands of incidents are all taken."""
    running = alertmanager()

    async def scene(pushing: Pushing) -> None:
        for number in range(500):
            pushing.tell(
                "open",
                blocked(
                    number,
                    alertname="RedundancyLost",
                    severity="ticket",
                    psap=f"ma-{number}",
                    summary='ü " \\ \n' * 900,
                    evidence={"walk": ["fw-east"] * 900},
                ),
            )
        await eventually(lambda: len(running.alerts("RedundancyLost")) == 500, "all", 30.0)
        assert pushing.store.losses == {}

    push(tmp_path / "psapwatch.db", [running.url], scene)
