"""An outage of thousands: all paths silent, and the daemon's own house in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from components.daemon import Daemon
from components.firewall import OUTSIDE, SIP_PORT, Laboratory
from components.inbox import fetch
from components.process import program
from components.watching import OPTIONS, outcomes, watching

PATHS: Final = 2_000
BETWEEN_SCRAPES_S: Final = 1.0
"""A scrape of 2,000 paths is work: asking all the time would be a test of scraping."""


def silent_paths() -> dict[str, str]:
    """2,000 PSAPs, each with an address of its own."""
    return {
        f"psap-{number}": f"sip:psap@198.18.{number // 250}.{number % 250 + 1};transport=udp"
        for number in range(PATHS)
    }


def descriptors(watch: Daemon) -> int:
    """How many the daemon has open."""
    return sum(1 for _ in Path(f"/proc/{watch.running.pid}/fd").iterdir())


def blamed(watch: Daemon) -> set[str]:
    """Which causes the attempts were given."""
    counts = watch.samples("psapwatch_causes_total")
    labels = (dict(each.split("=", 1) for each in name.split(",")) for name in counts)
    return {of["cause"] for of, count in zip(labels, counts.values(), strict=True) if count}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("limit", "every_s", "open_at_once"),
    [
        pytest.param(20_000, 5, 4_300, id="as many listening as at 15 s for the 32 s of Timer F"),
        pytest.param(1_024, 10, 0, id="more than there are descriptors"),
    ],
)
def test_2000_silent_paths(
    laboratory: Laboratory,
    daemon: Callable[..., Daemon],
    limit: int,
    every_s: int,
    open_at_once: int,
) -> None:
    """Every attempt is the path's failure: no descriptor is missing, nothing is our own fault."""
    prefix = (*laboratory.outside.prefix, program("prlimit"), f"--nofile={limit}:{limit}", "--")
    place = replace(laboratory.outside, prefix=prefix)
    check = OPTIONS | {"every": f"{every_s}s", "give_up_after": "4s"}
    config = watching(silent_paths(), source=OUTSIDE[0], options=check, call=None)
    with laboratory.rule(f"udp dport {SIP_PORT} counter drop") as rule:
        watch = daemon(config, place=place, laboratory=laboratory)
        most = 0

        def all_failed_and_open() -> bool:
            nonlocal most
            time.sleep(BETWEEN_SCRAPES_S)
            most = max(most, descriptors(watch))
            return most >= open_at_once and outcomes(watch).get("fail", 0) >= PATHS

        watch.wait_for(all_failed_and_open, 60, "an attempt on every path")
        assert fetch(f"{watch.base_url}/").status == 200, "the page is still served"
        assert most <= limit
        assert set(outcomes(watch)) <= {"fail", "inconclusive"}
        # Where this machine itself stood still, the daemon says so of itself and blames nobody.
        assert blamed(watch) - {"prober_fault"} == {"calls_blocked"}
        assert watch.total("psapwatch_internal_errors_total") == 0
        blind = {"alert": "ProberBlind"}
        assert watch.total("psapwatch_incident_open", blind) == 0
        assert rule.packets >= PATHS
        watch.end()
    assert "own fault" not in watch.running.output
    assert "Too many open files" not in watch.running.output
