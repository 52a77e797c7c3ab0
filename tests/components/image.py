"""The container image: the shipped Dockerfile, built unchanged and run as the documentation says.

No registry is asked: the base that the Dockerfile names is made of Debian's own packages, once,
and kept in pytest's cache. Images and containers live in a storage of this test alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from components.process import LOG_TAIL_CHARS, SYSTEM_PATH, Bench, program
from components.waiting import until
from source_tree import ROOT

BASE: Final = "docker.io/library/python:3.11-slim-bookworm"
"""What ``FROM python:3.11-slim-bookworm`` means."""
BASE_PACKAGES: Final = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates"
TAG: Final = "localhost/psapwatch:test"
LIMITS: Final = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
"""podman's own are above what an unprivileged host lets it set."""
READY_WITHIN_S: Final = 15.0
BUILT_WITHIN_S: Final = 240.0
COMMAND_WITHIN_S: Final = 60.0
OF_THE_HOST: Final = ("/etc/ssl/certs", "/etc/pip.conf")
"""What a build behind a proxy of one's own needs to see, where it is there."""


@dataclass(frozen=True, slots=True)
class Image:
    """A built image and the storage that it is in."""

    storage: tuple[str, ...]

    def podman(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run podman on the storage."""
        how = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", *self.storage)
        return run_program([program("podman"), *how, *argv], check=check)

    def start(self, name: str, *argv: str, more: tuple[str, ...] = ()) -> Container:
        """Start a container as locked up as the documentation says."""
        self.podman(
            *("run", "--detach", "--name", name, "--network", "host", "--pull=never"),
            *LIMITS,
            *("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL"),  # noqa: S108 - the container's
            *("--security-opt", "no-new-privileges", *more, TAG, *argv),
        )
        return Container(self, name)


@dataclass(frozen=True, slots=True)
class Container:
    """A running container."""

    image: Image
    name: str

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        return self.image.podman("exec", self.name, *argv, check=check)

    def is_healthy(self) -> bool:
        """Run the image's health check now."""
        return self.image.podman("healthcheck", "run", self.name, check=False).returncode == 0

    def show(self, template: str) -> str:
        """Return a field of ``podman inspect``."""
        return self.image.podman("inspect", self.name, "--format", template).stdout.strip()

    def said(self) -> str:
        """Return what it wrote, on both streams."""
        done = self.image.podman("logs", self.name, check=False)
        return done.stdout + done.stderr

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until it is ready; one that is not fails with what it said."""
        try:
            until(ready, READY_WITHIN_S, f"{self.name}: {what}")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.said()[-LOG_TAIL_CHARS:]}") from None

    def remove(self) -> None:
        """Take it away with its volumes, running or not."""
        self.image.podman("rm", "--force", "--volumes", "--time", "0", self.name, check=False)


def build_image(bench: Bench, cache: Path) -> Image:
    """Build the Dockerfile of the source tree; the base image's files are kept in ``cache``."""
    if os.geteuid() != 0:
        pytest.fail("the image is built by root (buildah with isolation chroot)")
    # podman refuses a runroot of more than 50 characters.
    run = bench.stack.enter_context(TemporaryDirectory("", "podman-", ignore_cleanup_errors=True))
    storage = ("--root", str(bench.new_folder("storage")), "--runroot", run)
    image = Image(storage)
    image.podman("import", "--quiet", str(_base(cache)), BASE)
    mounts = [f"--volume={path}:{path}:ro" for path in OF_THE_HOST if Path(path).exists()]
    run_program(
        [
            *(program("buildah"), *storage, "bud", "--quiet", "--isolation", "chroot"),
            *("--pull-never", "--format", "docker", "--network", "host", *mounts),
            *("--tag", TAG, str(ROOT)),
        ],
        within_s=BUILT_WITHIN_S,
    )
    return image


def _base(cache: Path) -> Path:
    """Return the files of a slim Debian with Python, made on the first run."""
    base = cache / "bookworm-python.tar"
    if not base.exists():
        part = cache / "bookworm-python.part.tar"
        run_program(
            [
                *(program("mmdebstrap"), "--quiet", "--variant=minbase"),
                *(f"--include={BASE_PACKAGES}", "bookworm", str(part)),
            ],
            within_s=BUILT_WITHIN_S,
        )
        part.rename(base)
    return base


def run_program(
    argv: list[str], *, check: bool = True, within_s: float = COMMAND_WITHIN_S
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Raises:
        AssertionError: it failed, and ``check`` says that it must not.
    """
    done = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        timeout=within_s,
        env={**os.environ, "PATH": SYSTEM_PATH},
        stdin=subprocess.DEVNULL,
    )
    said = f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.returncode == 0 or not check, said[-6_000:]
    return done
