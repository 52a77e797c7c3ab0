"""Real components as fixtures. Each fixture is a factory: call it as often as a test needs.

All of them listen on free ports of 127.0.0.1, work in a folder of the test, and end with it by
their own process id. A component that is not installed fails the test and names its package.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from selenium import webdriver

from components.browser import open_browser
from components.capture import Capture, start_capture
from components.certificates import Authority
from components.daemon import Daemon, start_daemon
from components.firewall import Laboratory, open_laboratory
from components.inbox import Inbox, open_inbox
from components.kamailio import Kamailio, start_kamailio
from components.monitoring import (
    Alertmanager,
    Prometheus,
    start_alertmanager,
    start_prometheus,
)
from components.peer import Peer
from components.phones import start_baresip, start_pjsua
from components.process import LOG_TAIL_CHARS, Bench
from components.sipp import start_sipp

_BENCH = pytest.StashKey[Bench]()
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what talks to real components."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.live)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each component's log beside a failure."""
    report = yield
    bench = item.stash.get(_BENCH, None)
    if report.failed and bench is not None:
        for running in bench.running:
            report.sections.append((f"{running.name} said", running.output[-LOG_TAIL_CHARS:]))
    return report


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One headless Chromium for all tests of a file."""
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Everything that this test starts, ended in reverse order."""
    with ExitStack() as stack:
        bench = Bench(tmp_path, stack)
        request.node.stash[_BENCH] = bench
        yield bench


@pytest.fixture
def sipp(bench: Bench) -> Callable[..., Peer]:
    """SIPp as an answering point; see ``start_sipp``."""
    return partial(start_sipp, bench)


@pytest.fixture
def kamailio(bench: Bench) -> Callable[..., Kamailio]:
    """Kamailio: answers, challenges or proxies; see ``start_kamailio``."""
    return partial(start_kamailio, bench)


@pytest.fixture
def pjsua(bench: Bench) -> Callable[..., Peer]:
    """Return pjsip as an automatic phone; see ``start_pjsua``."""
    return partial(start_pjsua, bench)


@pytest.fixture
def baresip(bench: Bench) -> Callable[..., Peer]:
    """A phone on auto-answer, which a test call must call unsafe; see ``start_baresip``."""
    return partial(start_baresip, bench)


@pytest.fixture
def alertmanager(bench: Bench) -> Callable[..., Alertmanager]:
    """A real Alertmanager; see ``start_alertmanager``."""
    return partial(start_alertmanager, bench)


@pytest.fixture
def prometheus(bench: Bench) -> Callable[..., Prometheus]:
    """A real Prometheus; see ``start_prometheus``."""
    return partial(start_prometheus, bench)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A web server that keeps what is posted to it."""
    with open_inbox() as inbox:
        yield inbox


@pytest.fixture
def capture(bench: Bench) -> Callable[..., Capture]:
    """A tshark capture; see ``start_capture``."""
    return partial(start_capture, bench)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority of this test alone."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def laboratory(bench: Bench) -> Laboratory:
    """Outside, firewall, inside: three network namespaces; see ``Laboratory``."""
    return open_laboratory(bench)


@pytest.fixture
def daemon(bench: Bench) -> Callable[..., Daemon]:
    """``psapwatch run`` on a configuration text; must end well; see ``start_daemon``."""
    return partial(start_daemon, bench)
