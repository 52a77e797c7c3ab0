"""SIP server location (RFC 3263) with dnspython: NAPTR, SRV, A, AAAA and the hosts file.

A name's addresses are kept for their TTL. When it cannot be resolved any more, its last known
addresses are returned with the error: a dead resolver must not look like a blocked path.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from psapwatch.endpoint import Address, TransportName
from psapwatch.net import TRANSPORTS
from psapwatch.sip.uri import Uri, parse_uri
from psapwatch.world import Entropy, Resolved

LEGS_MAX: Final = 8
CACHE_MAX: Final = 8_192
TTL_MIN_S: Final = 1.0
TTL_MAX_S: Final = 3_600.0
HOSTS_TTL_S: Final = 60.0
ERROR_TTL_S: Final = 5.0
"""A name that failed is not asked for again sooner, so that a dead resolver is not flooded."""
SYSTEM_HOSTS: Final = Path("/etc/hosts")
PATIENCE_S: Final = 3.0
_SERVER_PATIENCE_S: Final = 1.0
_TARGETS_MAX: Final = 8
_DETAIL_MAX: Final = 200
_HOSTS_OCTETS_MAX: Final = 1_048_576

_NAPTR_SERVICE: Final[dict[TransportName, bytes]] = {
    "udp": b"sip+d2u",
    "tcp": b"sip+d2t",
    "tls": b"sips+d2t",
}
_SRV_PREFIX: Final[dict[TransportName, str]] = {
    "udp": "_sip._udp.",
    "tcp": "_sip._tcp.",
    "tls": "_sips._tcp.",
}
_ADDRESS_TYPES: Final = (dns.rdatatype.A, dns.rdatatype.AAAA)


class NoAddress(Exception):
    """A question that brought nothing: ``error`` as in ``world.Resolved``."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = detail[:_DETAIL_MAX]


@dataclass(frozen=True, slots=True)
class _Known:
    resolved: Resolved
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Found:
    """Addresses in the order to try them, and for how long that holds."""

    legs: tuple[Address, ...]
    ttl_s: float


