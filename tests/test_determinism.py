"""The whole daemon gives the same run for the same seed, in this process and in any other."""

from __future__ import annotations

import json
import os
import subprocess  # noqa: TID251 - another interpreter has another hash seed
import sys
from collections.abc import Sequence

import pytest

from psapwatch.replay.play import Played, play
from psapwatch.replay.scenario import read_octets

OUTAGE = b"""
title: a firewall that blocks, and whose links are no better than they should be
network: {psaps: 9, transports: [udp, tcp], link: {loss: 0.02, duplicate: 0.01, reorder: 0.02}}
quiet: 60s
faults:
  - {kind: rule, at: 10s, for: 60s, methods: [INVITE, OPTIONS]}
  - {kind: answers, at: 90s, for: 30s, who: [psap-002], script: forked}
runs: 150s
"""


def _played(seed: int) -> Played:
    return play(read_octets(OUTAGE, "here", "here"), seed)


def _told(played: Played) -> list[tuple[float, str, str]]:
    return [(page.at, page.name, page.annotations["summary"]) for page in played.pages]


def test_the_same_seed_gives_the_same_run() -> None:
    """Every packet at its moment, every alert, every word of it."""
    one, again = _played(4), _played(4)
    assert one.digest == again.digest
    assert _told(one) == _told(again) != []


def test_another_seed_gives_another_run() -> None:
    """The seed is not for show: delays, losses and identifiers differ."""
    assert len({_played(seed).digest for seed in (1, 2, 3)}) == 3


@pytest.mark.timeout(180)
def test_no_order_of_a_set_shows() -> None:
    """Interpreters with different hash seeds run the same worlds, restarts in them included."""
    seeds = ("2", "13")
    assert _elsewhere("0", seeds) == _elsewhere("4242", seeds)


def _elsewhere(hash_seed: str, seeds: Sequence[str]) -> list[str]:
    """Digests of some worlds by chance, from a new interpreter."""
    digests = []
    for seed in seeds:
        told = subprocess.run(  # noqa: S603 - arguments written here, never a shell
            [
                sys.executable,
                "-m",
                "psapwatch.cli.main",
                "replay",
                "random",
                "--seed",
                seed,
                "--json",
            ],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        digests.append(json.loads(told)["digest"])
    return digests
