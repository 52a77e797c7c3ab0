"""The machine's half of the web door: metrics, probe, status, incidents, events (layer L4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from aiohttp import ClientConnectionError, web

from psapwatch.exposition import OPENMETRICS, TEXT, in_slices, prefers_openmetrics
from psapwatch.incident import to_json as incident_json
from psapwatch.metrics import Metrics
from psapwatch.report import attempt_json, case_shown
from psapwatch.web.events import CLIENTS_MAX, Events, TooManyReaders
from psapwatch.web.overview import overview, path_json
from psapwatch.web.probe import probe_pieces
from psapwatch.web.view import Commands, Refused, View

SCRAPES_MAX: Final = 4
PROBES_MAX: Final = 8
"""Scrapes and probes that may run at once; more are asked to come again."""
INCIDENTS_LIMIT: Final = 100
INCIDENTS_LIMIT_MAX: Final = 1_000
TARGET_CHARACTERS_MAX: Final = 500
MODULE_CHARACTERS_MAX: Final = 63
CHANGE_CHARACTERS_MAX: Final = 200
CHANGE_AHEAD_S_MAX: Final = 86_400.0
RECONNECT_MS: Final = 2_000
ATTEMPTS_KEPT: Final = (
    "passes are kept for 48 h and failures longer; GET /api/v1/status has the newest"
)

USER: Final = web.RequestKey("user", str)
"""Where the door's middleware leaves the authenticated name on a request."""


class Api:
    """The handlers, on what the daemon lets them see and do."""

    def __init__(
        self, view: View, commands: Commands, metrics: Metrics, events: Events, *, lifecycle: bool
    ) -> None:
        self._view = view
        self._commands = commands
        self._metrics = metrics
        self._events = events
        self._lifecycle = lifecycle
        self._scrapes = 0
        self._probes = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the URLs of the contract."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/probe", self.probe),
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/incidents", self.incidents),
            web.get("/api/v1/incidents/{id}", self.incident),
            web.get("/api/v1/attempts/{id}", self.attempt),
            web.get("/api/v1/events", self.events),
            web.post("/api/v1/changes", self.change),
        ]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Serve the exposition from the loop that probes, in slices."""
        if self._scrapes >= SCRAPES_MAX:
            raise _busy("too many scrapes at once", "/metrics", "scrape less often")
        self._scrapes += 1
        try:
            content_type, slices = self._metrics.scrape(request.headers.get("Accept", ""))
            return await streamed(request, content_type, slices)
        finally:
            self._scrapes -= 1

    async def probe(self, request: web.Request) -> web.StreamResponse:
        """Make one attempt now and show it as a blackbox exporter would."""
        target = _parameter(request, "target", TARGET_CHARACTERS_MAX)
        module = _parameter(request, "module", MODULE_CHARACTERS_MAX)
        if self._probes >= PROBES_MAX:
            raise _busy("too many probes at once", "/probe", "come again")
        self._probes += 1
        try:
            evidence, verdict = await self._commands.probe(target, module)
        finally:
            self._probes -= 1
        openmetrics = prefers_openmetrics(request.headers.get("Accept", ""))
        pieces = probe_pieces(evidence, verdict, openmetrics=openmetrics)
        return await streamed(request, OPENMETRICS if openmetrics else TEXT, in_slices(pieces))

    async def healthy(self, _request: web.Request) -> web.Response:
        """Answer for as long as the loop turns."""
        return web.Response(text="psapwatch is alive\n")

    async def ready(self, _request: web.Request) -> web.Response:
        """Say whether the first round is scheduled."""
        if self._view.ready():
            return web.Response(text="psapwatch is ready\n")
        return web.Response(text="psapwatch has not scheduled its first round yet\n", status=503)

    async def reload(self, request: web.Request) -> web.Response:
        """Reload the configuration, all of it or nothing."""
        if not self._lifecycle:
            raise Refused(
                "reloading over HTTP is off",
                "/-/reload",
                "set web.lifecycle: true, or send SIGHUP",
                status=403,
            )
        wrong = await self._commands.reload(who(request))
        if wrong:
            raise Refused(
                "; ".join(wrong[:20]), "configuration", "mend it; the old one stays", status=422
            )
        return web.json_response({"reloaded": True})

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Show headline, counts, every path and every open incident."""
        pieces = in_slices(_status(self._view))
        return await streamed(request, "application/json; charset=utf-8", pieces)

    async def incidents(self, request: web.Request) -> web.Response:
        """List incidents from the store, newest first; ``?state=open`` those that are open."""
        if request.query.get("state") == "open":
            found = self._view.open_incidents()
        else:
            found = await self._view.incidents(_limit(request))
        return web.json_response({"incidents": [incident_json(incident) for incident in found]})

    async def incident(self, request: web.Request) -> web.Response:
        """Show one incident, with the case that its cause rests on."""
        found = await self._view.incident(request.match_info["id"])
        if found is None:
            raise unknown("incident", request, "GET /api/v1/incidents lists them")
        case = await self._view.case(found.id)
        return web.json_response(incident_json(found) | case_shown(case))

    async def attempt(self, request: web.Request) -> web.Response:
        """Show one attempt by its id or its Call-ID: evidence, verdict, transcript and ladder."""
        found = await self._view.attempt(request.match_info["id"])
        if found is None:
            raise unknown("attempt", request, ATTEMPTS_KEPT)
        return web.json_response(attempt_json(*found))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream what changes for as long as the reader listens."""
        try:
            with self._events.reader() as texts:
                return await streamed(request, "text/event-stream", self._told(texts))
        except TooManyReaders:
            what = f"{CLIENTS_MAX} readers are connected already"
            raise _busy(what, "/api/v1/events", "close some pages") from None

    async def change(self, request: web.Request) -> web.Response:
        """Take a change event: ``{what, by, at}``, ``at`` optional."""
        body = await _json_object(request)
        what, by = (_sentence(body, name) for name in ("what", "by"))
        user = request.get(USER)
        said_by = by if user in (None, by) else f"{by} (signed in as {user})"
        at = _moment(body.get("at"), self._view.now())
        await self._commands.change(what, said_by, at)
        return web.json_response({"what": what, "by": said_by, "at": at}, status=201)

    async def _told(self, texts: AsyncIterator[str]) -> AsyncIterator[bytes]:
        yield f"retry: {RECONNECT_MS}\n\n{self._events.now()}".encode()
        async for text in texts:
            yield text.encode()


async def streamed(
    request: web.Request, content_type: str, pieces: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send pieces as they come; a reader that went away ends it quietly."""
    response = web.StreamResponse(
        headers={"Content-Type": content_type, "Cache-Control": "no-store"}
    )
    try:
        await response.prepare(request)
        async for piece in pieces:
            if piece:
                await response.write(piece)
        await response.write_eof()
    except ClientConnectionError:
        pass
    return response


