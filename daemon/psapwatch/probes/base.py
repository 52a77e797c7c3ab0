"""One attempt, whatever its kind: resolve is done, open a flow, drive a machine, keep the evidence.

A probe sees and never judges; ``diagnosis`` does. Nothing here waits without a bound: opening has
its patience, the machine has its own deadlines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from psapwatch.endpoint import Address, Check, Credentials, Identity, Path, Source, Tls
from psapwatch.evidence import Evidence, Fact, Kind, Observation, Packet
from psapwatch.frozen import frozen
from psapwatch.net import TRANSPORTS
from psapwatch.net.media_pump import MediaPump
from psapwatch.net.pump import Ledger, Pump
from psapwatch.sip.machine import Machine
from psapwatch.sip.request import Caller
from psapwatch.sip.uri import BadUri, parse_uri
from psapwatch.world import CallLedger, Flow, OpenCall, Resolved, Road, World


@frozen
class Heard:
    """One observation the moment it is made; ``late`` once the attempt's evidence is closed."""

    path: Path
    check: Check
    call_id: str
    seen: Observation
    octets: bytes
    """What came in last, as it came."""
    late: bool


@frozen
class Errand:
    """What one attempt is sent out with; ``heard`` is also told what comes after its end."""

    check: Check
    leg: Address | None
    resolved: Resolved
    source: Source
    identity: Identity
    crowd: dict[Pump, None]
    ledger: CallLedger | None = None
    heard: Callable[[Heard], None] | None = None
    is_first: bool = False
    """Over a stream: on a connection made for this attempt."""
    provisionals_allowed: frozenset[int] = frozenset({100})


@frozen
class Setting:
    """What a probe needs to build its machine, once the flow is open."""

    caller: Caller
    peer: Address
    path: Path
    errand: Errand
    reliable: bool
    token: Callable[[int], str]
    auth: Credentials | None
    started_at: float
    """Unix seconds."""
    media: Address | None = None
    """Where our RTP leaves from, if media is to be sent."""

    def branch(self) -> str:
        """A fresh branch: the magic cookie and 128 random bits (RFC 3261 8.1.1.7)."""
        return f"z9hG4bK{self.token(16)}"


async def attempt(
    world: World,
    path: Path,
    errand: Errand,
    build: Callable[[Setting], Machine],
    *,
    with_media: bool = False,
    ttl: int = 0,
) -> Evidence:
    """Run one attempt to its verdict's due time and return what it saw; ``ttl`` as in a Road."""
    loop = asyncio.get_running_loop()
    began, started_at = loop.time(), world.clock.wall()
    attempt_id, call_id = world.entropy.token(8), world.entropy.token(16)
    seen = [_resolution(errand.resolved)]
    packets: tuple[Packet, ...] = ()
    is_closed = False
    if errand.leg is None:
        leg = ""
    else:
        leg = str(errand.leg)
        road = _road(path, errand, errand.leg, ttl)

        def tell(seen: Observation) -> None:
            if errand.heard is not None:
                octets, late = pump.last_arrival, is_closed
                errand.heard(Heard(path, errand.check, call_id, seen, octets, late))

        pump = (MediaPump if with_media else Pump)(
            world.network,
            world.resolver,
            road,
            call_id,
            crowd=errand.crowd,
            ledger=_ledger(world, path, errand, call_id) if errand.check.is_call else None,
            heard=tell if errand.heard is not None else None,
        )
        try:
            await _drive(world, pump, path, errand, started_at, build)
        finally:
            is_closed = True  # also where we were cancelled: no evidence will tell what still comes
        seen += pump.observations
        packets = tuple(pump.transcript)
    return Evidence(
        attempt_id=attempt_id,
        psap=path.psap.id,
        path=path.id,
        firewall=path.firewall.id,
        transport=path.transport,
        check=errand.check.name,
        probe=errand.check.settings.kind,
        leg=leg,
        source=errand.source.address,
        call_id=call_id,
        started_at=started_at,
        duration_s=loop.time() - began,
        observations=tuple(seen),
        transcript=packets,
    )


async def _drive(
    world: World,
    pump: Pump,
    path: Path,
    errand: Errand,
    started_at: float,
    build: Callable[[Setting], Machine],
) -> None:
    flow = await pump.open(errand.check.give_up_after_s)
    if flow is None:
        return
    media = None
    if isinstance(pump, MediaPump):
        media = pump.open_media(world.network, flow.local.host)
        if media is None:  # told as our own fault: a call that could only seem mute is not placed
            pump.abandon()
            return
    setting = Setting(
        caller=caller_of(
            pump.road,
            flow.local,
            errand.identity,
            pump.call_id,
            world.entropy.token(8),
            secure=(path.next_hop or path.uri).startswith("sips:"),
        ),
        peer=pump.road.peer,
        path=path,
        errand=errand,
        reliable=TRANSPORTS[path.transport].reliable,
        token=world.entropy.token,
        auth=path.auth or path.firewall.auth,
        started_at=started_at,
        media=media,
    )
    await pump.drive(build(setting))


def caller_of(
    road: Road, local: Address, identity: Identity, call_id: str, tag: str, *, secure: bool = False
) -> Caller:
    """Who we are on this road: ``advertise`` stands in for the address where NAT changes it."""
    shown = Address(road.source.advertise or local.host, local.port)
    scheme = "sips" if secure else "sip"  # RFC 3261 8.1.1.8: a SIPS target wants a SIPS Contact
    suffix = "" if road.transport == "udp" or scheme == "sips" else f";transport={road.transport}"
    return Caller(
        via_token=TRANSPORTS[road.transport].via_token,
        sent_by=str(shown),
        contact=f"{scheme}:path-test@{shown}{suffix}",
        from_uri=identity.from_uri,
        from_tag=tag,
        call_id=call_id,
    )


def _road(path: Path, errand: Errand, leg: Address, ttl: int) -> Road:
    try:
        domain = parse_uri(path.next_hop or path.uri).host
    except BadUri:
        domain = ""
    tls: Tls = path.tls or path.firewall.tls
    check = errand.check
    # a call begins a connection: an old one may be dead, and that is for OPTIONS to find out
    begins = check.is_call or errand.is_first
    return Road(path.transport, errand.source, leg, domain, tls, check.flow, begins, ttl)


def _resolution(resolved: Resolved) -> Observation:
    facts: dict[str, Fact] = {
        "name": resolved.name,
        "addresses": ",".join(map(str, resolved.legs)),
        "duration_s": resolved.duration_s,
        "cached": resolved.cached,
    }
    if resolved.error:
        return Observation(
            Kind.NAME_ERROR, 0.0, {**facts, "error": resolved.error, "detail": resolved.detail}
        )
    return Observation(Kind.RESOLVED, 0.0, facts)


def _ledger(world: World, path: Path, errand: Errand, call_id: str) -> Ledger:
    async def enter(octets: bytes, flow: Flow) -> None:
        if errand.ledger is None:
            message = "no call ledger"
            raise RuntimeError(message)
        await errand.ledger.open_call(
            OpenCall(
                call_id=call_id,
                psap=path.psap.id,
                path=path.id,
                firewall=path.firewall.id,
                transport=path.transport,
                local=flow.local,
                peer=flow.peer,
                octets=octets,
                invited_at=world.clock.wall(),
            )
        )

    return enter
