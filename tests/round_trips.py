"""The prober's clock against a capture's, while the daemon runs 200 probes a second.

    python tests/round_trips.py [--seconds 30]     (make round-trips; as root, it watches loopback)

The real daemon, store and page included, asks 216 answering points for OPTIONS once a second and
calls four references once a second each, with media. Printed is how far the round trip that it
kept of each call is from the one that tshark saw; the exit code is 1 when a target is missed, or
when there were fewer than 200 probes a second.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import click
import yaml

from components.answering import start_answering
from components.capture import start_capture
from components.daemon import Daemon, start_daemon
from components.peer import Peer
from components.ports import free_port
from components.process import Bench
from components.round_trips import round_trips
from components.watching import ROOMY
from psapwatch.evidence import Kind
from psapwatch.store.store import reading

PATHS: Final = 216
REFERENCES: Final = 4
RATE_MIN: Final = 200.0
"""Probes a second, all together, that the prober's clock has to stand."""
EVERY_S: Final = 1
PORTS: Final = 16
"""Media ports of one reference's calls."""
MEDIAN_S: Final = 0.000_2
P99_S: Final = 0.001
WARM_UP_S: Final = 3.0

Ports = dict[str, tuple[int, int]]
"""By firewall."""


def configured(crowd: Peer, peer: Peer, ports: Ports) -> str:
    """A configuration whose firewalls differ by the ports that media leaves from."""
    every = {"every": f"{EVERY_S}s", "give_up_after": "900ms"}
    return yaml.dump(
        {
            "vantage": "bench",
            "identity": {"from": "sip:911-path-test@example.net"},
            "store": {"path": "FOLDER/psapwatch.db"},
            "firewalls": {
                name: {
                    "sources": [{"address": "127.0.0.1", "rtp_ports": f"{first}-{last}"}],
                    "reference": peer.uri,
                    "limits": ROOMY,
                }
                for name, (first, last) in ports.items()
            },
            "checks": {
                "keepalive": {"probe": "options", **every},
                "reference": {"probe": "call", "media": True, "on": "reference", **every},
            },
            "psaps": [
                {
                    "id": f"psap-{number}",
                    "name": f"PSAP {number}",
                    "paths": [{"firewall": "fw-0", "uri": crowd.uri}],
                }
                for number in range(PATHS)
            ],
        }
    )


async def kept(daemon: Daemon) -> dict[int, float]:
    """The round trip that the daemon kept of each call, by the port of its mirror."""
    store = reading(daemon.config.parent / "psapwatch.db")
    try:
        attempts = [
            evidence
            for number in range(REFERENCES)
            for evidence, _verdict in await store.attempts(
                "reference", f"fw-{number}", limit=10_000
            )
        ]
    finally:
        await store.close()
    found: dict[int, float] = {}
    for evidence in attempts:
        seen = evidence.last(Kind.MEDIA)
        assert seen is not None, "a call without media"
        rtt_s = seen["rtt_s"]
        assert isinstance(rtt_s, float), "a call without an echo"
        found[int(str(seen["remote"]).rpartition(":")[2])] = rtt_s
    return found


def measured(seconds: float) -> tuple[list[float], float]:
    """Run it once; how far each call's round trip is from the capture's, and probes a second."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack)
        crowd, peer = start_answering(bench), start_answering(bench, "direct")
        first = free_port(run=PORTS * REFERENCES)
        ports = {
            f"fw-{number}": (first + number * PORTS, first + (number + 1) * PORTS - 1)
            for number in range(REFERENCES)
        }
        captured = start_capture(bench, [], media=range(first, first + PORTS * REFERENCES))
        daemon = start_daemon(bench, configured(crowd, peer, ports))
        time.sleep(WARM_UP_S)  # noqa: TID251 - it lasts as long as it says
        before = _at(daemon)
        time.sleep(seconds)  # noqa: TID251 - it lasts as long as it says
        after = _at(daemon)
        daemon.end()
        captured.stop()
        ours = asyncio.run(kept(daemon))
        calls = round_trips(captured.file, (first, first + PORTS * REFERENCES - 1))
        used = Counter(mirror for _tag, mirror in calls)
        seen = {mirror: each for (_tag, mirror), each in calls.items() if used[mirror] == 1}
        apart = [abs(ours[mirror] - median(seen[mirror])) for mirror in ours.keys() & seen.keys()]
        assert len(apart) > 0.8 * REFERENCES * seconds, "the calls and the capture do not agree"
        (began, made_before), (ended, made) = before, after
        return apart, (made - made_before) / (ended - began)


def _at(daemon: Daemon) -> tuple[float, float]:
    """The moment, and how many attempts there were until then."""
    made = daemon.total("psapwatch_attempts_total")
    return time.monotonic(), made  # noqa: TID251 - a benchmark reads the clock


@click.command()
@click.option("--seconds", default=30.0, show_default=True)
def main(seconds: float) -> None:
    """Measure once and print it."""
    apart, rate = measured(seconds)
    middle, p99 = median(apart), quantiles(apart, n=100)[98]
    click.echo(f"{len(apart)} calls with media while the daemon ran {rate:.0f} probes a second")
    click.echo("round trip as kept, against the capture's own timestamps:")
    is_met = middle < MEDIAN_S and p99 < P99_S and rate >= RATE_MIN
    for name, value, target in (("median", middle, MEDIAN_S), ("p99", p99, P99_S)):
        click.echo(f"  {name:6}  {1e3 * value:.3f} ms apart (under {1e3 * target:g} ms)")
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
