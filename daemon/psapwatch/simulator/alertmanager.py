"""A fake Alertmanager (API v2) that remembers who was paged, and when (layer L3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from psapwatch.world import Clock, Reply

POSTS_MAX: Final = 100_000
ALERTS_PATH: Final = "/api/v2/alerts"
RESOLVE_S: Final = 300.0
"""Alertmanager's resolve_timeout, for an alert without ``endsAt``."""

Labels = frozenset[tuple[str, str]]


@dataclass(slots=True)
class Alert:
    """One alert by its labels, as last posted; times are Unix seconds."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    ends_at: float
    first_at: float
    """When this firing was first posted."""

    @property
    def name(self) -> str:
        """Its alertname."""
        return self.labels.get("alertname", "")


class Page(NamedTuple):
    """An alert that began to fire: what a human would be told, once."""

    at: float
    name: str
    labels: Labels
    severity: str
    annotations: dict[str, str]


class FakeAlertmanager:
    """``world.Post``: keeps alerts by their labels; other URLs are kept as webhook bodies."""

    def __init__(self, clock: Clock) -> None:
        self.down = False
        """Nobody answers: every post fails."""
        self.status = 200
        """What is answered; 500 and its like keep nothing."""
        self.told: list[Page] = []
        """Every beginning of a firing, oldest first."""
        self.resolved: list[Page] = []
        """Every end that was posted, oldest first."""
        self.webhooks: list[tuple[float, str, Any]] = []
        self.posts = 0
        self._clock = clock
        self._alerts: dict[Labels, Alert] = {}

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - the port's signature
    ) -> Reply:
        """As ``world.Post.post``."""
        if self.down:
            return Reply(0, "connection refused")
        self.posts += 1
        assert self.posts < POSTS_MAX, "somebody posts without end"
        if self.status >= 300:
            return Reply(self.status, "simulated failure")
        try:
            plain = json.loads(body)
            if url.endswith(ALERTS_PATH):
                for alert in plain:
                    self._take(alert)
            else:
                self.webhooks.append((self._clock.wall(), url, plain))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply(400, str(error))
        return Reply(self.status)

    def firing(self, now: float | None = None) -> dict[Labels, Alert]:
        """Alerts that fire at a wall time (default: now), by their labels."""
        now = self._clock.wall() if now is None else now
        return {labels: alert for labels, alert in self._alerts.items() if alert.ends_at > now}

    def names(self) -> set[str]:
        """Alertnames that fire now, the dead-man's switch apart."""
        return {alert.name for alert in self.firing().values()} - {"Watchdog"}

    @property
    def pages(self) -> list[Page]:
        """What somebody was woken for, oldest first."""
        return [page for page in self.told if page.severity == "page"]

    def _take(self, posted: dict[str, Any]) -> None:
        labels = {str(name): str(value) for name, value in posted["labels"].items() if value != ""}
        if not labels.get("alertname"):
            message = "an alert needs an alertname"
            raise ValueError(message)
        now = self._clock.wall()
        starts_at = _unix(posted.get("startsAt"), now)
        ends_at = _unix(posted.get("endsAt"), now + RESOLVE_S)
        if starts_at > ends_at:
            message = "startsAt after endsAt"
            raise ValueError(message)
        key = frozenset(labels.items())
        annotations = {str(k): str(v) for k, v in posted.get("annotations", {}).items()}
        known = self._alerts.get(key)
        was_firing = known is not None and known.ends_at > now
        page = Page(now, labels["alertname"], key, labels.get("severity", ""), annotations)
        if ends_at > now and not was_firing:
            self.told.append(page)
        elif ends_at <= now and was_firing:
            self.resolved.append(page)
        first_at = known.first_at if known is not None and was_firing else now
        self._alerts[key] = Alert(labels, annotations, starts_at, ends_at, first_at)


def _unix(text: str | None, otherwise: float) -> float:
    return datetime.fromisoformat(text).timestamp() if text else otherwise
