"""What a webhook is posted, by a real client to a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from psapwatch.incident import Notice, Status
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import HttpPost
from psapwatch.sinks.base import BadHeadersFile, Delivery, Surroundings, judge, open_sinks
from psapwatch.sinks.webhook import WebhookSettings
from psapwatch.verdict import Cause
from psapwatch.world import Reply
from store.material import NOON, incident, notice

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "deploy" / "webhook.schema.json").read_text(encoding="utf-8")
)


@dataclass
class Inbox:
    """A server that keeps what comes and answers ``status``."""

    url: str = ""
    status: int = 204
    came: list[tuple[dict[str, str], Any]] = field(default_factory=list)


@asynccontextmanager
async def serving(inbox: Inbox) -> AsyncIterator[HttpPost]:
    """Serve the inbox on loopback and hand out the real client."""

    async def take(request: web.Request) -> web.Response:
        inbox.came.append((dict(request.headers), await request.json()))
        return web.Response(status=inbox.status, text="try\n  that again")

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    inbox.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    post = HttpPost()
    try:
        yield post
    finally:
        await post.close()
        await runner.cleanup()


def told(inbox: Inbox, *notices: Notice, headers_file: Path | None = None) -> list[Delivery]:
    """Tell the inbox some notices."""

    async def scene() -> list[Delivery]:
        async with serving(inbox) as post:
            around = Surroundings("boston-a", SystemClock(), post, tuple)
            settings = WebhookSettings(
                url=inbox.url, headers_file=str(headers_file) if headers_file else None
            )
            [sink] = open_sinks([settings], around)
            return [await sink.send(each) for each in notices]

    return asyncio.run(scene())


@pytest.mark.parametrize("status", ["open", "changed", "closed"])
def test_the_body_is_what_the_schema_says(status: Status) -> None:
    """Each notice is posted as JSON that the shipped schema accepts, with its status."""
    inbox = Inbox()
    assert told(inbox, notice(status)) == [Delivery(ok=True, detail="HTTP 204")]
    [(headers, body)] = inbox.came
    assert headers["Content-Type"] == "application/json"
    Draft202012Validator(SCHEMA).validate(body)
    assert body["version"] == "1"
    assert body["status"] == status
    assert body["incident"]["member"] == "fw-east"
    assert body["incident"]["affected"] == ["ma-boston", "ma-quincy"]
    assert body["incident"]["evidence"] == {"failed": 10, "tried": 10, "control": "pass"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.update(version="2"),
        lambda body: body.update(status="resolved"),
        lambda body: body["incident"].update(closed_at=NOON),
        lambda body: body["incident"].pop("summary"),
        lambda body: body["incident"].update(severity="none"),
        lambda body: body["incident"].update(affected="ma-boston"),
    ],
)
def test_the_schema_refuses_what_is_never_sent(spoil: Callable[[Any], object]) -> None:
    """The schema is strict about what the contract fixes."""
    inbox = Inbox()
    told(inbox, notice("open"))
    body = inbox.came[0][1]
    spoil(body)
    assert not Draft202012Validator(SCHEMA).is_valid(body)


def test_the_schema_is_a_schema_and_knows_every_cause() -> None:
    """The shipped file is valid by its own dialect, and no cause falls outside it."""
    Draft202012Validator.check_schema(SCHEMA)
    cause = SCHEMA["$defs"]["incident"]["properties"]["cause"]
    for each in Cause:
        Draft202012Validator(cause).validate(each.value)


def test_secret_headers_come_from_their_file(tmp_path: Path) -> None:
    """Headers of the file are sent along, and cannot change what the body is."""
    file = tmp_path / "headers"
    file.write_text(
        "# for the gateway\n\nAuthorization: Bearer 5ecre7\nX-Site:\tboston \n"
        "Content-Type: text/plain\n",
        encoding="utf-8",
    )
    inbox = Inbox()
    told(inbox, notice(), headers_file=file)
    headers = inbox.came[0][0]
    assert headers["Authorization"] == "Bearer 5ecre7"
    assert headers["X-Site"] == "boston"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "headers: no such file or directory"),
        ("Authorization 5ecre7\n", "headers:1: not a `Name: value` line"),
        ("A: b\nB c: 5ecre7\n", "headers:2: not a"),
        ("A:\n", "headers:1: not a"),
        ("A: 5ecre7\x01\n", "headers:1: not a"),
        ("A: b\n" * 9_999, "headers: more than 16384 octets"),
    ],
)
def test_a_bad_headers_file_is_named_but_not_shown(
    tmp_path: Path, text: str | None, words: str
) -> None:
    """A mistake is reported by file and line, and no secret appears in the message."""
    file = tmp_path / "headers"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(BadHeadersFile, match=words) as refused:
        told(Inbox(), headers_file=file)
    assert "5ecre7" not in str(refused.value)


def test_the_same_notice_carries_the_same_key() -> None:
    """A receiver can tell a repeat after a crash from a new notice."""
    inbox = Inbox()
    told(inbox, notice(), notice(), notice("changed"))
    keys = [headers["Idempotency-Key"] for headers, _ in inbox.came]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("status", "retry"), [(400, False), (401, False), (404, False), (408, True), (429, True)]
)
def test_a_client_error_is_final_unless_it_speaks_of_the_moment(status: int, retry: bool) -> None:
    """4xx is not retried but for request timeout and too many requests; its words are kept."""
    [delivery] = told(Inbox(status=status), notice())
    assert delivery == Delivery(
        ok=False, retry=retry, detail=f"HTTP {status} try that again", answered=True
    )


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_tried_again(status: int) -> None:
    """5xx may pass."""
    [delivery] = told(Inbox(status=status), notice())
    assert (delivery.ok, delivery.retry, delivery.answered) == (False, True, True)


def test_a_redirect_is_not_followed() -> None:
    """3xx is final: notices go where the configuration says and nowhere else."""
    inbox = Inbox(status=302)
    [delivery] = told(inbox, notice())
    assert (delivery.ok, delivery.retry) == (False, False)
    assert len(inbox.came) == 1


def test_no_answer_is_tried_again() -> None:
    """A connection that does not come about says so."""
    delivery = judge(Reply(0, "ConnectionRefusedError"))
    assert delivery == Delivery(
        ok=False, retry=True, detail="ConnectionRefusedError", answered=False
    )


def test_a_name_holds_no_secret() -> None:
    """The sink's name is kind and host: it becomes a metric label."""
    around = Surroundings("boston-a", SystemClock(), HttpPost(), tuple)
    settings = WebhookSettings(url="https://user:5ecre7@hooks.example.net/T0/5ecre7?k=5ecre7")
    assert [sink.name for sink in open_sinks([settings], around)] == ["webhook/hooks.example.net"]


def test_evidence_that_is_no_json_is_still_told() -> None:
    """A value that JSON does not know is written as text: a page is not lost to a type."""
    inbox = Inbox()
    odd = incident(evidence={"cause": Cause.UNKNOWN, "at": {1, 2}})
    [delivery] = told(inbox, Notice("open", odd, NOON))
    assert delivery.ok
    assert inbox.came[0][1]["incident"]["evidence"] == {"cause": "unknown", "at": "{1, 2}"}
