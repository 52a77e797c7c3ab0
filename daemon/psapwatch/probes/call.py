"""The test-call probe: an INVITE to a test URN (RFC 6881 15) that always ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from psapwatch.endpoint import CONTROL, REFERENCE, Path
from psapwatch.evidence import Evidence
from psapwatch.location import Message, Point, call_identifiers, pidf_lo, with_location
from psapwatch.probes.base import Errand, Setting, attempt
from psapwatch.rtp.stream import PACKET_S, Start, StreamPlan
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.machine import Machine
from psapwatch.sip.media_call import HOLD_S, MediaCall
from psapwatch.sip.offer import build_offer
from psapwatch.sip.request import invite
from psapwatch.sip.uri import BadUri, parse_uri
from psapwatch.world import World

DISCARD_PORT: Final = 9
"""Offered while no media is sent (RFC 863): a mirror that sends first reaches nobody."""
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
    location: bool = Field(default=False, description="send the PSAP's location (PIDF-LO)")

    async def run(self, world: World, path: Path, errand: Errand) -> Evidence:
        """Place one test call along the path, end it, and return what was seen."""
        return await attempt(world, path, errand, self._machine, with_media=self.media)

    def _machine(self, setting: Setting) -> Machine:
        plan = self._stream_plan(setting)
        hold_s = plan.window_s + HOLD_S if setting.media else 0.0
        call = _call(setting, self._content(setting), hold_s)
        if setting.media is None:
            return call
        return MediaCall(call, plan, _start(setting))

    def _stream_plan(self, setting: Setting) -> StreamPlan:
        """Ten packets, three echoes; towards our own responders as many as the patience holds."""
        if self.packets <= PSAP_PACKETS_MAX or setting.path.psap.id not in (REFERENCE, CONTROL):
            return StreamPlan(packets_max=min(self.packets, PSAP_PACKETS_MAX))
        patience_s = setting.errand.check.give_up_after_s - ANSWER_S - LONG_LINGER_S - HOLD_S
        fits = max(PSAP_PACKETS_MAX, int(patience_s / PACKET_S))
        return StreamPlan(min(self.packets, fits), None, LONG_LINGER_S)

    def _content(self, setting: Setting) -> _Content:
        """The offer; over TCP and TLS with the location, which makes it too long for UDP."""
        host = setting.caller.sent_by.rpartition(":")[0].strip("[]")
        port = setting.media.port if setting.media else DISCARD_PORT
        offer = build_offer(host, port, int(setting.token(4), 16))
        where = setting.path.psap.location
        if not self.location or where is None or not setting.reliable:
            return _Content(Message("application/sdp", offer, ()), None)
        place, sender = Point(*where), setting.caller.from_uri
        try:
            domain = parse_uri(sender).host or host
        except BadUri:
            domain = host
        entity = f"pres:{sender.partition(':')[2]}"
        document = pidf_lo(place, entity=entity, device=setting.token(16), at=setting.started_at)
        message = with_location(offer, document, identity=domain, token=setting.token(16))
        headers = message.headers + call_identifiers(domain, setting.token(16))
        return _Content(Message(message.content_type, message.body, headers), place)


@dataclass(frozen=True, slots=True)
class _Content:
    """What an INVITE carries, and the place that it names."""

    message: Message
    place: Point | None


def _call(setting: Setting, content: _Content, hold_s: float) -> Call:
    path, caller, message = setting.path, setting.caller, content.message
    routes = tuple(hop for hop in (path.next_hop, path.uri) if hop)
    give_up_after_s = setting.errand.check.give_up_after_s
    return Call(
        invite(
            caller, setting.branch(), routes, message.body, message.content_type, message.headers
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
        ),
        token=setting.token,
        digest=Digest(setting.auth) if setting.auth else None,
    )


def _start(setting: Setting) -> Start:
    return Start(
        tag=setting.token(8),
        ssrc=int(setting.token(4), 16),
        sequence=int(setting.token(2), 16),
        timestamp=int(setting.token(4), 16),
    )
