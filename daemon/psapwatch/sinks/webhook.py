"""Posts each notice to a URL, as ``deploy/webhook.schema.json`` describes it (layer L4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, final

from pydantic import Field

from psapwatch.incident import Notice, to_json
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

VERSION: Final = "1"
"""Of the body. Fields are added without a new version; none is renamed or taken away."""


class WebhookSettings(SinkSettings):
    """A URL that is told of every incident."""

    kind: Literal["webhook"] = "webhook"
    url: str = Field(description="where notices are posted, as JSON")
    headers_file: str | None = Field(
        None, description="file of `Name: value` lines sent along, such as Authorization"
    )

    def sinks(self, around: Surroundings) -> Iterable[Sink]:
        """Make the one sink."""
        file = around.folder / self.headers_file if self.headers_file else None
        return (WebhookSink(self.url, read_headers(file), around),)


@final
class WebhookSink:
    """One URL."""

    repeat_s = None

    def __init__(self, url: str, headers: Mapping[str, str], around: Surroundings) -> None:
        self._url = url
        self._headers = {**headers, **JSON}
        self._post = around.post
        self.name = f"webhook/{place(url)}"

    def due_at(self, notice: Notice) -> float:
        """At once."""
        return notice.at

    async def send(self, notice: Notice) -> Delivery:
        """Post one notice."""
        # A notice can come twice, when we are killed between its answer and its note in the
        # outbox: the key lets the far side tell.
        key = f'"{notice.incident.id}-{notice.status}-{notice.at:.3f}"'
        octets = json.dumps(body(notice), default=str).encode()
        headers = {**self._headers, "Idempotency-Key": key}
        return judge(await self._post.post(self._url, octets, headers))

    async def repeat(self) -> Delivery:
        """Nothing is said twice."""
        return Delivery(ok=True)


def body(notice: Notice) -> dict[str, Any]:
    """Return the body of a notice; ``evidence`` is whatever the detection recorded."""
    return {"version": VERSION, "status": notice.status, "incident": to_json(notice.incident)}
