"""The other real ports: clock, entropy, HTTP out, limits, and the world of them all."""

from __future__ import annotations

import asyncio
import resource
import time

import pytest
from aiohttp import web

from net.far_end import closed_port, run
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import (
    HttpPost,
    SystemEntropy,
    close_world,
    raise_file_limit,
    sockets_that_fit,
    system_world,
)


def test_the_clock_is_the_wall_clock() -> None:
    """Unix seconds of this machine."""
    before = time.time()  # noqa: TID251 - what the port is compared with
    assert before <= SystemClock().wall() <= before + 5


def test_tokens_are_random_and_of_the_length_asked_for() -> None:
    """A 128-bit branch is 32 lower-case hex digits, never the same twice."""
    entropy = SystemEntropy()
    tokens = {entropy.token(16) for _token in range(1_000)}
    assert len(tokens) == 1_000
    assert all(len(token) == 32 and set(token) <= set("0123456789abcdef") for token in tokens)


def test_uniform_spreads_over_its_range() -> None:
    """Every tenth of the range is hit, its ends are kept."""
    entropy = SystemEntropy()
    drawn = [entropy.uniform(5, 15) for _draw in range(2_000)]
    assert all(5 <= each < 15 for each in drawn)
    assert {int(each) for each in drawn} == set(range(5, 15))


def test_the_file_limit_is_raised_to_the_hard_one() -> None:
    """A soft limit of 300 becomes the hard one; the sockets that fit follow it."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
        assert sockets_that_fit() == 300 - 256
        assert raise_file_limit() == limits[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
        assert sockets_that_fit() > 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("status", [200, 302, 400, 500])
def test_a_post_returns_what_the_far_side_said(status: int) -> None:
    """Status and the start of the body; the request carries our body and headers."""

    async def body() -> None:
        seen = []

        async def take(request: web.Request) -> web.Response:
            seen.append((await request.read(), request.headers["X-Key"]))
            return web.Response(status=status, text="word" * 1_000, headers={"Location": "/other"})

        app = web.Application()
        app.router.add_post("/hook", take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        post = HttpPost()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        reply = await post.post(url, b"{}", {"X-Key": "secret"})
        assert (reply.status, reply.detail[:8], len(reply.detail)) == (status, "wordword", 300)
        assert seen == [(b"{}", "secret")]
        await post.close()
        await runner.cleanup()

    run(body)


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://127.0.0.1/", "http://[::1"])
def test_a_url_that_cannot_be_posted_to(url: str) -> None:
    """A bad address is a reply of status 0 with a reason, never an exception."""

    async def body() -> None:
        post = HttpPost()
        reply = await post.post(url, b"", {})
        assert (reply.status, bool(reply.detail)) == (0, True)
        await post.close()

    run(body)


def test_nobody_takes_the_post() -> None:
    """A closed port is a reply of status 0 that says so."""

    async def body() -> None:
        post = HttpPost()
        port = closed_port("tcp", "127.0.0.1").port
        reply = await post.post(f"http://127.0.0.1:{port}/", b"", {})
        assert reply.status == 0
        assert "Connect" in reply.detail
        await post.close()

    run(body)


def test_the_world_opens_and_closes() -> None:
    """All five ports in one bundle; closing it twice is harmless."""

    async def body() -> None:
        world = system_world(dns_servers=["127.0.0.1"], sockets_max=10)
        resolved = await world.resolver.resolve("sip:127.0.0.1", "udp")
        assert [str(leg) for leg in resolved.legs] == ["127.0.0.1:5060"]
        await close_world(world)
        await close_world(world)
        await asyncio.sleep(0)

    run(body)
