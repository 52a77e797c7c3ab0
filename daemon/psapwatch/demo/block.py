"""What a firewall of the demo can be told to stop, by what a packet begins with (layer L5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

PacketKind = Literal["invite", "options", "other_request", "answer", "media"]

_REQUESTS: Final[Mapping[bytes, PacketKind]] = {b"INVITE": "invite", b"OPTIONS": "options"}
_OTHER_REQUESTS: Final = frozenset(
    {b"ACK", b"BYE", b"CANCEL", b"INFO", b"UPDATE", b"PRACK", b"REFER", b"NOTIFY", b"MESSAGE"}
)
_METHOD_OCTETS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of being too protective."""

    label: str
    """On the button."""
    does: str
    """In the story: ``fw-east ...``."""
    stops: frozenset[PacketKind] = frozenset()
    """What is dropped silently, in both directions."""
    refuses: bool = False
    """Ports are closed: the kernel answers UDP with ICMP port unreachable and TCP with RST."""


KINDS: Final[Mapping[str, Kind]] = {
    "invite": Kind(
        "Calls: INVITE and media",
        "drops INVITE and media without a word; OPTIONS still pass",
        frozenset({"invite", "media"}),
    ),
    "options": Kind(
        "OPTIONS only", "drops OPTIONS without a word; calls still pass", frozenset({"options"})
    ),
    "all": Kind(
        "Everything, silently",
        "drops everything without a word",
        frozenset({"invite", "options", "other_request", "answer", "media"}),
    ),
    "answers": Kind(
        "What comes back", "lets requests in and drops every answer", frozenset({"answer"})
    ),
    "refuse": Kind(
        "Everything, refused",
        "refuses everything: ICMP port unreachable for UDP, RST for TCP",
        refuses=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Block:
    """One rule of one firewall."""

    firewall: str
    kind: str
    """A key of ``KINDS``."""
    only: str = ""
    """A town's id or a county; ``""`` for everything behind the firewall."""

    @property
    def id(self) -> str:
        """Names the rule on the page: ``fw-east.invite.Bristol``."""
        return f"{self.firewall}.{self.kind}.{self.only}"

    @property
    def words(self) -> str:
        """What the firewall does, as a sentence without its full stop."""
        to = f" (only towards {self.only})" if self.only else ""
        return f"{self.firewall} {KINDS[self.kind].does}{to}"

    def concerns(self, labels: frozenset[str]) -> bool:
        """Whether a conduit with these labels (town, county) is meant."""
        return not self.only or self.only in labels

    def stops(self, kind: PacketKind, labels: frozenset[str]) -> bool:
        """Whether it drops a packet of this kind on such a conduit."""
        return kind in KINDS[self.kind].stops and self.concerns(labels)


def kind_of(octets: bytes) -> PacketKind:
    """What a packet is, by its first word: what a filter that "knows SIP" looks at."""
    word = octets[:_METHOD_OCTETS_MAX].partition(b" ")[0]
    if word == b"SIP/2.0":
        return "answer"
    if word in _OTHER_REQUESTS:
        return "other_request"
    return _REQUESTS.get(word, "media")
