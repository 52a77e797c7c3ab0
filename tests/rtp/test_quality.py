"""The E-model against golden values."""

from __future__ import annotations

import pytest

from psapwatch.rtp.quality import mos, mouth_to_ear_ms, r_factor


@pytest.mark.parametrize(
    ("one_way_ms", "loss_percent", "bpl", "r", "score"),
    [
        (20, 0, 25.1, 93.20, 4.409),
        (150, 0, 25.1, 93.04, 4.406),
        (250, 0, 25.1, 84.28, 4.175),
        (400, 0, 25.1, 69.13, 3.556),
        (20, 1, 25.1, 89.56, 4.328),
        (20, 1, 4.3, 75.28, 3.834),
        (20, 3, 25.1, 83.06, 4.134),
        (20, 10, 25.1, 66.13, 3.411),
    ],
)
def test_golden_values(
    one_way_ms: float, loss_percent: float, bpl: float, r: float, score: float
) -> None:
    """R to two places and MOS to three."""
    factor = r_factor(one_way_ms, loss_percent, bpl)
    assert round(factor, 2) == r
    assert round(mos(factor), 3) == score


def test_the_scale_has_ends() -> None:
    """R beyond 0 and 100 is 1 and 4.5."""
    assert mos(-3) == 1.0
    assert mos(100) == 4.5


def test_a_listener_hears_frame_and_buffer_too() -> None:
    """Ta is more than the network's delay."""
    assert mouth_to_ear_ms(0.100) == pytest.approx(110)
