"""What all tests share: how hard hypothesis looks, and how many seeds are run."""

from __future__ import annotations

import logging  # noqa: TID251 - what a command set up is taken down again
import os
from collections.abc import Iterator

import pytest
import structlog
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


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Where a command of a test sends its log lines ends with the test: that stream is closed."""
    root = logging.getLogger()
    before = root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = [each for each in root.handlers if "psapwatch" not in type(each).__module__]
    root.setLevel(before)