class SipResolver:
    """``world.Resolver`` over the system's servers and hosts file, or over ``servers`` alone.

    A server is an address, on port 53 where it is given as text.

    Raises:
        ValueError: a server is no address.
    """

    def __init__(
        self,
        entropy: Entropy,
        *,
        servers: Sequence[Address | str] = (),
        hosts_file: Path | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._entropy = entropy
        self._hosts_file = hosts_file or (None if servers else SYSTEM_HOSTS)
        self._dns = dns.asyncresolver.Resolver(configure=False)
        self._problem = "" if servers else _configure(self._dns)
        if servers:
            self._dns.nameservers = [_nameserver(server) for server in servers]
        self._dns.timeout = min(_SERVER_PATIENCE_S, patience_s)
        self._dns.lifetime = patience_s
        self._known: dict[tuple[str, TransportName], _Known] = {}
        self._asking: dict[tuple[str, TransportName], asyncio.Task[Resolved]] = {}

    async def resolve(self, uri: str, transport: TransportName) -> Resolved:
        """Return the legs of a SIP URI over ``transport``; never raises."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            where = parse_uri(uri)
        except ValueError as error:
            return Resolved(uri, (), transport, error="other", detail=str(error)[:_DETAIL_MAX])
        host = where.reaches
        if not host:
            return Resolved(uri, (), transport, error="other", detail="a URI without a host")
        if _is_numeric(host):
            port = where.port or TRANSPORTS[transport].default_port
            return Resolved(host, (Address(host, port),), transport)
        key = (f"{host}:{where.port or ''}:{where.param('transport') is None}", transport)
        known = self._known.get(key)
        if known is not None and began_at < known.expires_at:
            return known.resolved
        asking = self._asking.get(key)
        if asking is None:
            asking = loop.create_task(self._ask(key, where, host, transport))
            self._asking[key] = asking
            asking.add_done_callback(lambda _done: self._asking.pop(key, None))
        resolved = await asyncio.shield(asking)
        return replace(resolved, duration_s=loop.time() - began_at, cached=False)

    async def _ask(
        self, key: tuple[str, TransportName], where: Uri, host: str, transport: TransportName
    ) -> Resolved:
        """Ask, and remember the answer; of an error, with the addresses known before."""
        before = self._known.pop(key, None)
        try:
            found = await self._locate(where, host, transport)
        except NoAddress as nothing:
            legs = before.resolved.legs if before else ()
            resolved = Resolved(host, legs, transport, nothing.error, nothing.detail, cached=True)
            ttl_s = ERROR_TTL_S
        else:
            resolved = Resolved(host, found.legs, transport, cached=True)
            ttl_s = min(max(found.ttl_s, TTL_MIN_S), TTL_MAX_S)
        while len(self._known) >= CACHE_MAX:
            del self._known[next(iter(self._known))]
        self._known[key] = _Known(resolved, asyncio.get_running_loop().time() + ttl_s)
        return resolved

    async def _locate(self, where: Uri, host: str, transport: TransportName) -> _Found:
        """RFC 3263 4.2: an explicit port means addresses only; otherwise NAPTR, SRV, addresses."""
        default = TRANSPORTS[transport].default_port
        listed = self._hosts_entries(host)
        if listed or where.port:
            port = where.port or default
            found = _Found(tuple(Address(one, port) for one in listed), HOSTS_TTL_S)
            return found if listed else await self._addresses(host, port)
        service = _SRV_PREFIX[transport] + host
        ttl_s = TTL_MAX_S
        if where.param("transport") is None:
            service, ttl_s = await self._service_by_naptr(host, transport, service)
        try:
            records, srv_ttl_s = await self._query(service, dns.rdatatype.SRV)
        except NoAddress as nothing:
            if nothing.error not in ("nxdomain", "no_data"):
                raise
            return await self._addresses(host, default)
        found = await self._addresses_of(self._targets(service, records))
        return _Found(found.legs, min(found.ttl_s, ttl_s, srv_ttl_s))

    async def _service_by_naptr(
        self, host: str, transport: TransportName, otherwise: str
    ) -> tuple[str, float]:
        """Return the SRV name of a transport (RFC 3263 4.1), the usual one where none is given.

        Servers that fail on NAPTR alone are many; one that is silent will be silent again.
        """
        try:
            records, ttl_s = await self._query(host, dns.rdatatype.NAPTR)
        except NoAddress as nothing:
            if nothing.error == "timeout":
                raise
            return otherwise, TTL_MAX_S
        ours = [
            record
            for record in records
            if record.service.lower() == _NAPTR_SERVICE[transport] and record.flags.lower() == b"s"
        ]
        if not ours:
            return otherwise, ttl_s
        best = min(ours, key=lambda record: (record.order, record.preference))
        return best.replacement.to_text(omit_final_dot=True), ttl_s

    def _targets(self, service: str, records: list[Any]) -> list[tuple[str, int]]:
        """Return SRV targets in the order to try them (RFC 2782), at most ``_TARGETS_MAX``."""
        targets = [
            (record.target.to_text(omit_final_dot=True), record.port)
            for record in self._weighted(records)
            if record.target != dns.name.root
        ]
        if not targets:
            raise NoAddress("no_data", f"{service} says that the service is not offered")
        return targets[:_TARGETS_MAX]

    def _weighted(self, records: Iterable[Any]) -> list[Any]:
        left = sorted(records, key=lambda record: (record.priority, record.weight, record.target))
        ordered = []
        while left:
            same = [record for record in left if record.priority == left[0].priority]
            mark = self._entropy.uniform(0, sum(record.weight for record in same) or 1)
            chosen = same[-1]
            for record in same:
                mark -= record.weight
                if mark < 0:
                    chosen = record
                    break
            ordered.append(chosen)
            left.remove(chosen)
        return ordered

    async def _addresses_of(self, targets: Sequence[tuple[str, int]]) -> _Found:
        """Return the addresses of all targets in order; those of a dead target are left out."""
        asked = [self._target(name, port) for name, port in targets]
        found, failures = await _gather(asked)
        if not found:
            raise failures[0]
        legs = dict.fromkeys(leg for each in found for leg in each.legs)
        ttl_s = min(each.ttl_s for each in found)
        return _Found(tuple(legs)[:LEGS_MAX], ERROR_TTL_S if failures else ttl_s)

    async def _target(self, name: str, port: int) -> _Found:
        listed = self._hosts_entries(name.lower())
        if listed:
            return _Found(tuple(Address(one, port) for one in listed), HOSTS_TTL_S)
        return await self._addresses(name, port)

    async def _addresses(self, host: str, port: int) -> _Found:
        """Return the IPv4 then the IPv6 addresses of a name; one family is enough."""
        asked = [self._family(host, port, rdtype) for rdtype in _ADDRESS_TYPES]
        found, failures = await _gather(asked)
        if not found:
            raise min(failures, key=lambda failure: _WORST_FIRST.index(failure.error))
        broken = any(failure.error not in ("no_data", "nxdomain") for failure in failures)
        legs = tuple(leg for each in found for leg in each.legs)
        ttl_s = ERROR_TTL_S if broken else min(each.ttl_s for each in found)
        return _Found(legs[:LEGS_MAX], ttl_s)

    async def _family(self, host: str, port: int, rdtype: dns.rdatatype.RdataType) -> _Found:
        records, ttl_s = await self._query(host, rdtype)
        addresses = sorted(record.address for record in records)
        return _Found(tuple(Address(one, port) for one in addresses), ttl_s)

    async def _query(self, name: str, rdtype: dns.rdatatype.RdataType) -> tuple[list[Any], float]:
        """Return the records of one type and their TTL (the least on the way, CNAMEs included)."""
        if self._problem:
            raise NoAddress("other", self._problem)
        try:
            answer = await self._dns.resolve(name, rdtype, search=False)
        except dns.resolver.NXDOMAIN:
            raise NoAddress("nxdomain", f"{name} does not exist") from None
        except dns.resolver.NoAnswer:
            raise NoAddress("no_data", f"{name} has no {rdtype.name}") from None
        except dns.exception.Timeout:
            raise NoAddress("timeout", f"no answer about {name} {rdtype.name}") from None
        except dns.resolver.NoNameservers as error:
            raise NoAddress("servfail", str(error)) from None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise NoAddress("other", f"{type(error).__name__}: {error}") from None
        return list(answer), float(answer.chaining_result.minimum_ttl)

    def _hosts_entries(self, host: str) -> list[str]:
        """Return the addresses that the hosts file lists for a name, in its order."""
        if self._hosts_file is None:
            return []
        try:
            with self._hosts_file.open(encoding="utf-8", errors="replace") as hosts:
                lines = hosts.read(_HOSTS_OCTETS_MAX).splitlines()
        except OSError:
            return []
        entries = [line.partition("#")[0].lower().split() for line in lines]
        listed = [words[0] for words in entries if host in words[1:] and _is_numeric(words[0])]
        return list(dict.fromkeys(listed))[:LEGS_MAX]


_WORST_FIRST: Final = ("nxdomain", "servfail", "timeout", "other", "no_data")
"""Which of two failures speaks for the name: NXDOMAIN is about the name, not about one type."""


async def _gather(
    asked: Sequence[Coroutine[Any, Any, _Found]],
) -> tuple[list[_Found], list[NoAddress]]:
    """Ask all at once; return what was found and what failed, each in the order asked."""
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, NoAddress)]
    found = [outcome for outcome in outcomes if isinstance(outcome, _Found)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, NoAddress):
            raise outcome
    return found, failures


def _configure(resolver: dns.asyncresolver.Resolver) -> str:
    """Read the system's resolv.conf; return what is wrong with it."""
    try:
        resolver.read_resolv_conf("/etc/resolv.conf")
    except dns.exception.DNSException as error:
        return f"no DNS servers: {error}"
    return ""


def _nameserver(server: Address | str) -> dns.nameserver.Nameserver:
    host, port = (server, 53) if isinstance(server, str) else (server.host, server.port)
    return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(host)), port)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
