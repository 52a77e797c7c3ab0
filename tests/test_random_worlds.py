"""Worlds by chance: whatever goes wrong there, the invariants of the house hold."""

from __future__ import annotations

import os

import pytest

from psapwatch.replay.judge import judge
from psapwatch.replay.play import play
from psapwatch.replay.random_world import random_world, random_yaml
from psapwatch.replay.scenario import read_octets

SEEDS = int(os.environ.get("PSAPWATCH_SEEDS", "10"))


@pytest.mark.seeds
@pytest.mark.timeout(60 + 20 * SEEDS)
def test_the_invariants_hold_in_every_world() -> None:
    """Calls end, test URNs only, floors kept, counts agree, incidents close or are open."""
    broken = [
        f"psapwatch replay random --seed {seed}: {problem}"
        for seed in range(1, SEEDS + 1)
        for problem in judge(play(random_world(seed), seed, thorough=True)).problems
    ]
    assert broken == []


def test_a_world_is_a_file_like_any_other() -> None:
    """What a seed makes can be printed, kept, and read again."""
    for seed in range(300):
        scenario = read_octets(random_yaml(seed).encode(), "here", "here")
        assert scenario.faults
        assert scenario.runs_s > max(fault.over_at or 0.0 for _label, fault in scenario.faults)
