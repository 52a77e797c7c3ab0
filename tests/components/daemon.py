"""The daemon itself as a subprocess: ``psapwatch run --config FILE``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from components.firewall import Laboratory
from components.inbox import fetch
from components.ports import free_port
from components.process import HERE, Bench, Place, Running
from components.waiting import PAUSE_S

READY_WITHIN_S: Final = 20.0
END_WITHIN_S: Final = 5.0
LOOK_EVERY_S: Final = 0.1
"""Each look into a namespace costs a process there."""
PROGRAM: Final = Path(sys.executable).with_name("psapwatch")
OWN_PORT: Final = 9911
"""Where it listens in a namespace of its own, where no port can be taken."""


@dataclass(slots=True)
class Daemon:
    """A running daemon."""

    base_url: str
    running: Running
    config: Path

    def json(self, path: str) -> Any:
        """GET a path and return its JSON.

        Raises:
            AssertionError: the answer was not 200.
        """
        answer = fetch(self.base_url + path)
        assert answer.status == 200, f"{path}: {answer}"
        return answer.json()

    def samples(self, name: str, labels: Mapping[str, str] | None = None) -> dict[str, float]:
        """Return the samples of a metric with these labels, by their labels as text."""
        text = fetch(f"{self.base_url}/metrics").text
        wanted = dict(labels or {}).items()
        return {
            ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and wanted <= sample.labels.items()
        }

    def total(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """Return the sum over all samples of a metric with these labels."""
        return sum(self.samples(name, labels).values())

    def wait_for(
        self,
        condition: Callable[[], object],
        within_s: float,
        what: str,
        *,
        pause_s: float = PAUSE_S,
    ) -> None:
        """Wait until something has come about; a daemon that ends meanwhile fails with its log."""
        self.running.wait_until(lambda: bool(condition()), what, within_s, pause_s=pause_s)

    def end(self) -> None:
        """Send SIGTERM.

        Raises:
            AssertionError: it did not end, or its exit code was not 0.
        """
        code = self.running.end(END_WITHIN_S)
        assert code == 0, f"the daemon ended with {code}:\n{self.running.output[-4000:]}"

    def kill(self) -> None:
        """Send SIGKILL, as a crash does."""
        self.running.kill()


def start_daemon(
    bench: Bench,
    config_text: str,
    *,
    place: Place = HERE,
    laboratory: Laboratory | None = None,
    folder: Path | None = None,
) -> Daemon:
    """Start the daemon with a configuration and wait until it is ready.

    ``FOLDER`` in the text becomes a folder of its own; pass a killed daemon's ``config.parent`` as
    ``folder`` to start on the same store. In a laboratory's place its page is reached by a relay.
    """
    folder = folder or bench.new_folder("daemon")
    config = folder / "psapwatch.yml"
    config.write_text(config_text.replace("FOLDER", str(folder)), encoding="utf-8")
    port = free_port() if place == HERE else OWN_PORT
    argv = [
        *(str(PROGRAM), "run", "--config", str(config)),
        *("--listen", f"127.0.0.1:{port}", "--log-format", "json"),
    ]
    running = bench.start("psapwatch", argv, folder=folder, place=place)
    base_url = f"http://127.0.0.1:{port}"
    if laboratory is not None:
        base_url = laboratory.reach(place, port)
    running.wait_until(
        lambda: fetch(f"{base_url}/-/ready").status == 200,
        "is ready",
        READY_WITHIN_S,
        pause_s=LOOK_EVERY_S,
    )
    daemon = Daemon(base_url, running, config)
    bench.stack.callback(_must_end_well, daemon)
    return daemon


def _must_end_well(daemon: Daemon) -> None:
    if daemon.running.exit_code is None:
        daemon.end()
