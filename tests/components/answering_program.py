"""An answering point, run as a program of its own: ``answering_program.py '{JSON}'``.

It prints ``READY`` once it listens; after SIGTERM every request that came in and how many calls it
still thinks open.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from dataclasses import replace
from typing import Any

from psapwatch.endpoint import Address
from psapwatch.net.answering import Answering
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS, Step


def say(*words: str) -> None:
    """Tell the test, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(settings: dict[str, Any]) -> None:
    """Listen and answer until SIGTERM."""
    script = SCRIPTS[settings["script"]]
    if settings["bye_after_s"]:
        script = replace(script, bye=(Step(200, settings["bye_after_s"]),))
    numbers = itertools.count(1)
    point = AnsweringPoint(
        script,
        name="bench",
        tag=lambda: f"bench{next(numbers)}",
        address=Address(settings["host"], settings["port"]),
    )
    point.tells_what_it_saw = True
    answering = Answering(point, settings["transport"], per_source_a_second=100_000.0)
    await answering.open()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    say("READY")
    await ended.wait()
    for seen in point.log:
        say("ASKED", seen.method, seen.call_id, str(seen.at))
    say("OPEN", str(point.open_calls))
    answering.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
