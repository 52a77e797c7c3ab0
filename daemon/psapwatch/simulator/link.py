"""Links: what happens to a packet between two places when nobody means it harm (layer L3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psapwatch.simulator.chance import Random

ETHERNET_MTU: Final = 1_500
_IP_OCTETS: Final = 20
_UDP_OCTETS: Final = 8


@dataclass(frozen=True, slots=True)
class Link:
    """One way's delay, and its faults as probabilities of a packet."""

    delay_s: float = 0.01
    jitter_s: float = 0.002
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.05
    """How much later a reordered packet arrives."""
    mtu: int = ETHERNET_MTU

    def fragments_of(self, octets: int) -> int:
        """How many IP fragments a UDP payload of this size travels in."""
        if octets + _UDP_OCTETS + _IP_OCTETS <= self.mtu:
            return 1
        each = (self.mtu - _IP_OCTETS) // 8 * 8
        return -(-(octets + _UDP_OCTETS) // each)

    def delays(self, random: Random, fragments: int = 1) -> tuple[float, ...]:
        """After how long each copy arrives: none when lost, two when duplicated.

        A datagram is lost with any one of its fragments.
        """
        if self.loss and any(random.random() < self.loss for _fragment in range(fragments)):
            return ()
        delay_s = self.delay_s
        if self.jitter_s:
            delay_s += self.jitter_s * random.random()
        if self.reorder and random.random() < self.reorder:
            delay_s += self.reorder_s
        if self.duplicate and random.random() < self.duplicate:
            return (delay_s, delay_s + self.jitter_s * random.random())
        return (delay_s,)
