"""Whether what is open makes room for what is wanted now, of the same thing (layer L1, pure).

Severity and alertname are fixed when an incident opens: an escalation closes it and opens another,
which wakes somebody once more. So it has to say more than a number that has moved.
"""

from __future__ import annotations

from typing import Final

from psapwatch.incident import Incident
from psapwatch.variants import OURS_ALONE
from psapwatch.wanted import Wanted

ESCALATING_SAMPLES: Final = 50
"""A share estimated from fewer does not turn a ticket into a page: early ones are too high."""

MOST: Final = 0.75
"""A share that is lost and that was paged: nine in ten is hardly more."""


def gives_way(open_now: Incident, wanted: Wanted) -> bool:
    """Whether what only our own responder shows makes room for what callers meet."""
    was, is_now = open_now.evidence.get("kind"), wanted.evidence.get("kind")
    if was in OURS_ALONE and is_now not in OURS_ALONE:
        return True
    if was is None and is_now == "options":
        return False  # all OPTIONS fail, or come back by and by: only calls make a page of it
    samples = wanted.evidence.get("samples", ESCALATING_SAMPLES)
    is_sure = isinstance(samples, int) and samples >= ESCALATING_SAMPLES
    return (open_now.severity, wanted.severity) == ("ticket", "page") and is_sure


def is_nearly_as_much(degraded: Incident, blocked: Wanted) -> bool:
    """Whether a page for most of what is lost is out, and still not all of it is.

    Where nine in ten are lost the estimate crosses ``wanted.TOTAL_LOSS`` to and fro. Where a small
    share was paged, a block is news.
    """
    told, loss = degraded.evidence.get("loss", 0.0), blocked.evidence.get("loss", 1.0)
    is_known = degraded.severity == "page" and isinstance(told, float) and told >= MOST
    return is_known and isinstance(loss, float) and loss < 1.0
