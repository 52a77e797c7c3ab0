"""The people's half of the web door: the status page and its drill-down (layer L4).

Every text is escaped by the template engine; scripts and styles come from this package only, and
the content security policy allows nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from operator import attrgetter
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from psapwatch.evidence import Evidence
from psapwatch.exposition import in_slices
from psapwatch.incident import Incident
from psapwatch.remote_text import printable
from psapwatch.report import ladder, moment, phase_summary, verdict_line
from psapwatch.verdict import Outcome, Verdict
from psapwatch.web.api import ATTEMPTS_KEPT, streamed, unknown
from psapwatch.web.overview import SYMBOLS, WORDS, overview, tiles
from psapwatch.web.runbook import runbooks
from psapwatch.web.view import PathRow, Refused, View

STATIC: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_VERSION: Final = version("psapwatch")
HTML: Final = "text/html; charset=utf-8"


class Page:
    """The handlers of what people read."""

    def __init__(self, view: View, panel: str = "") -> None:
        self._view = view
        self._panel = panel
        environment = Environment(
            loader=PackageLoader("psapwatch", "web/templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["since"] = moment
        environment.filters["iso"] = iso
        environment.filters["printable"] = printable
        environment.filters["plain"] = lambda word: str(word).replace("_", " ")
        environment.globals.update(words=WORDS, symbols=SYMBOLS)
        for shared in ("base.html", "parts.html"):
            environment.get_template(shared)  # compiled now, not while somebody waits
        self._status = environment.get_template("status.html")
        self._psap = environment.get_template("psap.html")
        self._incident = environment.get_template("incident.html")
        self._one = environment.get_template("attempt.html")
        self._runbook = environment.get_template("runbook.html")
        self._runbooks = runbooks()
        static = files("psapwatch.web") / "static"
        self._static = {name: (static / name).read_bytes() for name in STATIC}

    def routes(self) -> list[web.RouteDef]:
        """Return the pages and what they load."""
        return [
            web.get("/", self.status),
            web.get("/psaps/{id}", self.psap),
            web.get("/incidents/{id}", self.incident),
            web.get("/runbooks/{name}", self.runbook),
            web.get("/attempts", self.find),
            web.get("/attempts/{id}", self.attempt),
            web.get("/static/{name}", self.static),
        ]

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Show whether calls get through: headline, incidents, a tile a PSAP by firewall."""
        top = overview(self._view)
        await asyncio.sleep(0)  # 2 ms at 2,000 paths; the rest goes in slices of its own
        groups = groupby(tiles(self._view.paths()), attrgetter("firewall"))
        return await streamed(
            request,
            HTML,
            _rendered(
                self._status,
                top=top,
                groups=groups,
                panel=self._panel,
                version=_VERSION,
            ),
        )

    async def psap(self, request: web.Request) -> web.StreamResponse:
        """Show one PSAP: each path, each check, the ladder of last failure and last pass."""
        psap = request.match_info["id"]
        rows = [row for row in self._view.paths() if row.psap == psap]
        if not rows:
            raise unknown("PSAP", request, "GET / lists them")
        ladders = [
            (row, check, said, await self._attempt(attempt_id))
            for row in rows
            for check in row.checks
            for said, attempt_id in (
                ("Last failure", check.last_failure),
                ("Last pass", check.last_pass),
            )
            if attempt_id
        ]
        ladders.sort(key=lambda each: each[1].outcome is not Outcome.FAIL)  # what fails comes first
        incidents = [each for each in self._view.open_incidents() if _concerns(each, rows)]
        return await streamed(
            request,
            HTML,
            _rendered(
                self._psap,
                vantage=self._view.vantage,
                name=rows[0].name,
                psap=psap,
                rows=rows,
                ladders=[each for each in ladders if each[3]],
                incidents=incidents,
                stopped=self._view.calls_stopped().get(psap, ""),
                version=_VERSION,
            ),
        )

    async def incident(self, request: web.Request) -> web.StreamResponse:
        """Show one incident with everything that is known of it."""
        found = await self._view.incident(request.match_info["id"])
        if found is None:
            raise unknown("incident", request, "GET /api/v1/incidents lists them")
        evidence = json.dumps(found.evidence, indent=2, sort_keys=True, default=str)
        context = {"incident": found, "evidence": evidence, "vantage": self._view.vantage}
        return await streamed(request, HTML, _rendered(self._incident, version=_VERSION, **context))

    async def runbook(self, request: web.Request) -> web.StreamResponse:
        """Show what to do about an alert; ``.md`` may stand behind it, as in a folder of them."""
        name = request.match_info["name"].removesuffix(".md")
        if name not in self._runbooks:
            raise unknown("runbook", request, "GET /runbooks/README lists them")
        context = {"name": name, "text": self._runbooks[name], "vantage": self._view.vantage}
        return await streamed(request, HTML, _rendered(self._runbook, version=_VERSION, **context))

    async def find(self, request: web.Request) -> web.StreamResponse:
        """Go to the attempt with ``?id=``, an attempt's id or a Call-ID from a log or a graph."""
        name = request.query.get("id", "").strip()
        if not name:
            raise Refused("no id is given", request.path, "give an attempt's id or its Call-ID")
        raise web.HTTPSeeOther(f"/attempts/{quote(name, safe='')}")

    async def attempt(self, request: web.Request) -> web.StreamResponse:
        """Show one attempt by its id or its Call-ID: verdict, phases and call flow."""
        found = await self._view.attempt(request.match_info["id"])
        if found is None:
            raise unknown("attempt", request, ATTEMPTS_KEPT)
        context = {"seen": found[0], "shown": _shown(*found), "vantage": self._view.vantage}
        return await streamed(request, HTML, _rendered(self._one, version=_VERSION, **context))

    async def static(self, request: web.Request) -> web.Response:
        """Serve a script, the style sheet or the icon."""
        name = request.match_info["name"]
        if name not in self._static:
            raise unknown("file", request, "GET / loads what there is")
        return web.Response(
            body=self._static[name],
            content_type=STATIC[name],
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )

    async def _attempt(self, attempt_id: str) -> dict[str, str] | None:
        found = await self._view.attempt(attempt_id)
        return None if found is None else _shown(*found)


def iso(wall: float) -> str:
    """Return Unix seconds as a ``datetime`` attribute."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")


def _shown(evidence: Evidence, verdict: Verdict) -> dict[str, str]:
    return {
        "id": evidence.attempt_id,
        "verdict": verdict_line(verdict),
        "phases": phase_summary(evidence),
        "ladder": ladder(evidence),
    }


def _concerns(incident: Incident, rows: list[PathRow]) -> bool:
    keys = {f"{row.psap}/{row.path}" for row in rows} | {rows[0].psap}
    return incident.psap == rows[0].psap or not keys.isdisjoint(incident.affected)


def _rendered(template: Template, **context: Any) -> AsyncIterator[bytes]:
    return in_slices(template.generate(**context))
