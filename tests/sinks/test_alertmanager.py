"""What Alertmanager is pushed: labels, annotations, repeats and late resolutions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from psapwatch.incident import Incident, Notice
from psapwatch.simulator.alertmanager import FakeAlertmanager
from psapwatch.simulator.loop import run
from psapwatch.simulator.world import EPOCH, SimulatedClock
from psapwatch.sinks import AnySink
from psapwatch.sinks.alertmanager import (
    ALERTS_A_POST_MAX,
    ANNOTATION_CHARACTERS_MAX,
    ENDS_AFTER_S,
    LABELS,
    AlertmanagerSettings,
    annotations_of,
)
from psapwatch.sinks.base import Surroundings, open_sinks
from psapwatch.store.store import Store
from psapwatch.verdict import Cause
from sinks.lanes import memory, serving
from store.material import incident

SETTINGS = AlertmanagerSettings(urls=["http://127.0.0.1:9093"], labels={"site": "boston"})
PUSHED = {"vantage": "boston-a", "road": "push", "site": "boston"}


class Scene:
    """A store, its outbox, and a fake Alertmanager at the other end."""

    def __init__(self, settings: AlertmanagerSettings = SETTINGS) -> None:
        self.clock = SimulatedClock()
        self.post = FakeAlertmanager(self.clock)
        self.store: Store = memory()
        around = Surroundings("boston-a", self.clock, self.post, self.store.open_now)
        self.sinks = open_sinks([settings], around)

    def opens(self, number: int = 1, **more: Any) -> Incident:
        """Open an incident now."""
        wall = self.clock.wall()
        now = incident(number, opened_at=wall, first_failure_at=wall - 8, **more)
        return self.tell("open", now)

    def closes(self, open_: Incident) -> Incident:
        """Close an incident now."""
        return self.tell("closed", replace(open_, closed_at=self.clock.wall()))

    def tell(self, status: Any, now: Incident) -> Incident:
        """Save an incident and tell all sinks."""
        notice = Notice(status, now, self.clock.wall())
        self.store.save_incident(now, [(sink.name, notice) for sink in self.sinks])
        return now

    def labels(self) -> list[dict[str, str]]:
        """The labels of what fires now, the watchdog apart."""
        alerts = self.post.firing().values()
        return [alert.labels for alert in alerts if alert.name != "Watchdog"]


def play(scene: Coroutine[None, None, None]) -> None:
    """Run a scene in simulated time."""
    run(scene)


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        (
            {"alertname": "CallsBlocked"},
            {"scope": "firewall", "member": "fw-east", "firewall": "fw-east"},
        ),
        (
            {"alertname": "CallsBlocked", "scope": "county", "member": "Suffolk", "firewall": ""},
            {"scope": "county", "member": "Suffolk"},
        ),
        (
            {"alertname": "CallsDegraded", "severity": "ticket"},
            {"scope": "firewall", "member": "fw-east", "firewall": "fw-east"},
        ),
        (
            {"alertname": "RedundancyLost", "severity": "ticket", "psap": "ma-boston"},
            {"psap": "ma-boston", "firewall": "fw-east"},
        ),
        (
            {"alertname": "Misrouted", "psap": "ma-boston"},
            {"psap": "ma-boston", "firewall": "fw-east"},
        ),
        (
            {"alertname": "TestCallUnsafe", "psap": "ma-boston"},
            {"psap": "ma-boston", "firewall": "fw-east"},
        ),
        ({"alertname": "ProberBlind", "scope": "vantage", "member": "boston-a"}, {}),
        (
            {"alertname": "CertificateExpiring", "severity": "ticket", "psap": "ma-boston"},
            {"psap": "ma-boston", "firewall": "fw-east"},
        ),
    ],
    ids=lambda value: value.get("alertname") if isinstance(value, dict) else None,
)
def test_labels_are_the_contracts(fields: dict[str, Any], labels: dict[str, str]) -> None:
    """Each alert has exactly the labels of the contract's table, and never its cause."""

    async def scene() -> None:
        watched = Scene()
        async with serving(watched.store, *watched.sinks):
            opened = watched.opens(**fields)
            await asyncio.sleep(1)
            own = {"alertname": opened.alertname, "severity": opened.severity}
            assert watched.labels() == [PUSHED | own | labels]

    play(scene())


