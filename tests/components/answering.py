"""Our own answering point with any of its scripts, in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from components.peer import Peer
from components.ports import free_port
from components.process import HERE, Bench, Place

_PROGRAM: Final = Path(__file__).parent / "answering_program.py"


def start_answering(
    bench: Bench,
    script: str = "mirror",
    *,
    transport: str = "udp",
    place: Place = HERE,
    port: int | None = None,
    bye_after_s: float = 0.0,
) -> Peer:
    """Start a script of ``sip.answering_script``; a BYE is answered ``bye_after_s`` late."""
    port = port or free_port()
    settings = {
        "script": script,
        "transport": transport,
        "host": place.address,
        "port": port,
        "bye_after_s": bye_after_s,
    }
    running = bench.start(
        "answering", [sys.executable, "-P", str(_PROGRAM), json.dumps(settings)], place=place
    )
    running.wait_until(lambda: "READY" in running.output, f"listens on {port}/{transport}")
    return Peer(place.address, port, transport, running)


def requests(peer: Peer) -> list[tuple[str, str]]:
    """End an answering point; return method and Call-ID of all it was asked, repeats included."""
    peer.running.end()
    return [(method, call_id) for method, call_id, _at in _asked(peer)]


def requests_a_second(peer: Peer) -> float:
    """The rate at which an ended answering point was asked, over the last of what it was asked."""
    moments = [float(at) for _method, _call_id, at in _asked(peer)]
    return (len(moments) - 1) / (max(moments) - min(moments))


def _asked(peer: Peer) -> list[list[str]]:
    words = (line.split() for line in peer.running.output.splitlines())
    return [told for kind, *told in filter(None, words) if kind == "ASKED"]


def calls_left(peer: Peer) -> int:
    """Return how many calls an ended answering point still thought to be open."""
    return int(peer.running.output.rsplit("OPEN ", 1)[1])
