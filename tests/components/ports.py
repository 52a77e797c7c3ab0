"""Free ports on loopback, and whether a process has bound its own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
ATTEMPTS_MAX: Final = 200
RUNS_FROM, RUNS_END = 12_000, 32_768
"""Linux hands out 32768 to 60999."""
TCP_LISTEN: Final = "0A"

_given: set[int] = set()


def free_port(*, run: int = 1) -> int:
    """Return the first of ``run`` neighbouring ports free for UDP and TCP, never given before.

    A run is looked for below the ports that the system hands out by itself: among those there is
    none while a test holds thousands of sockets, and a stranger's socket can come into it later.
    """
    runs = range(RUNS_FROM, RUNS_END - run, run)
    for first in runs if run > 1 else (_system_port() for _nth in range(ATTEMPTS_MAX)):
        wanted = set(range(first, first + run))
        if not wanted & _given and all(_is_free(port) for port in wanted):
            _given.update(wanted)
            return first
    raise AssertionError(f"no {run} free ports on {LOOPBACK}")


def _system_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_bound(pid: int, transport: str, port: int) -> bool:
    """Whether a port is bound (UDP) or listening (TCP, TLS) in the network namespace of ``pid``."""
    kind = "udp" if transport == "udp" else "tcp"
    for table in (kind, f"{kind}6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _number, local, _remote, state, *_rest = line.split()
            if int(local.rpartition(":")[2], 16) == port and (kind == "udp" or state == TCP_LISTEN):
                return True
    return False


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except (OSError, OverflowError):
                return False
    return True
