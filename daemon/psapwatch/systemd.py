"""Telling systemd how the daemon is: ready, alive, reloading, stopping (sd_notify(3); layer L4).

Without systemd every call does nothing. A lost datagram is not worth a failure, so errors of the
socket are swallowed here and only here: the watchdog is the one who notices.
"""

from __future__ import annotations

import socket  # noqa: TID251 - the one local datagram to systemd; no SIP ever takes this way
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

from psapwatch.remote_text import printable

STATUS_CHARACTERS_MAX: Final = 200
WATCHDOG_SHARE: Final = 4
"""A sign of life is sent at most every fourth of ``WatchdogSec``."""
WATCHDOG_ROUNDS: Final = 4.0
"""How many attempts in a row may be missing before the watchdog bites."""


class Systemd:
    """The notification socket of one service."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = self._watchdog_given_s = watchdog_s
        self._alive_at = float("-inf")

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Self:
        """Read ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` as systemd sets them."""
        ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = environment.get("WATCHDOG_USEC", "")
        watchdog_s = int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_s)

    def ready(self, status: str = "") -> None:
        """Say that the first round is scheduled, or that a reload has ended."""
        self._tell("READY=1", _status(status))

    def reloading(self, now: float) -> None:
        """Say that a reload begins; ``now`` is the loop's clock (CLOCK_MONOTONIC seconds)."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(now * 1e6)}")

    def stopping(self, status: str = "") -> None:
        """Say that shutdown begins."""
        self._tell("STOPPING=1", _status(status))

    def status(self, status: str) -> None:
        """Show one line in ``systemctl status``."""
        self._tell(_status(status))

    def expect_every(self, seconds: float) -> None:
        """Say how often attempts finish while all is well (0: never, as in an empty shard).

        A schedule that is slower than ``WatchdogSec`` asks systemd for a longer watchdog, or for
        none: a daemon that waits as it should must not be killed for it.
        """
        if not self._watchdog_given_s:
            return
        wanted_s = max(self._watchdog_given_s, WATCHDOG_ROUNDS * seconds) if seconds else 0.0
        if wanted_s != self.watchdog_s:
            self.watchdog_s = wanted_s
            self._tell(f"WATCHDOG_USEC={int(wanted_s * 1e6)}")

    def alive(self, now: float) -> None:
        """Feed the watchdog; call it when an attempt really finished. ``now`` as in reloading."""
        if self.watchdog_s and now - self._alive_at >= self.watchdog_s / WATCHDOG_SHARE:
            self._alive_at = now
            self._tell("WATCHDOG=1")

    def _tell(self, *fields: str) -> None:
        if not self._address:
            return
        message = "\n".join(filter(None, fields)).encode()
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
            to_systemd.settimeout(0)
            to_systemd.sendto(message, self._address)


def _status(text: str) -> str:
    return f"STATUS={printable(text, STATUS_CHARACTERS_MAX)}" if text else ""
