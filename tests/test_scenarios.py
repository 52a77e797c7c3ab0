"""Every outage that is shipped, played whole in simulated time: alerts, cause, times, pages."""

from __future__ import annotations

import json
import os
import subprocess  # noqa: TID251 - it copies its process, which a test's threads forbid
import sys

import pytest

from psapwatch.replay.scenario import shipped

SEEDS = int(os.environ.get("PSAPWATCH_SCENARIO_SEEDS", "2"))
"""Of each; `make seeds` plays 200."""


@pytest.mark.seeds
@pytest.mark.timeout(1500 * SEEDS)
def test_every_outage_is_told_as_it_must_be() -> None:
    """Exactly the expected alerts, in time, of the right cause, and as many pages as expected."""
    program = [sys.executable, "-c", "from psapwatch.cli.main import cli; cli()"]
    options = f"--all --json --seeds {SEEDS} --jobs 1"  # the other core waits for real components
    told = subprocess.run(  # noqa: S603 - arguments written here, never a shell
        [*program, "replay", *options.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    runs = [json.loads(line) for line in told.stdout.splitlines()]
    wrong = [f"{run['scenario']} (seed {run['seed']}): {run['problems']}" for run in runs]
    assert [said for run, said in zip(runs, wrong, strict=True) if not run["ok"]] == []
    assert len(runs) == SEEDS * len(shipped()), told.stderr[-2_000:]
    assert told.returncode == 0
