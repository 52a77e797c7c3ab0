"""HTTP as the tests speak it: one request, and an inbox that keeps what others post to it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from components.ports import LOOPBACK

TIMEOUT_S: Final = 20.0
NO_CONNECTION: Final = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; status 0 when no connection came about."""

    status: int
    text: str

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.text)


def fetch(
    url: str, *, body: object = None, method: str | None = None, timeout_s: float = TIMEOUT_S
) -> Answer:
    """Send one request (POST with ``body`` as JSON) and return what came; never raises."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the tests write their own URLs
        url, data, {"Content-Type": "application/json"} if data else {}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310 - as above
            return Answer(reply.status, reply.read().decode())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.read().decode(errors="replace"))
    except OSError as failed:
        return Answer(NO_CONNECTION, str(failed))


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that the inbox got."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.time)
    """When it came, Unix seconds."""
    answered: int = 200
    """Our status."""

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


@dataclass(slots=True)
class Inbox:
    """A web server that keeps what is posted to it and answers ``status``."""

    url: str
    status: int = 200
    posted: list[Posted] = field(default_factory=list)


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Serve an inbox on loopback."""
    inbox = Inbox("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status = inbox.status
            posted = Posted(self.path, dict(self.headers), body, answered=status)
            inbox.posted.append(posted)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as named there
            """Say nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        inbox.url = f"http://{LOOPBACK}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield inbox
        finally:
            server.shutdown()
            thread.join()
