"""What an answering point puts into its 200: a loopback answer and its name (layer L1).

RFC 6849 5.2: the answer to ``loopback-source`` is ``loopback-mirror`` with exactly one type.
RFC 6881 ED-78: a text part names the PSAP, the service and the location.
"""

from __future__ import annotations

import re
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.sip.answering_script import SDP_EDITS, Body

_PAYLOAD: Final = re.compile(r"a=rtpmap:(\d+) (encaprtp|rtploopback|PCMU|PCMA)/8000", re.IGNORECASE)
_BOUNDARY: Final = "answering-point"


def mirror_answer(offer: str, media: Address) -> str:
    """The mirror's answer to a loopback offer; ``""`` where it offers no packet loopback.

    ``encaprtp`` is taken before ``rtploopback``: it tells in which direction packets were lost.
    """
    payloads = {name.lower(): number for number, name in _PAYLOAD.findall(offer)}
    carrier = next((name for name in ("encaprtp", "rtploopback") if name in payloads), "")
    if not carrier or "a=loopback-source" not in offer:
        return ""
    source = next((name for name in ("pcmu", "pcma") if name in payloads), "")
    numbers = [payloads[source], payloads[carrier]] if source else [payloads[carrier]]
    family = "IP6" if media.is_v6 else "IP4"
    maps = [f"a=rtpmap:{payloads[source]} {source.upper()}/8000"] if source else []
    return "\r\n".join(
        (
            "v=0",
            f"o=- 1 1 IN {family} {media.host}",
            "s=test call",
            f"c=IN {family} {media.host}",
            "t=0 0",
            f"m=audio {media.port} RTP/AVP {' '.join(numbers)}",
            *maps,
            f"a=rtpmap:{payloads[carrier]} {carrier}/8000",
            "a=loopback:rtp-pkt-loopback",
            "a=loopback-mirror",
            "",
        )
    )


def body_of(
    kind: Body, *, name: str, location: str, offer: bytes, media: Address
) -> tuple[str, bytes]:
    """Content-Type and octets of one kind of body; two empty values for none."""
    if kind == "none":
        return "", b""
    urn = "urn:service:sos" if kind == "live_text" else "urn:service:test.sos"
    text = f"{name}\r\n{urn}\r\n{location}\r\n"
    if kind == "text":
        return "text/plain", text.encode()
    sdp = mirror_answer(offer.decode(errors="replace"), media)
    for pattern, replacement in SDP_EDITS[kind]:
        sdp = re.sub(pattern, replacement, sdp)
    if not sdp:
        return "", b""
    if kind not in ("multipart", "live_text"):
        return "application/sdp", sdp.encode()
    whole = (
        f"--{_BOUNDARY}\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n"
        f"--{_BOUNDARY}\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--{_BOUNDARY}--\r\n"
    )
    return f"multipart/mixed;boundary={_BOUNDARY}", whole.encode()
