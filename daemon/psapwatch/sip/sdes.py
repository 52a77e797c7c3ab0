"""Keys of secured media in the signalling: ``a=crypto`` (RFC 4568; layer L1).

Each side names the key of what it sends. One suite is enough: every implementation has it (RFC
4568 6.2). The keys are as secret as the signalling's way is, so TLS is the place for them.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

PLAIN: Final = "RTP/AVP"
SECURED: Final = "RTP/SAVP"
"""The profiles of an offer (RFC 3551, RFC 3711)."""
SUITE: Final = "AES_CM_128_HMAC_SHA1_80"
KEY_OCTETS: Final = 30
"""Master key and salt of that suite (RFC 4568 6.2)."""

_LINE: Final = re.compile(
    # A lifetime may follow the key; an MKI or session parameters would have to be understood.
    rf"(\d{{1,9}})[ \t]+{SUITE}[ \t]+inline:([A-Za-z0-9+/]{{40}})(?:\|(?:2\^)?\d{{1,15}})?[ \t]*"
)


class Cipher(Protocol):
    """Seals the packets of one call and opens the far side's (RFC 3711)."""

    def seal(self, octets: bytes) -> bytes:
        """RTP or RTCP, as it leaves."""
        ...

    def open(self, octets: bytes) -> bytes | None:
        """RTP or RTCP as it was before it was sealed; None: not with this key, or a repetition."""
        ...


MakeCipher = Callable[[bytes, bytes], Cipher]
"""Our master key with its salt, and the far side's."""


class Crypto(NamedTuple):
    """One usable line."""

    tag: int
    key: bytes


def write_crypto(crypto: Crypto) -> str:
    """The value of an ``a=crypto`` line."""
    return f"{crypto.tag} {SUITE} inline:{b64encode(crypto.key).decode()}"


def read_crypto(values: Iterable[str]) -> Crypto | None:
    """The first ``a=crypto`` value that we can use; None where there is none."""
    for value in values:
        found = _LINE.fullmatch(value)
        if found is not None:
            return Crypto(int(found[1]), b64decode(found[2]))
    return None
