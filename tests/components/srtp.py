"""SRTP as RFC 3711 writes it, with AES and HMAC from another library than the one under test."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

TAG_OCTETS = 10
HEADER_OCTETS = 12


def opened(packet: bytes, master: bytes, rollover: int = 0) -> bytes:
    """The payload of one packet that was sealed with a master key and salt of 30 octets.

    Raises:
        AssertionError: its authentication tag (RFC 3711 4.2) is not of this key.
    """
    body, tag = packet[:-TAG_OCTETS], packet[-TAG_OCTETS:]
    authentic = hmac.digest(
        _derived(master, 1, 20), body + rollover.to_bytes(4, "big"), hashlib.sha1
    )
    assert authentic[:TAG_OCTETS] == tag, "sealed with another key"
    ssrc, sequence = int.from_bytes(body[8:12], "big"), int.from_bytes(body[2:4], "big")
    salt = int.from_bytes(_derived(master, 2, 14), "big")
    counter = salt << 16 ^ ssrc << 64 ^ (rollover << 16 | sequence) << 16  # 4.1.1
    return _keystream(_derived(master, 0, 16), counter, body[HEADER_OCTETS:])


def _derived(master: bytes, label: int, octets: int) -> bytes:
    """A session key (4.3.1), where the keys are derived once."""
    salt = int.from_bytes(master[16:], "big")
    return _keystream(master[:16], (salt ^ label << 48) << 16, bytes(octets))


def _keystream(key: bytes, counter: int, octets: bytes) -> bytes:
    """AES in counter mode over octets (4.1.1)."""
    encryptor = Cipher(AES(key), CTR(counter.to_bytes(16, "big"))).encryptor()
    return encryptor.update(octets) + encryptor.finalize()
