"""A section of its own on the status page, for a program that holds the daemon (layer L4)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands on the page below the incidents, and the URLs that it uses.

    The page's content security policy holds for it too: scripts and styles from its own routes.
    """

    html: str = ""
    """Markup, taken as it is: whoever writes it escapes what is in it."""
    routes: tuple[web.RouteDef, ...] = ()
