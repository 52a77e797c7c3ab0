"""What stands behind the laboratory's firewall: our own answering point as every PSAP."""

from __future__ import annotations

from typing import Final

from components.daemon import PROGRAM
from components.firewall import INSIDE, SIP_PORT, Laboratory
from components.process import Bench, Running

THEIR_MEDIA: Final = "30000-30999"
"""The ports on which the answering point mirrors media, for rules."""


def start_answering_point(
    bench: Bench, laboratory: Laboratory, listen: str = f"{INSIDE}:{SIP_PORT}"
) -> Running:
    """Start ``psapwatch respond`` inside over UDP and TCP: it answers for all PSAP addresses."""
    argv = [
        *(str(PROGRAM), "respond", "--listen", listen, "--per-source", "100000"),
        *("--rtp-ports", THEIR_MEDIA, "--calls", "400"),
    ]
    running = bench.start("respond", argv, place=laboratory.inside)
    running.wait_until(lambda: running.output.count("answering on") == 2, "answers")
    return running
