"""What stands behind the laboratory's firewall: our own answering point as every PSAP."""

from __future__ import annotations

from components.daemon import PROGRAM
from components.firewall import INSIDE, SIP_PORT, Laboratory
from components.process import Bench, Running


def start_answering_point(bench: Bench, laboratory: Laboratory) -> Running:
    """Start ``psapwatch respond`` inside over UDP and TCP: it answers for all PSAP addresses."""
    argv = [str(PROGRAM), "respond", "--listen", f"{INSIDE}:{SIP_PORT}", "--per-source", "100000"]
    running = bench.start("respond", argv, place=laboratory.inside)
    running.wait_until(lambda: running.output.count("answering on") == 2, "answers")
    return running