def test_every_alert_of_the_contract_has_its_labels() -> None:
    """The table names each incident's alert; the watchdog is no incident."""
    assert set(LABELS) == {
        *("CallsBlocked", "CallsDegraded", "RedundancyLost", "Misrouted"),
        *("TestCallUnsafe", "ProberBlind", "CertificateExpiring"),
    }


def test_annotations_say_what_was_measured() -> None:
    """People read summary, cause, evidence, who is affected, since when, and what to do."""
    opened = incident(
        first_failure_at=EPOCH + 0.25,
        started_after=("40 s after change CHG-123 by NOC",),
        affected=tuple(f"ma-{n}" for n in range(204)),
        unaffected=("ma-west",),
        evidence={"failed": 10, "tried": 10, "control": "pass", "walk": ["fw-east", None]},
    )
    texts = annotations_of(opened, "https://wiki.example.net/911/")
    assert texts["affected"].startswith("ma-0, ma-1, ")
    assert texts.pop("affected").endswith("ma-39 and 164 more")
    assert texts == {
        "summary": "10 of 10 test calls through fw-east failed",
        "cause": "calls_blocked",
        "evidence": 'failed: 10\ntried: 10\ncontrol: pass\nwalk: ["fw-east", null]',
        "unaffected": "ma-west",
        "untested": "",
        "since": "2024-06-18T04:00:00.250+00:00",
        "changes": "40 s after change CHG-123 by NOC",
        "incident_id": "incident-1",
        "runbook_url": "https://wiki.example.net/911/CallsBlocked.md",
    }


def test_no_annotation_grows_without_bound() -> None:
    """However much was measured, an annotation is cut, and says so."""
    huge = incident(summary="x" * 9_999, evidence={f"row-{n}": "y" * 99 for n in range(999)})
    for name, text in annotations_of(huge, "docs").items():
        assert len(text) <= ANNOTATION_CHARACTERS_MAX, name
    assert annotations_of(huge, "docs")["summary"].endswith("…")


def test_the_watchdog_always_fires_and_dies_with_the_daemon() -> None:
    """The dead-man's switch is pushed every 30 s; five minutes after the last one it is silent."""

    async def scene() -> None:
        watched = Scene()
        async with serving(watched.store, *watched.sinks):
            for _ in range(20):
                await asyncio.sleep(30)
                [alert] = watched.post.firing().values()
                assert alert.labels == PUSHED | {"alertname": "Watchdog", "severity": "none"}
        assert len(watched.post.told) == 1
        await asyncio.sleep(ENDS_AFTER_S - 31)
        assert watched.post.firing()
        await asyncio.sleep(32)
        assert not watched.post.firing()

    play(scene())


def test_an_open_incident_is_one_alert_for_hours() -> None:
    """Repeats keep it firing, changes of cause and count included; nobody is told twice."""

    async def scene() -> None:
        watched = Scene()
        async with serving(watched.store, *watched.sinks):
            opened = watched.opens()
            await asyncio.sleep(3_600)
            watched.tell("changed", replace(opened, cause=Cause.INVITE_BLOCKED, changes=4))
            await asyncio.sleep(1)
            [alert] = [each for each in watched.post.firing().values() if each.name != "Watchdog"]
            assert alert.annotations["cause"] == "invite_blocked"
            assert alert.annotations["evidence"].endswith("state changes: 4")
            await asyncio.sleep(3_600)
        assert [page.name for page in watched.post.pages] == ["CallsBlocked"]

    play(scene())


def test_the_resolution_comes_after_the_metric_has_fallen() -> None:
    """A closed incident's alert goes on firing for ``resolve_after`` and then resolves."""

    async def scene() -> None:
        watched = Scene()
        async with serving(watched.store, *watched.sinks):
            opened = watched.opens()
            await asyncio.sleep(100)
            watched.closes(opened)
            await asyncio.sleep(89)
            assert len(watched.labels()) == 1
            await asyncio.sleep(2)
            assert watched.labels() == []
        assert [page.at - EPOCH for page in watched.post.resolved] == [190.0]

    play(scene())


