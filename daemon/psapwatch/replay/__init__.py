"""Outages in simulated time: the daemon on a stage, scenarios as data, and what must come of them.

What tests and tools ask for stands here; the parts are in the modules of the package.
"""

from __future__ import annotations

from psapwatch.replay.stage import (
    ALERTMANAGER,
    CHECKS,
    WEBHOOK,
    Stage,
    configured,
    run,
    stage,
)

__all__ = ["ALERTMANAGER", "CHECKS", "WEBHOOK", "Stage", "configured", "run", "stage"]
