"""The OPTIONS probe: does the path carry signalling, and who answers on it (RFC 3261 11)?"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from psapwatch.endpoint import Path
from psapwatch.evidence import Evidence
from psapwatch.probes.base import Errand, Setting, attempt
from psapwatch.sip.digest import Digest
from psapwatch.sip.options import OptionsExchange
from psapwatch.sip.request import MAX_FORWARDS, options
from psapwatch.world import World


class OptionsSettings(BaseModel):
    """Settings of ``probe: options``; it has none beyond those of every check."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["options"] = "options"

    async def run(self, world: World, path: Path, errand: Errand) -> Evidence:
        """Send one OPTIONS along the path and return what was seen."""
        return await attempt(world, path, errand, exchange)


def exchange(
    setting: Setting, hops: int = MAX_FORWARDS, *, any_icmp_ends: bool = False
) -> OptionsExchange:
    """One OPTIONS exchange along a path; ``hops`` is its Max-Forwards."""
    path = setting.path
    return OptionsExchange(
        options(setting.caller, setting.branch(), path.uri, next_hop=path.next_hop, hops=hops),
        peer=setting.peer,
        reliable=setting.reliable,
        give_up_after_s=setting.errand.check.give_up_after_s,
        token=setting.token,
        digest=Digest(setting.auth) if setting.auth else None,
        any_icmp_ends=any_icmp_ends,
    )
