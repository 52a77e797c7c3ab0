"""The web door over TLS, with certificates of a real authority."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest

from components.certificates import Authority
from psapwatch.endpoint import Address, Tls
from psapwatch.metrics import Metrics
from psapwatch.web.app import Door, make_app
from psapwatch.web.events import Events
from samples import CHECKS, Desk, FixedClock, path


def closed_door(tls: Tls) -> Door:
    """Return a door that is not open yet."""
    desk = Desk()
    metrics = Metrics([path()], CHECKS, FixedClock())
    app = make_app(desk, desk, metrics, Events(desk))
    return Door(app, Address("127.0.0.1", 0), tls)


def test_the_page_is_served_over_tls_only(tmp_path: Path) -> None:
    """A client that trusts the authority gets in; plain HTTP does not."""
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1", addresses=["127.0.0.1"])
    tls = Tls(cert_file=str(certificate.cert_file), key_file=str(certificate.key_file))

    async def run() -> int:
        door = closed_door(tls)
        where = await door.open()
        trusting = ssl.create_default_context(cafile=str(authority.ca_file))
        try:
            async with aiohttp.ClientSession() as http:
                async with http.get(f"https://{where}/-/healthy", ssl=trusting) as answer:
                    status = answer.status
                with pytest.raises(aiohttp.ClientError):
                    await http.get(f"http://{where}/-/healthy")
        finally:
            await door.close()
        return status

    assert asyncio.run(run()) == 200


def test_a_key_that_does_not_fit_is_an_error_at_the_start(tmp_path: Path) -> None:
    """The daemon must not come up half open."""
    authority = Authority(tmp_path)
    one, two = authority.issue("one"), authority.issue("two")
    door = closed_door(Tls(cert_file=str(one.cert_file), key_file=str(two.key_file)))

    async def run() -> None:
        try:
            await door.open()
        finally:
            await door.close()

    with pytest.raises(ssl.SSLError, match="mismatch"):
        asyncio.run(run())


def test_an_address_in_use_is_an_error_at_the_start() -> None:
    """Two daemons on one port: the second says so and leaves nothing open."""

    async def run() -> None:
        desk = Desk()
        metrics = Metrics([path()], CHECKS, FixedClock())
        first = Door(make_app(desk, desk, metrics, Events(desk)), Address("127.0.0.1", 0))
        where = await first.open()
        second = Door(make_app(desk, desk, metrics, Events(desk)), where)
        try:
            with pytest.raises(OSError, match="in use"):
                await second.open()
        finally:
            await second.close()
            await first.close()

    asyncio.run(run())
