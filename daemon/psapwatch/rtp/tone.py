"""What our RTP packets sound like, and whether what comes back is that sound (layer L1).

A payload is 20 ms of a 1 kHz tone in G.711 with a readable tag in front: which call, which packet.
Packet loopback brings the tag back. Media loopback may decode, conceal and encode again, so that
only the tone survives; speech is neither.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal

Encoding = Literal["PCMU", "PCMA"]
Sound = Literal["tone", "quiet", "other"]

FRAME_OCTETS: Final = 160
"""20 ms at 8 kHz."""
TONE_HZ: Final = 1_000
_CYCLE: Final = 8
_PEAK: Final = 16_000
_QUIET_RMS: Final = 160.0
"""Comfort noise and the idle pattern of codecs stay under about -46 dBov; speech does not."""
_TONE_SHARE: Final = 0.5

_TAG: Final = re.compile(rb"pw:([0-9a-f]{16}):([0-9]{5});")


def tagged(tag: str, number: int, encoding: Encoding) -> bytes:
    """Return the payload of one packet: ``tag`` is 16 hex digits, ``number`` below 100,000.

    The tag is written in characters whose code words survive decoding and encoding again.
    """
    head = b"pw:%s:%05d;" % (tag.encode("ascii"), number)
    return head + _TONE[encoding][len(head) : FRAME_OCTETS]


def tag_of(payload: bytes) -> tuple[str, int] | None:
    """Return call tag and packet number, where a payload carries them."""
    found = _TAG.search(payload)
    return (found[1].decode("ascii"), int(found[2])) if found else None


def sound_of(payload: bytes, encoding: Encoding) -> Sound:
    """Say whether a G.711 payload is mostly our tone, next to nothing, or something else."""
    linear = _LINEAR[encoding]
    phases = [0] * _CYCLE
    energy = 0
    for index, octet in enumerate(payload):
        value = linear[octet]
        phases[index % _CYCLE] += value
        energy += value * value
    if not payload or energy < _QUIET_RMS**2 * len(payload):
        return "quiet"
    real = sum(value * cosine for value, cosine in zip(phases, _COSINES, strict=True))
    imaginary = sum(value * sine for value, sine in zip(phases, _SINES, strict=True))
    share = 2 * (real * real + imaginary * imaginary) / (len(payload) * energy)
    return "tone" if share > _TONE_SHARE else "other"


def _u_law(octet: int) -> int:
    """Return the 16-bit value of a mu-law code word (G.711)."""
    inverted = ~octet & 0xFF
    magnitude = ((inverted & 0x0F) * 8 + 132 << (inverted >> 4 & 7)) - 132
    return -magnitude if inverted & 0x80 else magnitude


def _a_law(octet: int) -> int:
    """Return the 16-bit value of an A-law code word (G.711)."""
    toggled = octet ^ 0x55
    segment, step = toggled >> 4 & 7, (toggled & 0x0F) * 16
    magnitude = step + 8 if segment == 0 else step + 264 << segment - 1
    return magnitude if toggled & 0x80 else -magnitude


def _tone(linear: tuple[int, ...]) -> bytes:
    """Return one frame of the tone in the code words that come nearest to it."""
    words = sorted(range(256), key=linear.__getitem__)
    cycle = bytes(
        min(words, key=lambda word: abs(linear[word] - _PEAK * _SINES[phase]))
        for phase in range(_CYCLE)
    )
    return cycle * (FRAME_OCTETS // _CYCLE)


_COSINES: Final = tuple(math.cos(math.tau * phase / _CYCLE) for phase in range(_CYCLE))
_SINES: Final = tuple(math.sin(math.tau * phase / _CYCLE) for phase in range(_CYCLE))
_LINEAR: Final[dict[Encoding, tuple[int, ...]]] = {
    "PCMU": tuple(_u_law(octet) for octet in range(256)),
    "PCMA": tuple(_a_law(octet) for octet in range(256)),
}
_TONE: Final[dict[Encoding, bytes]] = {name: _tone(linear) for name, linear in _LINEAR.items()}
