"""Child processes of the bench: found or named as missing, started, ended by their own pid."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from components.ports import LOOPBACK
from components.waiting import PATIENCE, PAUSE_S, until

SYSTEM_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
LOG_TAIL_CHARS: Final = 4_000
START_WITHIN_S: Final = 15.0
END_WITHIN_S: Final = 10.0

PACKAGES: Final = {
    "amtool": "prometheus-alertmanager",
    "baresip": "baresip-core",
    "buildah": "buildah",
    "chroot": "coreutils",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "iptables": "iptables",
    "kamailio": "kamailio",
    "make": "make",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "podman": "podman",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "runc": "runc",
    "setpriv": "util-linux",
    "sipp": "sip-tester",
    "sleep": "coreutils",
    "socat": "socat",
    "systemd-nspawn": "systemd-container",
    "tshark": "tshark",
    "unshare": "util-linux",
}
"""Each program of the bench and the Debian package that brings it."""


def program(name: str) -> str:
    """Return the path of a real component; a missing one fails the test and names its package."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        pytest.fail(f"{name} is missing: install {PACKAGES[name]} (scripts/system-packages does)")
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a component runs: the words before its argument list, and its address there."""

    name: str
    address: str
    prefix: tuple[str, ...] = ()


HERE: Final = Place("here", LOOPBACK)


class Running:
    """One started program with its log; ``end`` or ``kill`` it by its own pid."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        place: Place,
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self.log = log
        # Should the test run itself be killed, the kernel ends the component too.
        dies_with_us = (program("setpriv"), "--pdeathsig", "TERM", "--")
        with log.open("wb") as sink:
            self._child = subprocess.Popen(
                [*place.prefix, *dies_with_us, *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": SYSTEM_PATH, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The program's process id: each word of the prefix replaces itself by the next."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs."""
        return self._child.poll()

    @property
    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until(
        self,
        ready: Callable[[], bool],
        what: str,
        within_s: float = START_WITHIN_S,
        *,
        pause_s: float = PAUSE_S,
    ) -> None:
        """Wait until it is ready; one that ended meanwhile fails with the end of its log."""

        def ready_or_over() -> bool:
            return self.exit_code is not None or ready()

        until(ready_or_over, within_s, f"{self.name}: {what}", pause_s=pause_s)
        if self.exit_code is not None:
            tail = self.output[-LOG_TAIL_CHARS:]
            raise AssertionError(f"{self.name} ended with {self.exit_code}:\n{tail}")

    def end(self, within_s: float = END_WITHIN_S, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return its exit code.

        Raises:
            AssertionError: it had to be killed: it did not end ``PATIENCE`` times ``within_s``.
        """
        if self.exit_code is None:
            self._child.send_signal(by)
        try:
            return self._child.wait(PATIENCE * within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            said = f"{self.name} did not end within {PATIENCE * within_s:g} s"
            raise AssertionError(said) from None

    def kill(self) -> None:
        """End it and the children of its own session at once."""
        if self.exit_code is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()


@dataclass(slots=True)
class Bench:
    """The components that one test has started; all of them end with the test."""

    folder: Path
    stack: ExitStack
    running: list[Running] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def new_folder(self, name: str) -> Path:
        """Return a fresh folder of its own."""
        folder = self.folder / f"{next(self._numbers):02}-{name}"
        folder.mkdir()
        return folder

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        folder: Path | None = None,
        place: Place = HERE,
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start a program whose output goes to ``NAME.log`` in its folder."""
        log = (folder or self.new_folder(name)) / f"{name}.log"
        running = Running(name, argv, log, place, environment or {})
        self.running.append(running)
        self.stack.callback(_end_or_kill, running)
        return running


def _end_or_kill(running: Running) -> None:
    if running.exit_code is None:
        running.end()
