"""Where on the way: the hops of a walk, read from its evidence (layer L1, pure).

SIP hops answer a request that may go no further with 483 (RFC 3261 16.3), IP hops a datagram whose
TTL ran out with ICMP time exceeded (RFC 792, RFC 4443 3.3). A walk names no cause: it says who was
the last to answer, and who was on the way when all was well. Hops may stay silent or hide others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from psapwatch.evidence import Evidence, Fact, Kind, Observation
from psapwatch.remote_text import printable
from psapwatch.verdict import Cause, Outcome, Plane

By = Literal["max_forwards", "ttl"]

SILENT_HOPS_MAX: Final = 3
"""So many silent hops in a row end a walk: what is beyond does not answer either."""
TOO_MANY_HOPS: Final = 483
SILENT: Final = "*"
"""How a hop that did not answer is written."""
SERVER_CHARACTERS_MAX: Final = 40
_TIME_EXCEEDED: Final = frozenset({(4, 11, 0), (6, 3, 0)})


def hop_seen(step: Evidence, by: By, nth: int, at_s: float) -> Observation:
    """What one step came to: who answered, and how."""
    facts: dict[str, Fact] = {"by": by, "n": nth, "who": "", "after_s": round(step.duration_s, 6)}
    icmp = step.last(Kind.ICMP)
    if final := final_of(step):
        facts |= {"who": _who(final), "code": final["code"]}
    elif icmp is not None:
        number = (icmp["family"], icmp["icmp_type"], icmp["code"])
        facts |= {"who": icmp["offender"], "icmp": f"{number[1]}/{number[2]}"}
        facts["expired"] = number in _TIME_EXCEEDED
    elif failed := step.first(Kind.CONNECT_FAILED) or step.first(Kind.TLS_FAILED):
        facts["error"] = failed["error"]
    return Observation(Kind.HOP, at_s, facts)


def final_of(step: Evidence) -> Observation | None:
    """The final response of one step, if it came in time."""
    finals = [
        seen
        for seen in step.of(Kind.RESPONSE)
        if not seen["late"] and int(seen["code"] or 0) >= 200
    ]
    return finals[-1] if finals else None


def is_end(hop: Observation) -> bool:
    """Whether a walk need not go on: somebody answered for good, or no flow could be had."""
    code = hop.get("code")
    if code is not None:
        return code != TOO_MANY_HOPS
    return bool(hop.get("error")) or (bool(hop["who"]) and not hop.get("expired"))


def is_lost(hops: Iterable[Observation]) -> bool:
    """Whether the newest hops were all silent."""
    newest = list(hops)[-SILENT_HOPS_MAX:]
    return len(newest) == SILENT_HOPS_MAX and not any(hop["who"] for hop in newest)


@dataclass(frozen=True, slots=True)
class Walk:
    """The hops in order, and what the last one said."""

    hops: tuple[str, ...]
    """Who answered at each, ``*`` where nobody did; silence at the end is left out."""
    code: int = 0
    """The final that ended it; 0 where none did."""
    by: str = ""

    @classmethod
    def of(cls, evidence: Evidence) -> Walk:
        """Read it from a walk's evidence."""
        seen = tuple(evidence.of(Kind.HOP))
        who = [str(hop["who"] or "") or SILENT for hop in seen]
        while who and who[-1] == SILENT:
            who.pop()
        code = int(seen[-1].get("code") or 0) if seen else 0
        by = str(seen[0]["by"]) if seen else ""
        return cls(tuple(who), 0 if code == TOO_MANY_HOPS else code, by)

    @property
    def is_good(self) -> bool:
        """Whether it led to a 2xx."""
        return self.code // 100 == 2

    def in_words(self, good: tuple[str, ...]) -> str:
        """Say who was the last to answer, beside the last good walk where there was one."""
        usual = f" (last good walk: {_list(good)})" if good and good != self.hops else ""
        if self.code:
            return f"{self.code} at hop {len(self.hops)}: {_list(self.hops)}{usual}"
        last = f"last hop that answered: {printable(self.hops[-1])}" if self.hops else "none"
        return f"{last if self.hops else 'no hop answered'}{usual}"


def walked(evidence: Evidence, good: tuple[str, ...]) -> tuple[Outcome, Cause, Plane, str] | None:
    """How far a walk came; that is no failure of the path, for others ask for that."""
    if evidence.first(Kind.HOP) is None:
        return None
    walk = Walk.of(evidence)
    why = walk.in_words(good)
    if walk.is_good:
        return Outcome.PASS, Cause.NONE, Plane.SIGNALLING, why
    return Outcome.INCONCLUSIVE, Cause.UNKNOWN, Plane.PATH, why


def _list(hops: tuple[str, ...]) -> str:
    return ", ".join(map(printable, hops))


def _who(final: Observation) -> str:
    """Address and product: the elements behind a first SIP hop all answer through it."""
    host = str(final["source"]).rpartition(":")[0]
    server = str(final.get("server") or "")[:SERVER_CHARACTERS_MAX]
    return f"{host} {server}".strip()
