"""A machine with systemd as its first process, on which psapwatch is installed as anybody would.

Its disk is this machine's, with everything written kept in memory: an overlay in a mount namespace
that one process holds, gone when that process ends. ``make install`` runs in it before it boots;
once booted it has a network of its own, and nothing of it reaches ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from components.process import Bench, Running, program
from components.waiting import until
from source_tree import ROOT

INSTALL: Final = "make install"
"""What the documentation says, and what is done here."""
SOURCE: Final = "/usr/src/psapwatch"
"""Where the source tree is on the machine."""
SHIPPED: Final = (
    *("Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
    *("daemon", "config", "deploy", "docs/runbooks", "scripts"),
)
BOOTED_WITHIN_S: Final = 30.0
COMMAND_WITHIN_S: Final = 240.0
OFF_WITHIN_S: Final = 20.0

_SET_UP: Final = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/disk"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/disk"
# Services of ours would start there too.
rm -rf "$1/disk/etc/systemd/system/"*.wants "$1/disk/etc/psapwatch" "$1/disk/opt/psapwatch"
mkdir -p "$1/disk/usr/src"
exec sleep infinity
"""


@dataclass(slots=True)
class Machine:
    """A booted machine; ``run`` is a shell on it."""

    root: Path
    _holder: Running
    _nspawn: Running | None = field(default=None)

    def before_boot(self, *argv: str) -> str:
        """Run a program on the machine's disk, with our network, before it boots."""
        outside = [*_enter(self._holder.pid, "--mount"), program("chroot"), str(self.root)]
        return _run([*outside, *argv], cwd="/").stdout

    def boot(self, bench: Bench) -> None:
        """Boot it, and wait until systemd has started what it starts."""
        argv = [
            *_enter(self._holder.pid, "--mount"),
            *(program("systemd-nspawn"), "--quiet", f"--directory={self.root}", "--boot"),
            *("--private-network", "--register=no", "--keep-unit", "--console=pipe"),
            *("--system-call-filter=bpf", "--capability=CAP_BPF,CAP_NET_ADMIN"),
            "systemd.unit=multi-user.target",
        ]
        unified = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self._nspawn = bench.start("machine", argv, environment=unified)
        self._nspawn.wait_until(self._is_up, "boots", BOOTED_WITHIN_S)

    def run(
        self, *argv: str, text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the machine.

        Raises:
            AssertionError: it failed, and ``check`` says that it must not.
        """
        return _run([*self._inside(), *argv], text=text, check=check)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the machine, up to the first command that fails."""
        return self.run("sh", "-euc", script, check=False)

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file on the machine."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, text=text)

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").stdout.strip()

    def journal(self, unit: str) -> str:
        """Return what a unit has said since its journal was last looked at anew."""
        return self.run("journalctl", "--unit", unit, "--output=cat", "--no-pager").stdout

    def power_off(self) -> None:
        """End the machine as an operator does."""
        if self._nspawn is not None and self._nspawn.exit_code is None:
            self.run("systemctl", "poweroff", check=False)
            until(lambda: self._nspawn.exit_code is not None, OFF_WITHIN_S, "powers off")  # type: ignore[union-attr]

    def _is_up(self) -> bool:
        if _leader(self._nspawn) is None:
            return False
        return "running" in self.run("systemctl", "is-system-running", check=False).stdout

    def _inside(self) -> list[str]:
        leader = _leader(self._nspawn)
        assert leader is not None, "the machine is not up"
        return _enter(leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")


def install_machine(bench: Bench) -> Machine:
    """Return a machine on which ``INSTALL`` has run in the source tree."""
    if os.geteuid() != 0:
        pytest.fail("a machine can only be booted by root (systemd-nspawn)")
    folder = bench.new_folder("machine")
    argv = [program("unshare"), "--mount", "--propagation=private", "sh", "-c", _SET_UP, "sh"]
    holder = bench.start("disk", [*argv, str(folder)])
    machine = Machine(folder / "disk", holder)
    holder.wait_until(
        lambda: Path(f"/proc/{holder.pid}/root{machine.root}/usr/src").is_dir(), "is mounted"
    )
    tree = Path(f"/proc/{holder.pid}/root{machine.root}{SOURCE}")
    for name in SHIPPED:
        _copy(ROOT / name, tree / name)
    machine.before_boot("sh", "-euc", f"cd {SOURCE}\n{INSTALL}")
    return machine


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _enter(pid: int, *namespaces: str) -> list[str]:
    return [program("nsenter"), f"--target={pid}", *namespaces, "--"]


def _leader(nspawn: Running | None) -> int | None:
    """The pid, as we see it, of the machine's first process: nspawn's child that is 1 in there."""
    if nspawn is None:
        return None
    for task in Path(f"/proc/{nspawn.pid}/task").glob("*/children"):
        for pid in map(int, task.read_text(encoding="ascii").split()):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            names = [line.split() for line in status.splitlines() if line.startswith("NSpid:")]
            if names and names[0][-1] == "1" and len(names[0]) > 2:
                return pid
    return None


def _run(
    argv: Sequence[str], *, text: str | None = None, check: bool = True, **more: Any
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        input=text if text is not None else "",
        timeout=COMMAND_WITHIN_S,
        **more,
    )
    said = f"{' '.join(argv)[-300:]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.returncode == 0 or not check, said
    return done
