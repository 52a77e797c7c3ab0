"""What a configuration asks of this instance: runs, thresholds, windows (layer L5)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from psapwatch.config.shape import Config
from psapwatch.detection import Thresholds
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path
from psapwatch.wanted import Ground
from psapwatch.web.view import MaintenanceRow

Shard = tuple[int, int]
"""This part, of so many; counted from one."""


def runs_of(config: Config, shard: Shard = (1, 1)) -> tuple[tuple[Path, Check], ...]:
    """Every check on every path; of several shards each PSAP belongs to exactly one."""
    nth, of = shard
    return tuple(
        (path, check)
        for check in config.checks
        for path in config.watched(check)
        if zlib.crc32(path.psap.id.encode()) % of == nth - 1 or path.psap.id in (REFERENCE, CONTROL)
    )


def ground_of(config: Config, shard: Shard) -> Ground:
    """What this instance judges over."""
    return Ground(config.vantage, runs_of(config, shard), config.detection.clean_s)


def thresholds_of(config: Config) -> Thresholds:
    """Fall and rise."""
    return Thresholds(config.detection.fall, config.detection.rise)


def is_muted(config: Config, path: Path, wall: float) -> bool:
    """Whether a maintenance window that is open names this path."""
    windows = [window for window in config.maintenance if window.covers(wall)]
    if not windows:  # asked of every failing path, several times a second
        return False
    attributes = dict(path.psap.attributes) | dict(path.attributes)
    named = {"firewall": path.firewall.id, "psap": path.psap.id, "path": path.key, **attributes}
    return any(named.get(window.scope) == window.member for window in windows)


def windows_open(config: Config, wall: float) -> Sequence[MaintenanceRow]:
    """The maintenance windows that are open."""
    return [
        MaintenanceRow(window.scope, window.member, window.until_at, window.why)
        for window in config.maintenance
        if window.covers(wall)
    ]
