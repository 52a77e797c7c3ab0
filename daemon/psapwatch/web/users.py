"""Who may use the web door: names with scrypt hashes in a file, HTTP Basic (RFC 7617; layer L4).

One user a line: ``name:scrypt:SALT:HASH``, both in hex; ``#`` begins a comment. The hash is slow
on purpose, so it runs off the loop, one at a time, and a header that was right is remembered.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Self

SCRYPT_COST: Final = 2**14
"""16 MiB and about 50 ms a guess."""
SALT_OCTETS_MIN: Final = 16
REMEMBERED_MAX: Final = 64
WAITING_MAX: Final = 8
"""Guesses that may wait for the one that is being checked; more are refused unchecked."""
HEADER_CHARACTERS_MAX: Final = 512


class BadUsersFile(ValueError):
    """A line of the users file that cannot be read; says which."""


def hash_password(password: str, salt: bytes) -> str:
    """Return ``scrypt:SALT:HASH``, what stands behind the name in the users file."""
    return f"scrypt:{salt.hex()}:{_scrypt(password, salt).hex()}"


class Users:
    """The users of one file."""

    def __init__(self, hashes: Mapping[str, tuple[bytes, bytes]]) -> None:
        self._hashes = dict(hashes)
        self._remembered: OrderedDict[bytes, str] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a users file.

        Raises:
            BadUsersFile: a line is not ``name:scrypt:SALT:HASH``, a name comes twice, or nobody
                is named.
        """
        hashes: dict[str, tuple[bytes, bytes]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, stored = line.strip().partition(":")
            if not name or name in hashes:
                raise BadUsersFile(f"line {number}: a name is needed, and only once")
            hashes[name] = _parsed(stored, number)
        if not hashes:
            raise BadUsersFile("nobody is named; write name:scrypt:SALT:HASH")
        return cls(hashes)

    async def user_of(self, header: str) -> str | None:
        """Return the user of an ``Authorization`` header, ``None`` where it proves nobody."""
        if len(header) > HEADER_CHARACTERS_MAX:
            return None
        digest = hashlib.sha256(header.encode("utf-8", "surrogateescape")).digest()
        known = self._remembered.get(digest)
        if known is not None:
            self._remembered.move_to_end(digest)
            return known
        name, password = _credentials(header)
        if not name or self._waiting >= WAITING_MAX:
            return None
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                right = await asyncio.to_thread(self._is_right, name, password)
        finally:
            self._waiting -= 1
        if not right:
            return None
        self._remembered[digest] = name
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return name

    def _is_right(self, name: str, password: str) -> bool:
        salt, expected = self._hashes.get(name, (bytes(SALT_OCTETS_MIN), b""))
        return hmac.compare_digest(
            _scrypt(password, salt), expected
        )  # an unknown name costs as much


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=SCRYPT_COST, r=8, p=1, dklen=32)


def _parsed(stored: str, number: int) -> tuple[bytes, bytes]:
    scheme, _, rest = stored.partition(":")
    salt, _, digest = rest.partition(":")
    try:
        parsed = bytes.fromhex(salt), bytes.fromhex(digest)
    except ValueError:
        parsed = b"", b""
    if scheme != "scrypt" or len(parsed[0]) < SALT_OCTETS_MIN or len(parsed[1]) != 32:
        raise BadUsersFile(
            f"line {number}: after the name write scrypt:SALT:HASH, "
            f"{SALT_OCTETS_MIN} octets of salt or more and 32 of hash, in hex"
        )
    return parsed


def _credentials(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    name, _, password = text.partition(":")
    return name, password
