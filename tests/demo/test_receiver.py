"""The demo's far end of an alert: what it says of beginnings and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from psapwatch.demo.receiver import Receiver
from psapwatch.net.clock import SystemClock
from psapwatch.simulator.alertmanager import ALERTS_PATH

BLOCKED = {"alertname": "CallsBlocked", "scope": "firewall", "member": "fw-east"}


def test_an_alert_is_over_when_its_end_came_and_not_before() -> None:
    """The end belongs to the firing before it: what fires again afterwards is not over."""

    async def scene() -> None:
        receiver = Receiver(SystemClock())
        where = await receiver.open()
        try:
            async with aiohttp.ClientSession(where) as http:

                async def post(**moments: str) -> None:
                    body: Any = [{"labels": BLOCKED, **moments}]
                    async with http.post(ALERTS_PATH, json=body) as answer:
                        assert answer.status == 200

                past = {"startsAt": "2024-06-18T17:15:00Z", "endsAt": "2024-06-18T19:15:00Z"}
                await post()
                (first,) = receiver.told
                assert receiver.over_at(first) is None
                await post(**past)
                await post()
                again = receiver.told[-1]
                assert receiver.over_at(first) == receiver.resolved[0].at
                assert receiver.over_at(again) is None
        finally:
            await receiver.close()

    asyncio.run(scene())
