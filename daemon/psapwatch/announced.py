"""What people announce: maintenance windows, and changes that alerts quote (layer L1).

A window names what may be down; it mutes nothing else. When it ends, everything that it named has
to pass once within one round (detection.md 6). Moments are wall time, Unix seconds UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psapwatch.endpoint import Path
from psapwatch.remote_text import printable

ROUND_S: Final = 120.0
"""A full round is over by then; a window that ended so long before a start still asks for one."""
NEAR_S: Final = 900.0
"""A failure that begins so soon after a change quotes it."""
CLOCKS_S: Final = 5.0
"""Two clocks agree as well as this: a change may be noted as later than what it caused."""
QUOTED_MAX: Final = 3
WINDOW_S_MAX: Final = 36_525 * 86_400.0
"""What is to be muted for longer is a slip of the pen, and may end beyond all dates."""
TOO_LONG: Final = "the window lasts longer than a hundred years; write a nearer end"


@dataclass(frozen=True, slots=True)
class Window:
    """What may be down, from when until when: ``scope`` is firewall, psap, path or an attribute."""

    scope: str
    member: str
    from_at: float
    until_at: float
    why: str
    id: str = ""
    """``""`` where the configuration has it."""
    by: str = ""

    def covers(self, wall: float) -> bool:
        """Whether the window is open at ``wall``."""
        return self.from_at <= wall < self.until_at

    def names(self, path: Path) -> bool:
        """Whether this path may be down while the window is open."""
        named = {"firewall": path.firewall.id, "psap": path.psap.id, "path": path.key}
        attributes = dict(path.psap.attributes) | dict(path.attributes)
        return (named | attributes).get(self.scope) == self.member


@dataclass(frozen=True, slots=True)
class Change:
    """Somebody changed something."""

    at: float
    what: str
    by: str


class Calendar:
    """The windows; what is open changes at ``turn`` only, so that all parts agree on it.

    ``names`` is asked of every failing path several times a second.
    """

    def __init__(self, windows: Iterable[Window] = ()) -> None:
        self.windows: tuple[Window, ...] = tuple(windows)
        self.open: tuple[Window, ...] = ()
        self._named: dict[str, bool] = {}
        """Path key -> the answer of ``names``, until the open windows change."""

    def turn(self, wall: float) -> tuple[Window, ...]:
        """Go by the windows that are open now; return those that have ended since."""
        before = self.open
        self.open = tuple(each for each in self.windows if each.covers(wall))
        if self.open != before:
            self._named.clear()
        return tuple(each for each in before if each not in self.open)

    def lately(self, wall: float) -> tuple[Window, ...]:
        """The windows that are over, and were not ``ROUND_S`` ago."""
        return tuple(each for each in self.windows if wall - ROUND_S < each.until_at <= wall)

    def names(self, path: Path) -> bool:
        """Whether an open window names this path."""
        if not self.open:
            return False
        named = self._named.get(path.key)
        if named is None:
            named = self._named[path.key] = any(window.names(path) for window in self.open)
        return named


@dataclass(slots=True)
class RoundAfter:
    """The round that a window's end asks for: who has still to pass, and until when."""

    window: Window
    ended_at: float
    due: dict[str, float]
    """Path key -> when it must have passed; shrinks as they do."""

    def late(self, proven: Mapping[str, float], wall: float) -> tuple[str, ...]:
        """Strike off who has passed since (``proven``: when a path last did); say who is late."""
        for key in [key for key in self.due if proven.get(key, 0.0) >= self.ended_at]:
            del self.due[key]
        return tuple(sorted(key for key, due in self.due.items() if wall >= due))


def quoted(changes: Sequence[Change], since: float) -> tuple[str, ...]:
    """Say which changes a failure that began at ``since`` comes after, the nearest first."""
    near = [each for each in changes if -CLOCKS_S <= since - each.at <= NEAR_S]
    nearest = sorted(near, key=lambda each: (-each.at, each.what))[:QUOTED_MAX]
    return tuple(
        f"{_ago(since - each.at)} after change {printable(each.what)} by {printable(each.by)}"
        for each in nearest
    )


def _ago(seconds: float) -> str:
    whole = round(max(0.0, seconds))
    return f"{whole} s" if whole < 120 else f"{whole // 60} min"
