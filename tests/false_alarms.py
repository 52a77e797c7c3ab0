"""How many false alarms ten years of random failures bring: computed, not simulated.

Under health each CUSUM is a random walk with two steps. The chance that an excursion which begins
with a failure reaches the threshold before it returns to zero solves
``u(x) = p u(x + a) + (1 - p) u(x - b)``, ``u(<=0) = 0``, ``u(>=h) = 1``; it is computed on a
grid that divides ``b``, with ``a`` rounded up (so the figure is an upper one).
``python tests/false_alarms.py`` prints it.
"""

from __future__ import annotations

import math

import click

from psapwatch.pooled import _LOSSES, _STEPS, THRESHOLDS, SampleKind

GRID = 0.05
"""Nats: the width of the grid, or the downward step where that is smaller."""
TEN_YEARS_S = 10 * 365.25 * 86_400
SAMPLES_A_SECOND: dict[SampleKind, float] = {
    "options": 204 / 15,
    "call": 204 / 300 + 1 / 15,
    "first": 204 / 15 + 204 / 300 + 1 / 15,
}
"""204 PSAPs: OPTIONS every 15 s, calls every 5 min, a reference call every 15 s."""
RANDOM_FAILURES: dict[SampleKind, float] = {"options": 0.005, "call": 0.005, "first": 0.02}
"""Attempts failing at random, and first transmissions unanswered at 1 % loss each way."""


def crossing(fail: float, up: float, down: float, threshold: float) -> float:
    """The chance that a walk from ``up`` reaches ``threshold`` before zero."""
    grid = down / max(1, math.ceil(down / GRID))
    states = math.ceil(threshold / grid)
    jump, fall = math.ceil(up / grid), round(down / grid)
    chance = [0.0] * (states + 1)
    chance[states] = 1.0
    for _ in range(100_000):
        change = 0.0
        for at in range(states - 1, 0, -1):
            higher = chance[min(states, at + jump)]
            new = fail * higher + (1 - fail) * chance[max(0, at - fall)]
            change = max(change, abs(new - chance[at]) / (new or 1.0))
            chance[at] = new
        if change < 1e-6:
            break
    return chance[min(states, jump)]


def in_ten_years(kind: SampleKind) -> list[tuple[float, float]]:
    """For each alternative: its share of loss, and the false alarms expected in ten years."""
    fail = RANDOM_FAILURES[kind]
    samples = SAMPLES_A_SECOND[kind] * TEN_YEARS_S
    return [
        (loss, samples * fail * crossing(fail, up, -down, THRESHOLDS[kind]))
        for loss, (up, down) in zip(_LOSSES[kind], _STEPS[kind], strict=True)
    ]


def main() -> None:
    """Print the table."""
    for kind in SAMPLES_A_SECOND:
        for loss, expected in in_ten_years(kind):
            click.echo(f"{kind:8} threshold {THRESHOLDS[kind]:g}, {loss:4.0%} lost: {expected:.2g}")


if __name__ == "__main__":
    main()
