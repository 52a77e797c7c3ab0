"""Ending the calls that a killed daemon left open (detection.md 7).

The ledger row holds the INVITE as it was sent and, once there was one, its 2xx. From the same local
port the call is learned about and ended; the row closes when it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from psapwatch.endpoint import Address, Path, Source, Tls
from psapwatch.evidence import Observation
from psapwatch.net import TRANSPORTS
from psapwatch.net.pump import Pump
from psapwatch.sip.call import Call, CallPlan
from psapwatch.sip.digest import Digest
from psapwatch.sip.request import Caller
from psapwatch.sip.uri import BadUri, parse_name_addr, parse_uri
from psapwatch.sip.wire import Malformed, Request, Response, parse
from psapwatch.world import Flow, OpenCall, Road, World

PATIENCE_S: Final = 4.0
AGAIN_AFTER_S: Final = 2.0
TRIES_MAX: Final = 60
"""Minutes in all: an answering point has ended a test call by itself long before (RFC 6881 15)."""


async def recover(
    world: World,
    row: OpenCall,
    path: Path | None,
    *,
    crowd: dict[Pump, None],
    heard: Callable[[Observation, bytes], None],
    age_s: Callable[[], float],
) -> str:
    """End one open call as far as can be seen now; returns ``""``, or why nothing can be done.

    ``path`` is the row's path in the present configuration; without it the row's own addresses do.
    ``heard`` also gets what came in last, as it came.
    ``age_s``: how long ago its INVITE first left; within Timer B it leaves once more, to learn how
    the call stands. Infinite where it must not.
    """
    try:
        invite = parse(row.octets)
    except Malformed as bad:
        return f"its INVITE cannot be read: {bad.why}"
    if not isinstance(invite, Request):
        return "its row holds no request"

    def tell(seen: Observation) -> None:
        heard(seen, pump.last_arrival)

    pump = Pump(
        world.network, world.resolver, _road(row, path), row.call_id,
        crowd=crowd, ledger=_no_ledger, heard=tell,
    )  # fmt: skip
    reliable = TRANSPORTS[row.transport].reliable
    if not await _reach(pump, row, reliable=reliable):
        return "no connection to the far end"
    call = Call(
        invite,
        _caller(invite, row),
        peer=row.peer,
        target_uri=path.uri if path else f"sip:{row.peer}",
        reliable=reliable,
        plan=CallPlan(),
        token=world.entropy.token,
        digest=_digest(path),
    )
    answer, passed_s = _response(row.answer), age_s()
    await pump.drive(
        call, lambda now: call.resume(now, age_s=passed_s, answer=answer, octets=row.octets)
    )
    return ""


async def _reach(pump: Pump, row: OpenCall, *, reliable: bool) -> bool:
    """Open a flow to the far end of the call, again and again where it is not there yet."""
    for _nth in range(TRIES_MAX):
        if await pump.open(PATIENCE_S, 0 if reliable else row.local.port) is not None:
            return True
        # Its port may be taken: rport brings the answers to another one (RFC 3581).
        if not reliable and await pump.open(PATIENCE_S) is not None:
            return True
        await asyncio.sleep(AGAIN_AFTER_S)
    return False


def _road(row: OpenCall, path: Path | None) -> Road:
    source = _source(row, path)
    tls = (path.tls or path.firewall.tls) if path else Tls(verify=False)
    return Road(row.transport, source, row.peer, _domain(path) if path else "", tls)


def _digest(path: Path | None) -> Digest | None:
    """What answers a challenge to the BYE, as in any call (RFC 3261 22.2)."""
    auth = (path.auth or path.firewall.auth) if path else None
    return Digest(auth) if auth else None


def _source(row: OpenCall, path: Path | None) -> Source:
    """Where the call left from, so that NAT and the far end know it again; else its family's."""
    if path is None:
        return Source(row.local.host)
    own: tuple[Source, ...] = (path.source,) if path.source else ()
    for each in (*own, *path.firewall.sources):
        if each.address == row.local.host:
            return each
    return path.source_for(row.peer) or Source(row.local.host)


def _domain(path: Path) -> str:
    """Whom the certificate must name: the domain of the URI, not the address (RFC 5922 7.1)."""
    try:
        return parse_uri(path.next_hop or path.uri).host
    except BadUri:
        return ""


def _caller(invite: Request, row: OpenCall) -> Caller:
    """The one who placed the call, read back from its INVITE."""
    via, sender = invite.vias[0], parse_name_addr(invite.header("From") or "")
    contact = parse_name_addr(invite.header("Contact") or "")
    return Caller(
        via_token=TRANSPORTS[row.transport].via_token,
        sent_by=str(Address(via.host, via.port)) if via.port else via.host,
        contact=str(contact.uri),
        from_uri=str(sender.uri),
        from_tag=invite.from_tag,
        call_id=invite.call_id,
    )


def _response(octets: bytes) -> Response | None:
    try:
        message = parse(octets) if octets else None
    except Malformed:
        return None
    return message if isinstance(message, Response) else None


async def _no_ledger(_octets: bytes, _flow: Flow) -> None:
    """A recovery sends no new INVITE, so nothing may ask for a row."""
    message = "a recovered call places no new call"
    raise RuntimeError(message)
