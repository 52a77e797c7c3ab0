"""The kernel's receive time in loop time, with clocks that step."""

from __future__ import annotations

import socket  # noqa: TID251 - the level of ancillary data
import struct

import pytest

from psapwatch.net.sockets import ReceiveTime


class Wall:
    """A wall clock that runs with ``now``, and can be set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ahead_s = 1_700_000_000.0
        self.interrupted_s: list[float] = []

    def wall(self) -> float:
        """Unix seconds; whoever asks may be interrupted before the answer comes back."""
        wall = self.now + self.ahead_s
        self.now += self.interrupted_s.pop() if self.interrupted_s else 0.0
        return wall

    def monotonic(self) -> float:
        """Loop seconds."""
        return self.now

    def stamp(self, ago_s: float = 0.0) -> list[tuple[int, int, bytes]]:
        """What the kernel would attach to octets that came ``ago_s`` ago."""
        at = self.wall() - ago_s
        timespec = struct.pack("=qq", int(at), int((at % 1) * 1e9))
        return [(socket.SOL_SOCKET, 35, timespec)]


def test_the_time_that_octets_waited_is_taken_off() -> None:
    """Stamped 0.3 s ago by the kernel means 0.3 s before now on the loop's clock."""
    wall = Wall()
    times = ReceiveTime(wall.wall, wall.monotonic)
    wall.now += 60
    assert times.to_loop(wall.stamp(ago_s=0.3), wall.now) == pytest.approx(159.7, abs=1e-6)


def test_no_stamp_means_now() -> None:
    """Octets without kernel time came when they were read."""
    wall = Wall()
    assert ReceiveTime(wall.wall, wall.monotonic).to_loop([], wall.now) == wall.now


@pytest.mark.parametrize("step_s", [3_600.0, 0.5, 0.01, -0.01, -0.5, -3_600.0])
def test_around_a_clock_step_the_stamp_is_not_believed(step_s: float) -> None:
    """Stamped before the wall clock was set and read after it: now, whichever way it went."""
    wall = Wall()
    times = ReceiveTime(wall.wall, wall.monotonic)
    stamp = wall.stamp()
    wall.ahead_s += step_s
    wall.now += 0.1
    assert times.to_loop(stamp, wall.now) == wall.now
    wall.now += 0.1
    assert times.to_loop(wall.stamp(ago_s=0.05), wall.now) == wall.now
    wall.now += 3
    assert times.to_loop(wall.stamp(ago_s=0.05), wall.now) == pytest.approx(wall.now - 0.05)


@pytest.mark.parametrize("times_interrupted", [1, 3, 100])
def test_being_interrupted_is_no_step_of_the_clock(times_interrupted: int) -> None:
    """A busy machine lets others run between two readings of clocks: the stamp is believed."""
    wall = Wall()
    times = ReceiveTime(wall.wall, wall.monotonic)
    wall.now += 1
    stamp, came_at = wall.stamp(ago_s=0.2), wall.now - 0.2
    wall.interrupted_s = [0.01] * times_interrupted
    assert times.to_loop(stamp, wall.now) == pytest.approx(came_at, abs=1e-6)
    wall.interrupted_s = []
    assert times.to_loop(wall.stamp(ago_s=0.1), wall.now) == pytest.approx(wall.now - 0.1)


@pytest.mark.parametrize("ago_s", [-0.001, -5.0, 2.5, 86_400.0])
def test_a_stamp_from_the_future_or_the_far_past_is_not_believed(ago_s: float) -> None:
    """However it came about, an arrival lies within the last two seconds."""
    wall = Wall()
    times = ReceiveTime(wall.wall, wall.monotonic)
    assert times.to_loop(wall.stamp(ago_s), wall.now) == wall.now


def test_a_slewed_clock_is_no_step() -> None:
    """NTP bends the clock by up to 500 ppm: stamps stay good."""
    wall = Wall()
    times = ReceiveTime(wall.wall, wall.monotonic)
    for _second in range(100):
        wall.now += 1
        wall.ahead_s += 0.0005
        assert times.to_loop(wall.stamp(ago_s=0.2), wall.now) == pytest.approx(
            wall.now - 0.2, abs=1e-4
        )
