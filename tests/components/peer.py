"""The far side of a test call, whoever plays it."""

from __future__ import annotations

from dataclasses import dataclass

from components.process import Running


@dataclass(frozen=True, slots=True)
class Peer:
    """A SIP peer that listens: where, and the process behind it."""

    host: str
    port: int
    transport: str
    running: Running

    @property
    def uri(self) -> str:
        """The SIP URI that reaches it."""
        return f"sip:psap@{self.authority};transport={self.transport}"

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
