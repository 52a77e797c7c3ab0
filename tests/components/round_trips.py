"""Round trips of media as a capture has them: by its own timestamps, not by the prober's clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dpkt

from psapwatch.rtp.packet import is_media, is_rtcp
from psapwatch.rtp.tone import tag_of


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram of a capture."""

    at_s: float
    sport: int
    dport: int
    octets: bytes


def datagrams(file: Path) -> Iterable[Datagram]:
    """UDP datagrams of a capture file on loopback."""
    with file.open("rb") as stream:
        for at_s, frame in dpkt.pcapng.Reader(stream):
            packet = dpkt.ethernet.Ethernet(frame).data
            if isinstance(packet, dpkt.ip.IP) and isinstance(packet.data, dpkt.udp.UDP):
                udp = packet.data
                yield Datagram(at_s, udp.sport, udp.dport, bytes(udp.data))


def round_trips(file: Path, ports: tuple[int, int]) -> dict[tuple[str, int], list[float]]:
    """Round trips of each call's packets by the capture's own timestamps, calls in their order.

    A call goes by its tag and the port of its mirror; its own packets leave from ``ports``.
    """
    left: dict[tuple[str, int], float] = {}
    calls: dict[tuple[str, int], list[float]] = {}
    for each in datagrams(file):
        found = tag_of(each.octets) if is_media(each.octets) and not is_rtcp(each.octets) else None
        if found is None:
            continue
        if ports[0] <= each.sport <= ports[1]:
            left[found] = each.at_s
        elif ports[0] <= each.dport <= ports[1]:
            calls.setdefault((found[0], each.sport), []).append(each.at_s - left[found])
    return calls
