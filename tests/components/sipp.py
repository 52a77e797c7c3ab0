"""SIPp plays an answering point over UDP or TCP."""

from __future__ import annotations

import re
from typing import Final

from components.peer import Peer
from components.ports import free_port, is_bound
from components.process import HERE, Bench, Place, program
from components.sipp_scenarios import scenario_xml

_MODES: Final = {"udp": "u1", "tcp": "t1"}  # this build speaks no TLS: put Kamailio in front


def start_sipp(
    bench: Bench,
    scenario: str = "mirror",
    *,
    transport: str = "udp",
    place: Place = HERE,
    port: int | None = None,
) -> Peer:
    """Start SIPp with one of the scenarios of ``sipp_scenarios``.

    ``mirror`` answers OPTIONS and INVITE as RFC 6881 15 asks: 200 with ``a=loopback-mirror`` and
    BYE 500 ms after the ACK. ``patient`` waits for our BYE, ``no_loopback`` answers like a plain
    phone, ``ringing`` rings until CANCEL, ``slow`` says 100 and answers 9 s later unless it is
    cancelled, ``busy`` refuses with 486. All of them answer OPTIONS.
    """
    folder = bench.new_folder("sipp")
    sip_port = port or free_port()
    media_port = free_port(run=4)
    script = folder / f"{scenario}.xml"
    script.write_text(scenario_xml(scenario), encoding="utf-8")
    argv = [
        *(program("sipp"), "-sf", str(script), "-t", _MODES[transport]),
        *("-i", place.address, "-mi", place.address, "-p", str(sip_port), "-nostdin"),
        *("-mp", str(media_port), "-rtp_echo"),
        *("-trace_msg", "-message_file", str(folder / "messages.log")),
        *("-trace_err", "-error_file", str(folder / "errors.log")),
    ]
    running = bench.start("sipp", argv, folder=folder, place=place)
    running.wait_until(
        lambda: is_bound(running.pid, transport, sip_port), f"listens on {sip_port}/{transport}"
    )
    return Peer(place.address, sip_port, transport, running)


def finished_calls(peer: Peer) -> tuple[int, int]:
    """End SIPp and return how many calls went as its scenario says, and how many did not.

    A call still open, as after an ACK or BYE that never came, is in neither number.
    """
    peer.running.end()
    counted = [_cumulative(peer.running.output, row) for row in ("Successful", "Failed")]
    return counted[0], counted[1]


def _cumulative(screen: str, row: str) -> int:
    """Read the last column of a row of SIPp's last screen."""
    found = re.findall(rf"{row} call +\| +\d+ +\| +(\d+)", screen)
    assert found, f"no row {row!r} on the last screen"
    return int(found[-1])