def test_an_incident_that_returns_is_not_resolved_by_the_old_one() -> None:
    """When the same thing fails again before the resolution is due, its alert goes on firing."""

    async def scene() -> None:
        watched = Scene()
        async with serving(watched.store, *watched.sinks):
            first = watched.opens(1)
            await asyncio.sleep(10)
            watched.closes(first)
            await asyncio.sleep(60)
            second = watched.opens(2)
            await asyncio.sleep(600)
            assert len(watched.labels()) == 1
            assert watched.post.resolved == []
            watched.closes(second)
            await asyncio.sleep(100)
            assert watched.labels() == []
        assert len(watched.post.pages) == 1

    play(scene())


def test_each_url_gets_every_alert_however_the_others_fare() -> None:
    """The members of a cluster are told apart: a dead one holds up no other."""

    class HalfDead(FakeAlertmanager):
        async def post(self, url: str, body: bytes, headers: Any) -> Any:
            self.down = "dead" in url
            return await super().post(url, body, headers)

    async def scene() -> None:
        watched = Scene(AlertmanagerSettings(urls=["http://dead:9093", "http://live:9093/am/"]))
        assert [sink.name for sink in watched.sinks] == [
            "alertmanager/dead:9093",
            "alertmanager/live:9093",
        ]
        watched.post.__class__ = HalfDead
        async with serving(watched.store, *watched.sinks):
            for number in range(3):
                watched.opens(number, member=f"fw-{number}", firewall=f"fw-{number}")
            await asyncio.sleep(1)
            assert len(watched.labels()) == 3
            assert watched.store.pending_count("alertmanager/dead:9093") == 3
            assert watched.store.pending_count("alertmanager/live:9093") == 0

    play(scene())


def test_thousands_of_incidents_are_pushed_a_few_at_a_time() -> None:
    """Repeats of a mass outage are split into posts that never hold the loop for long."""

    async def scene() -> None:
        watched = Scene()
        many = 5 * ALERTS_A_POST_MAX + 1
        for number in range(many):
            watched.store.save_incident(
                incident(number, alertname="RedundancyLost", psap=f"ma-{number}")
            )
        async with serving(watched.store, *watched.sinks):
            await asyncio.sleep(1)
        assert len(watched.labels()) == many
        assert watched.post.posts == 1 + 6

    play(scene())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"urls": []}, "at least 1 item"),
        ({"labels": {"severity": "page"}}, "label severity is set by the daemon"),
        ({"labels": {"my-site": "x"}}, "'my-site' is no label name"),
        ({"labels": {"__name__": "x"}}, "is no label name"),
        ({"repeat": "5m"}, "less than or equal to 150"),
        ({"repeat": "soon"}, "is no duration"),
        ({"resolve_after": 90}, "must be a whole number and a unit"),
        ({"url": "http://127.0.0.1:9093"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], words: str) -> None:
    """Each mistake in the settings is named."""
    plain = {"kind": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
    with pytest.raises(ValidationError, match=words):
        TypeAdapter[object](AnySink).validate_python(plain | wrong)


def test_settings_are_read_as_written() -> None:
    """Durations arrive as text and become seconds."""
    plain = {
        "kind": "alertmanager",
        "urls": ["http://127.0.0.1:9093"],
        "resolve_after": "2m",
        "repeat": "500ms",
    }
    settings = TypeAdapter[object](AnySink).validate_python(plain)
    assert isinstance(settings, AlertmanagerSettings)
    assert (settings.resolve_after, settings.repeat) == (120.0, 0.5)


def test_one_place_is_told_by_one_sink() -> None:
    """Two sinks for the same place are a mistake, named without paths or secrets."""

    async def scene() -> None:
        with pytest.raises(ValueError, match=r"told twice: alertmanager/127\.0\.0\.1:9093; one"):
            Scene(AlertmanagerSettings(urls=["http://127.0.0.1:9093", "http://127.0.0.1:9093/"]))

    play(scene())