def who(request: web.Request) -> str:
    """Return who asks: the user's name, or the peer's address where nobody signs in."""
    return str(request.get(USER) or request.remote or "unknown")


def unknown(noun: str, request: web.Request, do: str) -> Refused:
    """Say that there is no such thing."""
    return Refused(f"there is no such {noun}", request.path, do, status=404)


def _busy(what: str, where: str, do: str) -> Refused:
    return Refused(what, where, do, status=503)


def _status(view: View) -> Iterator[str]:
    shown = overview(view).to_json()
    del shown["incidents"]  # in full below
    head = {**shown, "ready": view.ready(), "calls_stopped": dict(view.calls_stopped())}
    yield f"{json.dumps(head)[:-1]}, " + '"paths": ['
    for at, row in enumerate(view.paths()):
        yield f"{', ' if at else ''}{json.dumps(path_json(row))}"
    yield '], "incidents": ['
    for at, incident in enumerate(view.open_incidents()):
        yield f"{', ' if at else ''}{json.dumps(incident_json(incident))}"
    windows = [asdict(window) for window in view.maintenance()]
    yield f'], "maintenance_windows": {json.dumps(windows)}}}\n'


def _parameter(request: web.Request, name: str, most: int) -> str:
    value = request.query.get(name, "")
    if not value:
        raise Refused(
            f"the parameter {name} is missing",
            request.path,
            "GET /probe?target=sip:psap.example&module=keepalive",
        )
    if len(value) > most or not value.isprintable():
        what = f"the parameter {name} must be at most {most} printable characters"
        raise Refused(what, request.path, "give a SIP URI as target and a check's name as module")
    return value


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(INCIDENTS_LIMIT))
    if not text.isdecimal() or not 0 < int(text[:9]) <= INCIDENTS_LIMIT_MAX:
        what = "limit is no number that can be served"
        raise Refused(what, request.path, f"give limit=1 to {INCIDENTS_LIMIT_MAX}")
    return int(text)


async def _json_object(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        what = f"the body is {request.content_type}"
        raise Refused(what, request.path, "send Content-Type: application/json", status=415)
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):  # not JSON, not Unicode, or brackets within brackets
        body = None
    if not isinstance(body, dict):
        do = 'send {"what": "CHG-123", "by": "NOC", "at": "2026-06-18T13:14:00-04:00"}'
        raise Refused("the body is no JSON object", request.path, do)
    return body


def _sentence(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Refused(f"{name} is missing", f"body, {name}", "give one line of text")
    if len(value) > CHANGE_CHARACTERS_MAX:
        what = f"{name} has {len(value)} characters"
        raise Refused(what, f"body, {name}", f"give at most {CHANGE_CHARACTERS_MAX}")
    return value.strip()


def _moment(at: object, now: float) -> float:
    if at is None:
        return now
    moment: float | None = None
    if isinstance(at, int | float) and not isinstance(at, bool):
        moment = float(at)
    elif isinstance(at, str):
        try:
            written = datetime.fromisoformat(at)
            moment = written.timestamp() if written.tzinfo else None
        except ValueError:
            moment = None
    if moment is None or not 0 <= moment <= now + CHANGE_AHEAD_S_MAX:
        do = "give Unix seconds, or a time with its zone: 2026-06-18T13:14:00-04:00"
        raise Refused("at is no moment up to a day ahead", "body, at", do)
    return moment
