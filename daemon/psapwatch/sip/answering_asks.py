"""Requests that an answering point sends itself, until they are answered (layer L1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.sip.server_transaction import LIFETIME_S, T1_S, T2_S

_BRANCH: Final = re.compile(rb";branch=([^;,\s]+)")

Put = Callable[[bytes, Address], None]
Later = Callable[[float, Callable[[float], None]], None]


@dataclass(slots=True)
class _Asked:
    octets: bytes
    to: Address
    until: float
    reliable: bool


class Asks:
    """Client transactions of BYE and callback INVITE: repeats at T1 doubling (timers A, E)."""

    def __init__(self, put: Put, later: Later) -> None:
        self._put = put
        self._later = later
        self._asked: dict[bytes, _Asked] = {}

    def ask(self, octets: bytes, to: Address, *, reliable: bool, now: float) -> None:
        """Send a request, again and again over UDP until a final comes or 64*T1 are over."""
        branch = _branch_of(octets)
        self._asked[branch] = _Asked(octets, to, now + LIFETIME_S, reliable)
        self._put(octets, to)
        self._later(now + T1_S, partial(self._again, branch, T1_S))

    def answered(self, octets: bytes) -> None:
        """Take a response; the final to an INVITE is acknowledged."""
        if octets[8:9] == b"1":
            return
        asked = self._asked.pop(_branch_of(octets), None)
        if asked is not None and asked.octets.startswith(b"INVITE "):
            ack = asked.octets.replace(b"INVITE ", b"ACK ", 1).replace(b" 1 INVITE", b" 1 ACK", 1)
            self._put(ack, asked.to)

    def _again(self, branch: bytes, every_s: float, now: float) -> None:
        asked = self._asked.get(branch)
        if asked is None:
            return
        if now >= asked.until:
            del self._asked[branch]
            return
        if not asked.reliable:
            self._put(asked.octets, asked.to)
        every_s = min(2 * every_s, T2_S)
        self._later(now + every_s, partial(self._again, branch, every_s))


def _branch_of(octets: bytes) -> bytes:
    found = _BRANCH.search(octets)
    return found[1] if found else b""
