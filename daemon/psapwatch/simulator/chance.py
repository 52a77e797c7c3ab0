"""Where the simulated world's chance comes from: the seed, and nothing else (layer L3)."""

from __future__ import annotations

from random import Random  # noqa: TID251 - seeded below, never the system's

__all__ = ["Random", "seeded"]


def seeded(seed: int, what: str) -> Random:
    """Return chance for one part of the world, which another part's draws do not shift."""
    return Random(f"{seed}/{what}")  # noqa: S311 - repeatable is the point
