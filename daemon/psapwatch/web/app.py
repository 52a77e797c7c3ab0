"""The web door: who may come in, what an error looks like, and where it listens (layer L4)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from psapwatch.endpoint import Address, Tls
from psapwatch.metrics import Metrics
from psapwatch.web.api import USER, Api
from psapwatch.web.events import Events
from psapwatch.web.page import Page
from psapwatch.web.panel import Panel
from psapwatch.web.users import Users
from psapwatch.web.view import Commands, Refused, View

BODY_OCTETS_MAX: Final = 8_192
REQUESTS_MAX: Final = 150
"""Requests in progress, event streams included; more are asked to come again."""
SHUTDOWN_S: Final = 1.0
OPEN_TO_ALL: Final = frozenset({"/-/healthy", "/-/ready"})
"""For load balancers and orchestrators, which do not sign in."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def make_app(
    view: View,
    commands: Commands,
    metrics: Metrics,
    events: Events,
    *,
    users: Users | None = None,
    lifecycle: bool = False,
    panel: Panel = Panel(),  # noqa: B008 - frozen
) -> web.Application:
    """Return the application: every URL of the contract, on what it is handed."""
    app = web.Application(
        middlewares=[_explained, _bounded(), _not_from_elsewhere, _signed_in(users)],
        client_max_size=BODY_OCTETS_MAX,
    )
    app.add_routes(Api(view, commands, metrics, events, lifecycle=lifecycle).routes())
    app.add_routes(Page(view, panel.html).routes())
    app.add_routes(panel.routes)
    app.on_response_prepare.append(_with_headers)

    async def pulsing(_app: web.Application) -> AsyncIterator[None]:
        pulse = asyncio.create_task(events.run())
        yield
        pulse.cancel()
        with suppress(asyncio.CancelledError):
            await pulse

    async def hang_up(_app: web.Application) -> None:
        events.close()

    app.cleanup_ctx.append(pulsing)
    app.on_shutdown.append(hang_up)
    return app


class Door:
    """The application on its address."""

    def __init__(self, app: web.Application, listen: Address, tls: Tls | None = None) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._listen = listen
        self._tls = tls

    async def open(self) -> Address:
        """Listen, and return where; port 0 lets the system choose.

        Raises:
            OSError: the address is in use or not ours.
            ssl.SSLError: certificate and key do not fit.
        """
        context = None if self._tls is None else _server_context(self._tls)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._listen.host, self._listen.port, ssl_context=context)
        await site.start()
        host, port, *_ = self._runner.addresses[0]
        return Address(host, port)

    async def close(self) -> None:
        """Stop listening; streams end at once, answers in progress within ``SHUTDOWN_S``."""
        await self._runner.cleanup()


def _server_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert tls.cert_file is not None
    context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal into JSON: what, where, and what to do."""
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused.status, refused.what, refused.where, refused.do)
    except web.HTTPException as known:
        if known.status < 400:
            raise
        do = _WHAT_TO_DO.get(known.status, "see the documentation of the HTTP interface")
        answer = _error(known.status, known.reason, request.path, do)
        if "Allow" in known.headers:
            answer.headers["Allow"] = known.headers["Allow"]
        return answer


_WHAT_TO_DO: Final = {
    404: "GET / is the status page, GET /api/v1/status the same for machines",
    405: "use one of the methods named in Allow",
    413: f"send at most {BODY_OCTETS_MAX} octets",
}


def _error(status: int, what: str, where: str, do: str) -> web.Response:
    return web.json_response(
        {"error": {"what": what, "where": where, "what_to_do": do}}, status=status
    )


def _bounded() -> Middleware:
    in_progress = 0

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_progress
        if in_progress >= REQUESTS_MAX:
            raise Refused("too many requests at once", request.path, "come again", status=503)
        in_progress += 1
        try:
            return await handler(request)
        finally:
            in_progress -= 1

    return bounded


@web.middleware
async def _not_from_elsewhere(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let no foreign web page make a browser probe, reload or record a change."""
    acts = request.method not in ("GET", "HEAD") or request.path == "/probe"
    origin = request.headers.get("Origin")
    is_foreign = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") or (
        origin is not None and urlsplit(origin).netloc != request.host
    )
    if acts and is_foreign:
        what = "the request comes from a page of another site"
        raise Refused(what, request.path, "send it from a program, or from this site", status=403)
    return await handler(request)


def _signed_in(users: Users | None) -> Middleware:
    @web.middleware
    async def signed_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        if users is not None and request.path not in OPEN_TO_ALL:
            user = await users.user_of(request.headers.get("Authorization", ""))
            if user is None:
                answer = _error(
                    401, "nobody is signed in", request.path, "sign in as a user of web.users_file"
                )
                answer.headers["WWW-Authenticate"] = 'Basic realm="psapwatch", charset="UTF-8"'
                return answer
            request[USER] = user
        return await handler(request)

    return signed_in


async def _with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
