"""Answering points on loopback, in a thread of the test, that can fall silent and come back."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from components.ports import LOOPBACK, free_port
from psapwatch.endpoint import Address
from psapwatch.net.answering import Answering
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS


@dataclass(slots=True)
class Towns:
    """Some PSAPs that answer."""

    uris: dict[str, str]
    _loop: asyncio.AbstractEventLoop
    _points: list[AnsweringPoint]

    def play(self, script: str) -> None:
        """Have all of them behave so from now on."""

        def change() -> None:
            for point in self._points:
                point.script = SCRIPTS[script]

        self._loop.call_soon_threadsafe(change)


@contextmanager
def open_towns(count: int, script: str = "bye_after_100_ms") -> Iterator[Towns]:
    """Listen on ``count`` ports of loopback until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        ports = [free_port() for _ in range(count)]
        opening = asyncio.run_coroutine_threadsafe(_open(ports, script), loop)
        listening = opening.result(5)
        uris = {
            f"ma-{number}": f"sip:psap@{LOOPBACK}:{port};transport=udp"
            for number, port in enumerate(ports, 1)
        }
        yield Towns(uris, loop, [each.point for each in listening])
        asyncio.run_coroutine_threadsafe(_close(listening), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _open(ports: list[int], script: str) -> list[Answering]:
    numbers = itertools.count(1)
    listening = []
    for port in ports:
        point = AnsweringPoint(
            SCRIPTS[script],
            name=f"town on {port}",
            tag=lambda: f"tag{next(numbers)}",
            address=Address(LOOPBACK, port),
        )
        listening.append(Answering(point, per_source_a_second=1_000))
        await listening[-1].open()
    return listening


async def _close(listening: list[Answering]) -> None:
    for each in listening:
        each.close()
    await asyncio.sleep(0)  # the transports close in the loop's next round
