"""How a measured path would sound: the E-model with G.107's defaults and G.711 (layer L1).

The full ``Idd`` of G.107 is used, not the simplified ``Id``, which differs by up to 10 points.
"""

from __future__ import annotations

import math
from typing import Final

BPL_CONCEALED: Final = 25.1
"""Packet-loss robustness of G.711 with concealment, without it 4.3 (G.113 appendix I)."""
R_DEFAULT: Final = 93.2
"""Everything at its default; G.711 has no equipment impairment of its own."""
PACKETS_MIN: Final = 50
"""With fewer packets no loss is known: none lost of three still allows 63 % (95 % confidence)."""
_PACKETISATION_S: Final = 0.020
_BUFFER_S: Final = 0.040
_DELAY_FREE_MS: Final = 100.0


def r_factor(one_way_ms: float, loss_percent: float, bpl: float = BPL_CONCEALED) -> float:
    """Return R of mouth-to-ear delay and random loss."""
    impairment = 95 * loss_percent / (loss_percent + bpl) if loss_percent else 0.0
    return R_DEFAULT - _delay_impairment(one_way_ms) - impairment


def mos(r: float) -> float:
    """Return the mean opinion score of an R factor (G.107 annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6


def mouth_to_ear_ms(rtt_s: float) -> float:
    """Return the delay a listener has on this path: half the round trip, a frame and a buffer."""
    return 1_000 * (rtt_s / 2 + _PACKETISATION_S + _BUFFER_S)


def _delay_impairment(one_way_ms: float) -> float:
    if one_way_ms <= _DELAY_FREE_MS:
        return 0.0
    x = math.log2(one_way_ms / _DELAY_FREE_MS)
    sixth = 1 / 6
    return 25 * (math.pow(1 + x**6, sixth) - 3 * math.pow(1 + (x / 3) ** 6, sixth) + 2)
