"""The buttons on the demo's page: block and lift, what was stopped and what was told (layer L5)."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from psapwatch.demo.block import KINDS, Block
from psapwatch.demo.lab import Lab
from psapwatch.demo.towns import COUNTIES, FIREWALLS, TOWNS
from psapwatch.remote_text import printable
from psapwatch.simulator.alertmanager import Page
from psapwatch.web.panel import Panel
from psapwatch.web.view import Refused

BLOCKS_MAX: Final = 50
"""Rules in force at once."""
PAGES_SHOWN_MAX: Final = 10
EVERYTHING: Final = "*"
_STATIC: Final = {"panel.js": "text/javascript", "panel.css": "text/css"}


def panel(lab: Lab) -> Panel:
    """Return the section with the buttons of a lab, and the URLs behind them."""
    environment = Environment(
        loader=PackageLoader("psapwatch", "demo/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("panel.html").render(
        firewalls=FIREWALLS, kinds=KINDS, counties=COUNTIES, towns=TOWNS
    )
    buttons = Buttons(lab)
    return Panel(html, buttons.routes())


class Buttons:
    """The handlers of the demo's section."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        static = files("psapwatch.demo") / "static"
        self._static = {name: (static / name).read_bytes() for name in _STATIC}

    def routes(self) -> tuple[web.RouteDef, ...]:
        """Return what the section loads and asks for."""
        return (
            web.get("/demo/state", self.state),
            web.post("/demo/block", self.block),
            web.post("/demo/lift", self.lift),
            web.get("/demo/{name}", self.static),
        )

    async def state(self, _request: web.Request) -> web.Response:
        """Say what is in force, what it has stopped, and what was told."""
        return web.json_response(state_of(self._lab))

    async def block(self, request: web.Request) -> web.Response:
        """Put a rule in force: ``{"firewall", "kind", "only"}``."""
        asked = await _asked(request)
        rule = Block(*(str(asked.get(name, "")) for name in ("firewall", "kind", "only")))
        if rule.firewall not in FIREWALLS or rule.kind not in KINDS or not _is_behind(rule):
            raise Refused("there is no such rule", request.path, "press one of the buttons")
        if len(self._lab.blocked_at) >= BLOCKS_MAX:
            raise Refused(f"{BLOCKS_MAX} rules are in force", request.path, "lift one of them", 409)
        self._lab.block(rule)
        return web.json_response(state_of(self._lab))

    async def lift(self, request: web.Request) -> web.Response:
        """Take a rule away, or all of them: ``{"id": "*"}``."""
        wanted = str((await _asked(request)).get("id", ""))
        for rule in list(self._lab.blocked_at):
            if wanted in (rule.id, EVERYTHING):
                try:
                    await self._lab.lift(rule)
                except OSError as why:
                    do = "end the demo and start it again"
                    raise Refused(f"a closed port is taken: {why}", request.path, do, 409) from None
        return web.json_response(state_of(self._lab))

    async def static(self, request: web.Request) -> web.Response:
        """Serve the section's script or style sheet."""
        name = request.match_info["name"]
        if name not in self._static:
            raise Refused("unknown file", request.path, "GET / loads what there is", 404)
        return web.Response(
            body=self._static[name],
            content_type=_STATIC[name],
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )


def state_of(lab: Lab) -> dict[str, Any]:
    """Return the section's content."""
    return {
        "at": lab.world.clock.wall(),
        "passed": {name: relay.passed for name, relay in lab.relays.items()},
        "blocks": [
            {
                "id": rule.id,
                "words": rule.words,
                "since": since,
                "stopped": lab.relays[rule.firewall].stopped.get(rule, 0),
                "refuses": KINDS[rule.kind].refuses,
            }
            for rule, since in lab.blocked_at.items()
        ],
        "told": [_told(lab, page) for page in reversed(lab.receiver.told[-PAGES_SHOWN_MAX:])],
    }


def _told(lab: Lab, page: Page) -> dict[str, Any]:
    labels = dict(page.labels)
    where = f"{labels.get('scope', '')} {labels.get('member', '')}".strip()
    changed_at = lab.changed_before(page.at)
    return {
        "at": page.at,
        "after_s": None if changed_at is None else round(page.at - changed_at, 1),
        "over_at": lab.receiver.over_at(page),
        "severity": page.severity,
        "alertname": page.name,
        "where": where or f"{labels.get('psap', '')} {labels.get('firewall', '')}".strip(),
        "summary": printable(page.annotations.get("summary", ""), 600),
    }


def _is_behind(rule: Block) -> bool:
    """Whether the one county or town that is meant stands behind this firewall."""
    if not rule.only:
        return True
    towns = {town.id: town.firewall for town in TOWNS}
    return (COUNTIES.get(rule.only) or towns.get(rule.only)) == rule.firewall


async def _asked(request: web.Request) -> dict[str, Any]:
    try:
        asked = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        asked = None
    if not isinstance(asked, dict):
        raise Refused("not a JSON object", request.path, "press one of the buttons")
    return asked
