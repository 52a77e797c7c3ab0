"""ICMP errors as the daemon's sockets would report them (layer L3)."""

from __future__ import annotations

import errno
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Kind, Observation

BURST: Final = 6
"""Linux answers this many ICMP errors to one destination at once, then one in a second."""
PER_SECOND: Final = 1.0

Icmp = tuple[int, int]

_ERRNO_V4: Final[dict[Icmp, int]] = {
    (3, 0): errno.ENETUNREACH,
    (3, 1): errno.EHOSTUNREACH,
    (3, 2): errno.ENOPROTOOPT,
    (3, 3): errno.ECONNREFUSED,
    (3, 4): errno.EMSGSIZE,
    (3, 9): errno.ENETUNREACH,
    (3, 10): errno.EHOSTUNREACH,
    (3, 13): errno.EHOSTUNREACH,
    (11, 0): errno.EHOSTUNREACH,
}
_ERRNO_V6: Final[dict[Icmp, int]] = {
    (1, 0): errno.ENETUNREACH,
    (1, 1): errno.EACCES,
    (1, 3): errno.EHOSTUNREACH,
    (1, 4): errno.ECONNREFUSED,
    (1, 5): errno.EACCES,
    (1, 6): errno.EACCES,
    (2, 0): errno.EMSGSIZE,
    (3, 0): errno.EHOSTUNREACH,
}
"""What Linux makes of type and code (RFC 792, RFC 1812 5.2.7.1, RFC 4443 3)."""


class Bucket:
    """Tokens that come back with time; ICMP errors and rate limits are drawn from such."""

    __slots__ = ("_burst", "_counted_at", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._counted_at = now

    def draw(self, now: float) -> bool:
        """Take one token; False where there is none."""
        grown = self._tokens + (now - self._counted_at) * self._per_second
        self._tokens = min(float(self._burst), grown)
        self._counted_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class IcmpBudget:
    """How often one offender may tell one sender."""

    def __init__(self, *, limited: bool = True) -> None:
        self._limited = limited
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def allows(self, offender: str, sender: str, now: float) -> bool:
        """Whether an error may be sent now; takes a token if so."""
        if not self._limited:
            return True
        bucket = self._buckets.get((offender, sender))
        if bucket is None:
            bucket = self._buckets[offender, sender] = Bucket(PER_SECOND, BURST, now)
        return bucket.draw(now)


def icmp_seen(icmp: Icmp, offender: str, to: Address, at_s: float) -> Observation:
    """The observation that the error queue gives, about what was sent ``to``."""
    v6 = to.is_v6
    number = (_ERRNO_V6 if v6 else _ERRNO_V4).get(icmp, errno.EHOSTUNREACH)
    facts = {
        "family": 6 if v6 else 4,
        "icmp_type": icmp[0],
        "code": icmp[1],
        "offender": offender,
        "errno": errno.errorcode[number],
        "to": str(to),
    }
    return Observation(Kind.ICMP, at_s, facts)
