"""The demo's buttons over HTTP, on a lab with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from psapwatch.demo.block import KINDS, Block
from psapwatch.demo.lab import Lab
from psapwatch.demo.panel import panel
from psapwatch.demo.story import FULL
from psapwatch.endpoint import Address

Steps = Callable[[Lab, aiohttp.ClientSession], Awaitable[None]]


def on_a_lab(steps: Steps) -> None:
    """Open a whole lab, take steps in front of its page, and close it."""

    async def scene() -> None:
        lab = Lab(FULL.rhythm)
        where = await lab.open(Address("127.0.0.1", 0), panel)
        try:
            async with aiohttp.ClientSession(f"http://{where}") as http:
                await steps(lab, http)
        finally:
            await lab.close()

    asyncio.run(scene())


async def post(http: aiohttp.ClientSession, url: str, body: Any, **headers: str) -> tuple[int, Any]:
    """POST JSON; returns status and answer."""
    async with http.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def test_buttons_block_and_lift() -> None:
    """Each press is a rule of the firewall with a counter, until it is lifted."""

    async def steps(lab: Lab, http: aiohttp.ClientSession) -> None:
        options = {"firewall": "fw-east", "kind": "options"}
        status, state = await post(http, "/demo/block", options)
        assert (status, [each["id"] for each in state["blocks"]]) == (200, ["fw-east.options."])
        bristol = {"firewall": "fw-east", "kind": "refuse", "only": "Bristol"}
        status, state = await post(http, "/demo/block", bristol)
        assert (status, len(state["blocks"])) == (200, 2)
        assert set(lab.relays["fw-east"].stopped) == set(lab.blocked_at)
        assert lab.relays["fw-west"].stopped == {}
        status, state = await post(http, "/demo/lift", {"id": "fw-east.refuse.Bristol"})
        assert list(lab.blocked_at) == [Block("fw-east", "options")]
        status, state = await post(http, "/demo/lift", {"id": "*"})
        assert (status, state["blocks"], lab.relays["fw-east"].stopped) == (200, [], {})

    on_a_lab(steps)


def test_what_is_no_button_is_refused() -> None:
    """Unknown firewalls, kinds and towns, a town behind the other firewall, and foreign pages."""

    async def steps(lab: Lab, http: aiohttp.ClientSession) -> None:
        refused: tuple[Any, ...] = (
            {},
            [],
            {"firewall": "fw-north", "kind": "invite"},
            {"firewall": "fw-east", "kind": "__class__"},
            {"firewall": "fw-west", "kind": "invite", "only": "ma-boston"},
            {"firewall": "fw-east", "kind": "invite", "only": "Atlantis"},
        )
        for asked in refused:
            status, said = await post(http, "/demo/block", asked)
            assert (status, bool(said["error"]["what_to_do"])) == (400, True)
        good = {"firewall": "fw-east", "kind": "invite"}
        status, _said = await post(http, "/demo/block", good, Origin="http://elsewhere.example")
        assert status == 403
        assert lab.blocked_at == {}

    on_a_lab(steps)


def test_the_page_of_a_demo_has_a_button_for_every_kind() -> None:
    """Its script and style come from the demo itself, under the same content security policy."""

    async def steps(_lab: Lab, http: aiohttp.ClientSession) -> None:
        async with http.get("/") as answer:
            text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        for kind in KINDS:
            assert text.count(f'data-kind="{kind}"') == 2
        assert text.count('<option value="ma-') == 204
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        for name in ("panel.js", "panel.css"):
            assert f"/demo/{name}" in text
            async with http.get(f"/demo/{name}") as answer:
                assert answer.status == 200
        async with http.get("/demo/lab.py") as answer:
            assert answer.status == 404

    on_a_lab(steps)


def test_a_lab_that_finds_its_port_taken_says_so_and_leaves_nothing() -> None:
    """OSError before anything is probed; closing it is clean."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        lab = Lab(FULL.rhythm)
        with pytest.raises(OSError, match="in use"):
            await lab.open(Address(*server.sockets[0].getsockname()))
        left = await lab.close()
        server.close()
        assert (left.calls_here, left.calls_there) == (0, 0)

    asyncio.run(scene())


def test_a_closed_port_that_another_program_took_does_not_keep_the_lab_from_closing() -> None:
    """Its block cannot be lifted; everything else is stopped all the same."""

    async def scene() -> None:
        loop, lab = asyncio.get_running_loop(), Lab(FULL.rhythm)
        await lab.open(Address("127.0.0.1", 0))
        lab.block(Block("fw-east", "refuse", "ma-boston"))
        way = next(way for town, way in lab.ground.towns.items() if town.id == "ma-boston")
        taken = ("127.0.0.1", int(way.uri.rpartition(":")[2]))
        transport, _ours = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=taken
        )
        left = await lab.close()
        transport.close()
        assert (left.calls_here, left.calls_there) == (0, 0)

    asyncio.run(scene())
