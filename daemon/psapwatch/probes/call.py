"""The test-call probe: an INVITE to a test URN (RFC 6881 15) that always ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from psapwatch.duration import Duration
from psapwatch.endpoint import CONTROL, REFERENCE, Path
from psapwatch.evidence import Evidence
from psapwatch.location import (
    NOWHERE,
    Civic,
    Message,
    Place,
    Point,
    call_identifiers,
    pidf_lo,
    with_location,
    with_padding,
)
from psapwatch.net.srtp import MISSING, cipher_maker
from psapwatch.probes.base import Errand, Setting, attempt
from psapwatch.rtp.stream import PACKET_S, Start, StreamPlan
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.machine import Machine
from psapwatch.sip.media_call import HOLD_S, MediaCall
from psapwatch.sip.offer import build_offer
from psapwatch.sip.request import ANSWER_AFTER_MAX_S, invite
from psapwatch.sip.sdes import KEY_OCTETS, PLAIN, SECURED, Cipher
from psapwatch.sip.uri import BadUri, parse_uri
from psapwatch.world import World

NO_MEDIA_PORT: Final = 65_534
"""Offered while no media is sent: a mirror that sends first reaches nobody. Even, as RTP's ports
are, and no well-known one: gateways drop a call that offers less than 1024 (Linux's does)."""
PSAP_PACKETS_MAX: Final = 10
"""RTP packets that one call to a PSAP may send; only our own responders get more."""
LONG_LINGER_S: Final = 0.5
ANSWER_S: Final = 2.0
"""Of a call's patience, left for its signalling when a long stream is fitted into it."""


class CallSettings(BaseModel):
    """Settings of ``probe: call``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["call"] = "call"
    media: bool = Field(default=False, description="send media and count its echo (RFC 6849)")
    packets: int = Field(
        PSAP_PACKETS_MAX,
        ge=3,
        le=500,
        description="RTP packets to a reference or control; loss and MOS need 50; a PSAP gets 10",
    )
    srtp: Literal["never", "tls", "always"] = Field(
        default="never",
        description="secured media, RFC 4568 keys: over TLS only, or over any transport, in clear",
    )
    location: bool = Field(
        default=False,
        description="send the PSAP's location (PIDF-LO); over UDP to a reference or control only",
    )
    padding: bool = Field(
        default=False,
        description="send padding of a location's size instead; to a reference or control only",
    )

    answer_after: Duration = Field(
        0.0,
        le=ANSWER_AFTER_MAX_S,
        description="ask our own responder to answer so late, in whole seconds; to a reference or "
        "control only",
    )

    async def run(self, world: World, path: Path, errand: Errand) -> Evidence:
        """Place one test call along the path, end it, and return what was seen."""
        return await attempt(world, path, errand, self._machine, with_media=self.media)

    def _machine(self, setting: Setting) -> Machine:
        plan = self._stream_plan(setting)
        hold_s = plan.window_s + HOLD_S if setting.media else 0.0
        key = self._key(setting)
        call = _call(setting, self._content(setting, key), hold_s, SECURED if key else PLAIN)
        if setting.media is None:
            return call
        return MediaCall(call, plan, _start(setting), _secured_with(key) if key else None)

    def _key(self, setting: Setting) -> bytes:
        """Master key and salt of what we send; nothing where media is not to be secured."""
        is_wanted = self.srtp == "always" or (self.srtp, setting.path.transport) == ("tls", "tls")
        return bytes.fromhex(setting.token(KEY_OCTETS)) if setting.media and is_wanted else b""

    def _stream_plan(self, setting: Setting) -> StreamPlan:
        """Ten packets, three echoes; towards our own responders as many as the patience holds."""
        if self.packets <= PSAP_PACKETS_MAX or not _is_ours(setting):
            return StreamPlan(packets_max=min(self.packets, PSAP_PACKETS_MAX))
        patience_s = setting.errand.check.give_up_after_s - ANSWER_S - LONG_LINGER_S - HOLD_S
        fits = max(PSAP_PACKETS_MAX, int(patience_s / PACKET_S))
        return StreamPlan(min(self.packets, fits), None, LONG_LINGER_S)

    def _content(self, setting: Setting, key: bytes) -> _Content:
        """The offer, with the location or padding of its size where that may go."""
        host = setting.caller.sent_by.rpartition(":")[0].strip("[]")
        port = setting.media.port if setting.media else NO_MEDIA_PORT
        offer = build_offer(host, port, int(setting.token(4), 16), key=key)
        place = self._place(setting)
        if place is None:
            late_s = int(self.answer_after) if _is_ours(setting) else 0
            return _Content(Message("application/sdp", offer, ()), None, late_s)
        sender = setting.caller.from_uri
        try:
            domain = parse_uri(sender).host or host
        except BadUri:
            domain = host
        entity = f"pres:{sender.partition(':')[2]}"
        document = pidf_lo(place, entity=entity, device=setting.token(16), at=setting.started_at)
        message = with_location(offer, document, identity=domain, token=setting.token(16))
        headers = message.headers + call_identifiers(domain, setting.token(16))
        full = Message(message.content_type, message.body, headers)
        if self.padding:
            return _Content(with_padding(offer, full, token=setting.token(8)), None)
        return _Content(full, place)

    def _place(self, setting: Setting) -> Place | None:
        """Where the call says it is; None where it carries SDP alone.

        With a location it is too long for one datagram, and RFC 3261 18.1.1 wants a stream: only
        our own responders get it over UDP, in fragments, to learn whether those pass.
        """
        psap, is_ours = setting.path.psap, _is_ours(setting)
        is_allowed = is_ours or (setting.reliable and not self.padding)
        if not (self.location or self.padding) or not is_allowed:
            return None
        if psap.civic:
            return Civic(psap.civic)
        if psap.location is None:
            return NOWHERE if is_ours else None
        return Point(*psap.location)


def _is_ours(setting: Setting) -> bool:
    return setting.path.psap.id in (REFERENCE, CONTROL)


@dataclass(frozen=True, slots=True)
class _Content:
    """What an INVITE carries, and the place that it names."""

    message: Message
    place: Place | None
    answer_after_s: int = 0


def _call(setting: Setting, content: _Content, hold_s: float, profile: str) -> Call:
    path, caller, message = setting.path, setting.caller, content.message
    routes = tuple(hop for hop in (path.next_hop, path.uri) if hop)
    give_up_after_s = setting.errand.check.give_up_after_s
    return Call(
        invite(
            caller,
            setting.branch(),
            routes,
            message.body,
            message.content_type,
            message.headers,
            answer_after_s=content.answer_after_s,
        ),
        caller,
        peer=setting.peer,
        target_uri=path.next_hop or path.uri,
        reliable=setting.reliable,
        plan=CallPlan(
            give_up_after_s=give_up_after_s,
            silent_after_s=min(4.0, give_up_after_s),
            hold_s=hold_s,
            provisionals_allowed=setting.errand.provisionals_allowed,
            place=content.place,
            profile=profile,
        ),
        token=setting.token,
        digest=Digest(setting.auth) if setting.auth else None,
    )


def _secured_with(key: bytes) -> Callable[[bytes], Cipher]:
    make = cipher_maker()
    if make is None:  # the configuration is refused before; a bare attempt is our own fault
        raise RuntimeError(MISSING)
    return partial(make, key)


def _start(setting: Setting) -> Start:
    return Start(
        tag=setting.token(8),
        ssrc=int(setting.token(4), 16),
        sequence=int(setting.token(2), 16),
        timestamp=int(setting.token(4), 16),
    )
