"""Wall time, the real one (layer L2)."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time of this machine."""

    def wall(self) -> float:
        """Return Unix seconds, UTC."""
        return time.time()  # noqa: TID251 - this is the port that everyone else uses
