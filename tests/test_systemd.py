"""What systemd is told, heard on a real notification socket."""

from __future__ import annotations

import socket  # noqa: TID251 - plays systemd's end of the notification socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from psapwatch.systemd import STATUS_CHARACTERS_MAX, Systemd
from psapwatch.turn import finishes_every_s
from samples import KEEPALIVE, TEST_CALL, path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen as systemd does."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(1)
        yield listening


def heard(manager: socket.socket) -> str:
    """Return the next notification."""
    return manager.recv(4096).decode()


def test_each_state_is_told_in_systemds_words(manager: socket.socket) -> None:
    """Ready, reloading with its moment, stopping and a status line."""
    systemd = Systemd(manager.getsockname())
    systemd.ready("204 paths")
    assert heard(manager) == "READY=1\nSTATUS=204 paths"
    systemd.reloading(12.5)
    assert heard(manager) == "RELOADING=1\nMONOTONIC_USEC=12500000"
    systemd.ready()
    assert heard(manager) == "READY=1"
    systemd.status("203 of 204 paths up\nREADY=1")
    assert heard(manager) == r"STATUS=203 of 204 paths up\nREADY=1"
    systemd.status("x" * 999)
    assert len(heard(manager)) == len("STATUS=") + STATUS_CHARACTERS_MAX
    systemd.stopping("ending 2 calls")
    assert heard(manager) == "STOPPING=1\nSTATUS=ending 2 calls"


def test_the_watchdog_is_fed_four_times_a_period_at_most(manager: socket.socket) -> None:
    """A hundred attempts a second are not a hundred datagrams."""
    systemd = Systemd(manager.getsockname(), watchdog_s=20.0)
    for tick in range(100):
        systemd.alive(1000.0 + tick / 10)
    assert [heard(manager) for _ in range(2)] == ["WATCHDOG=1"] * 2
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        heard(manager)


def test_an_abstract_address_works() -> None:
    """An address that begins with @ is in Linux's abstract namespace."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind("")  # the system chooses an abstract name
        listening.settimeout(1)
        name: bytes = listening.getsockname()
        Systemd("@" + name[1:].decode()).ready()
        assert heard(listening) == "READY=1"


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "42"}, 20.0),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_environment_says_whether_there_is_a_watchdog(
    environment: dict[str, str], watchdog_s: float
) -> None:
    """Another process's watchdog is not ours to feed."""
    assert Systemd.of(environment, 42).watchdog_s == watchdog_s


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    """Neither a missing variable nor a dead socket is an error."""
    for systemd in (Systemd.of({}, 1), Systemd(str(tmp_path / "nobody"), 1.0)):
        systemd.ready()
        systemd.alive(0.0)
        systemd.stopping()
    assert list(tmp_path.iterdir()) == []


def test_a_slow_schedule_asks_for_a_longer_watchdog(manager: socket.socket) -> None:
    """Four rounds may be missing; a fast schedule keeps the unit's own, an empty one has none."""
    systemd = Systemd(manager.getsockname(), watchdog_s=60.0)
    systemd.expect_every(15.0)
    systemd.expect_every(308.0)
    assert heard(manager) == "WATCHDOG_USEC=1232000000"
    systemd.expect_every(308.0)
    systemd.expect_every(0.0)
    assert heard(manager) == "WATCHDOG_USEC=0"
    systemd.expect_every(2.0)
    assert heard(manager) == "WATCHDOG_USEC=60000000"
    assert systemd.watchdog_s == 60.0


def test_without_a_watchdog_none_is_asked_for(manager: socket.socket) -> None:
    """A unit without WatchdogSec stays one."""
    Systemd(manager.getsockname()).expect_every(308.0)
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        heard(manager)


def test_options_say_how_often_attempts_finish() -> None:
    """Calls may be stopped at any time: they set the pace only where nothing else runs."""
    call, options = (path(), TEST_CALL), (path(), KEEPALIVE)
    assert finishes_every_s([call, options]) == 19.0
    assert finishes_every_s([call]) == 308.0
    assert finishes_every_s([]) == 0.0
