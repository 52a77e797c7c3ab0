"""What is shipped, tried with the real thing: the fixtures are those of the live tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from live.conftest import (
    alertmanager,
    bench,
    daemon,
    inbox,
    prometheus,
    pytest_runtest_makereport,
)

_HERE = Path(__file__).parent

__all__ = ["alertmanager", "bench", "daemon", "inbox", "prometheus", "pytest_runtest_makereport"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what talks to real components."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.live)
