"""Which source address the reference behind a firewall sees us come from (layer L1, pure).

Our own responder says it in ``Psapwatch-Saw``. A firewall that translates addresses, or none, shows
the same few for ever; another one says that our packets take another way, or that the translation
has changed. It is named in the evidence and proves nothing by itself: a pool may just have grown.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from psapwatch.evidence import Evidence, Kind
from psapwatch.remote_text import printable
from psapwatch.sip.saw import Saw

USUAL_PASSES: Final = 20
"""A source is usual when one of so many past answers named it, and new ones once so many did."""
LEARNING_PASSES: Final = 5
"""Fewer answers than this make nothing usual."""


@dataclass(slots=True)
class _Seen:
    usual: deque[str] = field(default_factory=lambda: deque(maxlen=USUAL_PASSES))
    other: deque[str] = field(default_factory=lambda: deque(maxlen=USUAL_PASSES))
    """Since the source has been another one."""

    def take(self, host: str) -> None:
        if host in self.usual or len(self.usual) < LEARNING_PASSES:
            self.usual.append(host)
            self.other.clear()
            return
        self.other.append(host)
        if len(self.other) == USUAL_PASSES:
            self.usual, self.other = self.other, self.usual
            self.other.clear()


class Echoes:
    """By firewall and source of ours; there are no more of them than the configuration names."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}

    def take(self, evidence: Evidence) -> None:
        """Read what the reference said, if it did."""
        answer = evidence.last(Kind.RESPONSE)
        saw = Saw.parse(str(answer.get("saw") or "")) if answer else None
        host = saw.source.rpartition(":")[0] if saw else ""
        if host:
            self._seen.setdefault((evidence.firewall, evidence.source), _Seen()).take(host)

    def said(self, firewall: str = "") -> str:
        """Say who we are seen as now and usually, where that differs; ``""`` where it does not."""
        return "; ".join(
            f"behind {crossed} our {source} is seen as {printable(seen.other[-1])}, "
            f"usually {', '.join(map(printable, sorted(set(seen.usual))))}"
            for (crossed, source), seen in sorted(self._seen.items())
            if seen.other and firewall in ("", crossed)
        )
