"""Pushes incidents to Alertmanager, API v2 (layer L4).

Alertmanager holds no state for us: an alert lives as long as it is repeated. Open incidents and
the watchdog are repeated every ``repeat`` with ``endsAt`` five minutes ahead, so that a daemon
that has died lets them expire, and the missing watchdog is what calls for help.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, Literal, final

from pydantic import AfterValidator, Field

from psapwatch.duration import Duration
from psapwatch.incident import Incident, Notice
from psapwatch.sinks.base import (
    JSON,
    Delivery,
    Sink,
    SinkSettings,
    Surroundings,
    judge,
    place,
    read_headers,
)

ENDS_AFTER_S: Final = 300.0
"""How far ahead ``endsAt`` lies: ten repeats may get lost before an alert expires."""
RUNBOOKS: Final = "docs/runbooks"
"""Where the pages stand that say what to do, one an alert."""
ALERTS_A_POST_MAX: Final = 50
"""Alerts of one request; the loop that probes goes on between two of them."""
NAMES_MAX: Final = 40
"""Members of a list that an annotation names; then it says how many more there are."""
ANNOTATION_CHARACTERS_MAX: Final = 2_000

LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "CallsBlocked": ("scope", "member", "firewall"),
    "CallsDegraded": ("scope", "member", "firewall"),
    "RedundancyLost": ("psap", "firewall"),
    "Misrouted": ("psap", "firewall"),
    "TestCallUnsafe": ("psap", "firewall"),
    "ProberBlind": (),
    "CertificateExpiring": ("psap", "firewall"),
}
"""The labels of each alert beside alertname, severity, vantage and road. Never the cause:
refining it must not resolve one alert and fire another."""
_ALL: Final = ("scope", "member", "psap", "firewall")
RESERVED: Final = frozenset({"alertname", "severity", "vantage", "road", *_ALL})

Labels = dict[str, str]
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def _own_labels(labels: Labels) -> Labels:
    for name in labels:
        if name in RESERVED:
            raise ValueError(f"label {name} is set by the daemon")
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise ValueError(f"{name[:40]!r} is no label name; letters, digits and '_'")
    return labels


class AlertmanagerSettings(SinkSettings):
    """One Alertmanager, or the members of a cluster, each of which gets every alert."""

    kind: Literal["alertmanager"] = "alertmanager"
    urls: list[str] = Field(min_length=1, description="base URLs; each gets every alert")
    labels: Annotated[Labels, AfterValidator(_own_labels)] = Field(
        default_factory=dict, description="added to every alert: Prometheus's external labels"
    )
    resolve_after: Annotated[Duration, Field(ge=0)] = Field(
        90.0, description="how long after closing an alert is resolved; the metric falls first"
    )
    repeat: Annotated[Duration, Field(gt=0, le=ENDS_AFTER_S / 2)] = Field(
        30.0, description="how often open incidents are pushed again"
    )
    headers_file: str | None = Field(
        None, description="file of `Name: value` lines sent along, such as Authorization"
    )
    runbooks: str = Field(RUNBOOKS, description="folder or URL where the runbooks stand")

    def sinks(self, around: Surroundings) -> Iterable[Sink]:
        """Make one sink a URL, so that one dead Alertmanager holds up no other."""
        file = around.folder / self.headers_file if self.headers_file else None
        headers = read_headers(file)
        return tuple(AlertmanagerSink(url, headers, self, around) for url in self.urls)


@final
class AlertmanagerSink:
    """One Alertmanager."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        settings: AlertmanagerSettings,
        around: Surroundings,
    ) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._headers = {**headers, **JSON}
        self._settings = settings
        self._around = around
        self._watching_since = around.clock.wall()
        self.name = f"alertmanager/{place(url)}"
        self.repeat_s: float | None = settings.repeat

    def due_at(self, notice: Notice) -> float:
        """A resolution comes late, so that the rules' alert has ended before the pushed one."""
        return notice.at + (self._settings.resolve_after if notice.status == "closed" else 0.0)

    async def send(self, notice: Notice) -> Delivery:
        """Fire or resolve one alert."""
        now = self._around.clock.wall()
        if notice.status != "closed":
            return await self._push([self._firing(notice.incident, now)])
        key = _key(notice.incident)
        if any(_key(other) == key for other in self._around.open_now()):
            # Another incident has opened under the same labels: it is the same alert.
            return Delivery(ok=True, detail="still firing for a newer incident")
        return await self._push([self._alert(notice.incident, ends_at=now)])

    async def repeat(self) -> Delivery:
        """Push the watchdog and all that is open."""
        now = self._around.clock.wall()
        delivery = await self._push([self._watchdog(now)])
        open_now = {_key(incident): incident for incident in self._around.open_now()}
        incidents = iter(open_now.values())
        while delivery.ok and (some := list(islice(incidents, ALERTS_A_POST_MAX))):
            delivery = await self._push([self._firing(incident, now) for incident in some])
        return delivery

    async def _push(self, alerts: Sequence[Mapping[str, Any]]) -> Delivery:
        body = json.dumps(alerts, default=str).encode()
        return judge(await self._around.post.post(self._url, body, self._headers))

    def _firing(self, incident: Incident, now: float) -> dict[str, Any]:
        return self._alert(incident, ends_at=now + ENDS_AFTER_S)

    def _alert(self, incident: Incident, *, ends_at: float) -> dict[str, Any]:
        starts_at = incident.first_failure_at
        return {
            "labels": self._labels(incident),
            "annotations": annotations_of(incident, self._settings.runbooks),
            "startsAt": stamp(starts_at),
            "endsAt": stamp(max(starts_at, ends_at)),
        }

    def _watchdog(self, now: float) -> dict[str, Any]:
        return {
            "labels": self._pushed("Watchdog", "none"),
            "annotations": {
                "summary": f"psapwatch at {self._around.vantage} is alive: this alert always fires,"
                " and its silence is what must be noticed",
                "runbook_url": _runbook(self._settings.runbooks, "Watchdog"),
            },
            "startsAt": stamp(min(self._watching_since, now)),
            "endsAt": stamp(now + ENDS_AFTER_S),
        }

    def _labels(self, incident: Incident) -> Labels:
        labels = self._pushed(incident.alertname, incident.severity)
        for name in LABELS.get(incident.alertname, _ALL):
            value = str(getattr(incident, name))
            if value:  # Alertmanager takes an empty label for a missing one, and drops it
                labels[name] = value
        return labels

    def _pushed(self, alertname: str, severity: str) -> Labels:
        own = {"alertname": alertname, "severity": severity, "vantage": self._around.vantage}
        return {**self._settings.labels, **own, "road": "push"}


