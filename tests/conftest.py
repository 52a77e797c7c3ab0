"""What all tests share: how hard hypothesis looks, and how many seeds are run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

_UNHURRIED = [HealthCheck.too_slow]  # two cores are shared with real components

settings.register_profile("default", deadline=None, suppress_health_check=_UNHURRIED)
settings.register_profile(
    "fuzz",
    deadline=None,
    suppress_health_check=_UNHURRIED,
    max_examples=int(os.environ.get("PSAPWATCH_FUZZ_EXAMPLES", "20000")),
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def seeds() -> range:
    """Return the seeds that an invariant is checked over: PSAPWATCH_SEEDS of them, else 5."""
    return range(int(os.environ.get("PSAPWATCH_SEEDS", "5")))
