"""SRTP and SRTCP by libsrtp, where the extra ``srtp`` is installed (RFC 3711; layer L2)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from psapwatch.rtp.packet import is_rtcp
from psapwatch.sip.sdes import MakeCipher

MISSING = "secured media needs pylibsrtp: install psapwatch[srtp]"


def is_available() -> bool:
    """Whether secured media can be sent and read here."""
    return cipher_maker() is not None


def cipher_maker() -> MakeCipher | None:
    """Return what makes ciphers; None without the extra."""
    try:
        library = import_module("pylibsrtp")
    except ImportError:
        return None
    return lambda ours, theirs: _Sessions(library, ours, theirs)


class _Sessions:
    """A ``sip.sdes.Cipher``: one session a direction, whatever the sources are called."""

    def __init__(self, library: Any, ours: bytes, theirs: bytes) -> None:
        policy, session = library.Policy, library.Session
        self._out = session(policy(key=ours, ssrc_type=policy.SSRC_ANY_OUTBOUND))
        self._in = session(policy(key=theirs, ssrc_type=policy.SSRC_ANY_INBOUND))
        self._refused: type[Exception] = library.Error

    def seal(self, octets: bytes) -> bytes:
        """RTP or RTCP, as it leaves."""
        protect = self._out.protect_rtcp if is_rtcp(octets) else self._out.protect
        return bytes(protect(octets))

    def open(self, octets: bytes) -> bytes | None:
        """What was sealed; None where this key does not open it, or it was opened before."""
        unprotect = self._in.unprotect_rtcp if is_rtcp(octets) else self._in.unprotect
        try:
            return bytes(unprotect(octets))
        except (self._refused, ValueError, TypeError):
            return None
