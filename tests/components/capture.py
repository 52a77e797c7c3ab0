"""Packets as tshark saw them: captured on one interface, decoded into SIP messages."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.peer import Peer
from components.ports import free_port
from components.process import HERE, Bench, Place, Running, program

_MARK_SENDER: Final = (
    "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), "
    "(sys.argv[1], 9))"
)
_DECODE_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Seen:
    """One SIP message of a capture; ``fields`` are tshark's names, each with all its values."""

    at_s: float
    source: str
    destination: str
    transport: str
    fields: dict[str, tuple[str, ...]]

    def field(self, name: str) -> str:
        """Return the first value of a tshark field, or ``''``."""
        return next(iter(self.fields.get(name, ())), "")

    @property
    def method(self) -> str:
        """The method of a request, ``''`` for a response."""
        return self.field("sip.Method")

    @property
    def status(self) -> int:
        """The status code of a response, 0 for a request."""
        return int(self.field("sip.Status-Code") or 0)

    @property
    def uri(self) -> str:
        """The Request-URI of a request."""
        return self.field("sip.r-uri")

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.field("sip.Call-ID")

    @property
    def cseq_method(self) -> str:
        """The method that the CSeq names."""
        return self.field("sip.CSeq.method")

    @property
    def is_malformed(self) -> bool:
        """Whether tshark's own decoder stumbled over it."""
        return any(name.startswith("_ws.malformed") for name in self.fields)

    def __str__(self) -> str:
        what = f"{self.method} {self.uri}" if self.method else f"{self.status} {self.cseq_method}"
        return f"{self.at_s:.3f} {self.source} > {self.destination} {self.transport} {what}"


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture that runs until ``stop``."""

    running: Running
    file: Path
    place: Place
    neighbour: str
    sip_ports: tuple[int, ...]

    def stop(self) -> list[Seen]:
        """End the capture once everything sent so far is in it; return its SIP messages."""
        self.mark("end")
        self.running.end(by=signal.SIGINT)
        return decode(self.file, self.sip_ports)

    def mark(self, word: str) -> None:
        """Send marks until one is in the file: then the capture is on, and has caught up."""
        mark = f"psapwatch-bench-mark-{word}-{free_port()}"
        argv = [*self.place.prefix, sys.executable, "-c", _MARK_SENDER, self.neighbour, mark]

        def is_written() -> bool:
            subprocess.run(argv, check=True)
            return self.file.exists() and mark.encode() in self.file.read_bytes()

        self.running.wait_until(is_written, f"writes what it sees ({word})")


def start_capture(
    bench: Bench,
    peers: Sequence[Peer],
    *,
    media: Sequence[int] = (),
    interface: str = "lo",
    place: Place = HERE,
    neighbour: str | None = None,
) -> Capture:
    """Capture an interface; packets of the peers' ports are decoded as SIP when it stops.

    ``media`` are UDP ports to capture beside them. ``neighbour`` is an address beyond that
    interface, to which marks are sent.
    """
    folder = bench.new_folder("capture")
    file = folder / "capture.pcapng"
    # Others use loopback too: only our ports, ICMP about them, and the marks to port 9. A port is
    # ours for its transport only: what listens over TCP leaves the number to anybody's datagrams.
    sip = [f"{'udp' if peer.transport == 'udp' else 'tcp'} port {peer.port}" for peer in peers]
    rtp = [f"udp port {port}" for port in media]
    wanted = " or ".join([*sip, *rtp, "icmp", "icmp6", "udp port 9"])
    argv = [program("tshark"), "-q", "-i", interface, "-f", wanted, "-w", str(file)]
    running = bench.start("tshark", argv, folder=folder, place=place)
    sip_ports = tuple({peer.port: None for peer in peers})
    capture = Capture(running, file, place, neighbour or place.address, sip_ports)
    capture.mark("begin")
    return capture


def decode(file: Path, sip_ports: Iterable[int], *, keylog: Path | None = None) -> list[Seen]:
    """Return the SIP messages of a capture file, oldest first.

    ``keylog`` is an SSLKEYLOGFILE, with which TLS on the ports is read as well.
    """
    tables = ("tls.port",) if keylog else ("udp.port", "tcp.port")
    hints = [
        word for port in sip_ports for table in tables for word in ("-d", f"{table}=={port},sip")
    ]
    keys = ["-o", f"tls.keylog_file:{keylog}"] if keylog else []
    argv = [program("tshark"), "-r", str(file), *hints, *keys, "-Y", "sip", "-T", "json"]
    decoded = subprocess.run(
        argv, check=True, capture_output=True, text=True, timeout=_DECODE_TIMEOUT_S
    )
    frames = json.loads(decoded.stdout or "[]", object_pairs_hook=_Pairs)
    return [seen for frame in frames for seen in _messages(frame)]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its repeated names: one frame holds several SIP messages on a stream."""

    def last(self, *names: str) -> _Pairs:
        """Walk down objects by name, taking the last of each."""
        found = self
        for name in names:
            found = next((value for key, value in reversed(found) if key == name), _Pairs())
        return found

    def flat(self) -> Iterator[tuple[str, str]]:
        """Every leaf, with its name."""
        for name, value in self:
            if isinstance(value, _Pairs):
                yield name, ""
                yield from value.flat()
            elif isinstance(value, list):
                yield from ((name, str(one)) for one in value)
            else:
                yield name, str(value)


def _messages(frame: _Pairs) -> Iterator[Seen]:
    layers = frame.last("_source", "layers")
    flat = dict(layers.last("frame").flat())
    names = {name for name, _ in layers}
    if names & {"icmp", "icmpv6"}:
        return  # what an ICMP error quotes was not sent again
    family = "ipv6" if "ipv6" in names else "ip"
    transport = "udp" if "udp" in names else "tcp"
    ends = dict(layers.last(family).flat()) | dict(layers.last(transport).flat())
    source, destination = (
        f"{ends[f'{family}.{end}']}:{ends[f'{transport}.{end}port']}" for end in ("src", "dst")
    )
    for name, message in layers:
        if name == "sip" and isinstance(message, _Pairs):
            fields: dict[str, list[str]] = {}
            for leaf, value in message.flat():
                fields.setdefault(leaf, []).append(value)
            yield Seen(
                float(flat["frame.time_epoch"]),
                source,
                destination,
                transport,
                {leaf: tuple(values) for leaf, values in fields.items()},
            )