def _key(incident: Incident) -> tuple[str, ...]:
    """Return what tells one alert from another, in the order of its labels."""
    names = LABELS.get(incident.alertname, _ALL)
    return (incident.alertname, incident.severity, *(getattr(incident, name) for name in names))


def annotations_of(incident: Incident, runbooks: str) -> Labels:
    """Return what people read of an incident; every text is bounded."""
    texts = {
        "summary": incident.summary,
        "cause": incident.cause.value,
        "evidence": _lines(incident.evidence | _flapping(incident)),
        "affected": _names(incident.affected),
        "unaffected": _names(incident.unaffected),
        "untested": _names(incident.untested),
        "since": stamp(incident.first_failure_at),
        "changes": "\n".join(incident.started_after),
        "incident_id": incident.id,
        "runbook_url": _runbook(runbooks, incident.alertname),
    }
    return {name: _cut(text) for name, text in texts.items()}


def stamp(at: float) -> str:
    """Return a wall time as RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _runbook(runbooks: str, alertname: str) -> str:
    return f"{runbooks.rstrip('/')}/{alertname}.md"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_MAX])
    more = len(names) - NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _flapping(incident: Incident) -> dict[str, int]:
    return {"state changes": incident.changes} if incident.changes else {}


def _lines(evidence: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in evidence.items()
    )


def _cut(text: str) -> str:
    if len(text) <= ANNOTATION_CHARACTERS_MAX:
        return text
    return text[: ANNOTATION_CHARACTERS_MAX - 1] + "…"
