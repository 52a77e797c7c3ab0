"""Places test calls in a process of its own, in any place, and returns what each came to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.peer import Peer
from components.process import HERE, Place

_PROGRAM: Final = Path(__file__).parent / "calling_program.py"
_WITHIN_S: Final = 120


@dataclass(frozen=True, slots=True)
class Called:
    """One call: its verdict and its media's facts."""

    outcome: str
    cause: str
    why: str
    media: Mapping[str, Any]
    evidence: Mapping[str, Any]

    @property
    def messages(self) -> list[bytes]:
        """What crossed the SIP socket, in order."""
        return [b64decode(octets) for _at, _way, _peer, octets in self.evidence["transcript"]]

    @property
    def invite(self) -> bytes:
        """The INVITE as it left."""
        return next(octets for octets in self.messages if octets.startswith(b"INVITE "))

    @property
    def media_port(self) -> int:
        """Where our RTP leaves from, as the offer says."""
        found = re.search(rb"(?m)^m=audio (\d+)", self.invite)
        assert found is not None
        return int(found[1])

    def observed(self, kind: str) -> list[dict[str, Any]]:
        """The facts of all observations of a kind."""
        return [facts for name, _at, facts in self.evidence["observations"] if name == kind]


def place_calls(
    peer: Peer,
    *,
    place: Place = HERE,
    count: int = 1,
    call: Mapping[str, Any] | None = None,
    rtp_ports: Sequence[int] = (0, 0),
    location: Sequence[float] | None = None,
    civic: Mapping[str, str] | None = None,
    patience_s: float = 8.0,
    psap: str = "bench",
    dscp: int = 0,
    load: float = 0.0,
    load_on: Peer | None = None,
    uri: str = "",
    burst: bool = False,
) -> list[Called]:
    """Call ``peer`` so many times; ``load`` OPTIONS a second go to ``load_on`` meanwhile.

    ``burst``: eight calls at once each time, and what they came to together.

    Raises:
        AssertionError: the program failed.
    """
    settings = {
        "uri": uri or peer.uri,
        "transport": peer.transport,
        "source": place.address,
        "count": count,
        "call": {"media": True, **(call or {})},
        "rtp_ports": list(rtp_ports),
        "location": location,
        "civic": list((civic or {}).items()),
        "patience_s": patience_s,
        "psap": psap,
        "burst": burst,
        "dscp": dscp,
        "load": load,
        "load_uri": load_on.uri if load_on else "",
    }
    argv = [*place.prefix, sys.executable, "-P", str(_PROGRAM), json.dumps(settings)]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=_WITHIN_S)
    assert ran.returncode == 0, ran.stderr[-2_000:]
    return [
        Called(**{**told, "media": told["media"] or {}})
        for told in map(json.loads, ran.stdout.splitlines())
    ]
