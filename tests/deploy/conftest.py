"""What is shipped, tried with the real thing: the fixtures are those of the live tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from components.machine import Machine, install_machine
from components.process import Bench
from deploy.june import Record, played
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


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted machine on which psapwatch was installed as the documentation says."""
    with ExitStack() as stack:
        bench = Bench(tmp_path_factory.mktemp("machine"), stack)
        machine = install_machine(bench)
        stack.callback(machine.power_off)
        machine.boot(bench)
        yield machine


@pytest.fixture(scope="session")
def june(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """18 June 2024, played once for all who ask what came of it."""
    with played(tmp_path_factory.mktemp("june")) as record:
        yield record
