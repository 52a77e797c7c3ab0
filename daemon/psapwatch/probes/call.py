"""The test-call probe: an INVITE to a test URN (RFC 6881 15) that always ends."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence
from psapwatch.probes.base import Errand, Setting, attempt
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.offer import build_offer
from psapwatch.sip.request import invite
from psapwatch.world import World

DISCARD_PORT = 9
"""Offered while no media is sent (RFC 863): a mirror that sends first reaches nobody."""


class CallSettings(BaseModel):
    """Settings of ``probe: call``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["call"] = "call"
    media: bool = Field(default=False, description="send media and count its echo (RFC 6849)")
    location: bool = Field(default=False, description="send the PSAP's location (PIDF-LO)")

    async def run(self, world: World, path: Path, errand: Errand) -> Evidence:
        """Place one test call along the path, end it, and return what was seen."""
        return await attempt(world, path, errand, _machine)


def _machine(setting: Setting) -> Call:
    path, caller = setting.path, setting.caller
    routes = tuple(hop for hop in (path.next_hop, path.uri) if hop)
    host = caller.sent_by.rpartition(":")[0].strip("[]")
    body = build_offer(host, DISCARD_PORT, int(setting.token(4), 16))
    return Call(
        invite(caller, setting.branch(), routes, body, "application/sdp"),
        caller,
        peer=setting.peer,
        target_uri=path.next_hop or path.uri,
        reliable=setting.reliable,
        plan=CallPlan(
            give_up_after_s=setting.errand.check.give_up_after_s,
            silent_after_s=min(4.0, setting.errand.check.give_up_after_s),
            provisionals_allowed=setting.errand.provisionals_allowed,
        ),
        token=setting.token,
        digest=Digest(setting.auth) if setting.auth else None,
    )
