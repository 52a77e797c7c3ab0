"""What a configuration asks of this instance: runs and thresholds (layer L5)."""

from __future__ import annotations

import zlib

from psapwatch.config.shape import Config
from psapwatch.detection import Thresholds
from psapwatch.endpoint import CONTROL, REFERENCE, Check, Path
from psapwatch.look import Ground

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
