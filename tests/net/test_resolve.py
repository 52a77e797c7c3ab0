"""RFC 3263 against a real DNS server on loopback that can also say no, fail, or say nothing."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the DNS server of these tests
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from net.far_end import closed_port, run
from psapwatch.endpoint import Address, TransportName
from psapwatch.net.resolve import LEGS_MAX, SipResolver
from psapwatch.net.system import SystemEntropy
from psapwatch.world import Entropy, Resolved


class DnsServer:
    """Answers from ``zone``: records by ``name type``; a word in their place misbehaves."""

    def __init__(self, zone: dict[str, list[str] | str]) -> None:
        self.zone = zone
        self.ttl = 300
        self.asked: Counter[str] = Counter()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket.fileno(), self._readable)

    def _readable(self) -> None:
        octets, source = self.socket.recvfrom(4_096)
        query = dns.message.from_wire(octets)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True)
        key = f"{name} {dns.rdatatype.to_text(question.rdtype)}"
        self.asked[key] += 1
        records = self.zone.get(key, self.zone.get(name))
        if records == "silence":
            return
        if isinstance(records, str):
            reply.set_rcode(dns.rcode.from_text(records))
        elif records:
            reply.answer.append(
                dns.rrset.from_text_list(question.name, self.ttl, "IN", question.rdtype, records)
            )
        elif not any(known.split()[0] == name for known in self.zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        self.socket.sendto(reply.to_wire(), source)

    def close(self) -> None:
        """Answer no more."""
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close()


class AlwaysFirst:
    """Entropy that picks the lowest every time."""

    def token(self, octets: int) -> str:
        """Return zeros."""
        return "00" * octets

    def uniform(self, low: float, high: float) -> float:
        """Return the low end."""
        assert high >= low
        return low


@asynccontextmanager
async def a_resolver(
    zone: dict[str, list[str] | str],
    *,
    hosts_file: Path | None = None,
    entropy: Entropy | None = None,
    patience_s: float = 10.0,
) -> AsyncIterator[tuple[SipResolver, DnsServer]]:
    """A resolver that asks only a server with this zone."""
    server = DnsServer(zone)
    resolver = SipResolver(
        entropy or AlwaysFirst(),
        servers=[Address(*server.socket.getsockname())],
        hosts_file=hosts_file,
        patience_s=patience_s,
    )
    try:
        yield resolver, server
    finally:
        server.close()


def legs(resolved: Resolved) -> list[str]:
    """The legs as text."""
    return [str(leg) for leg in resolved.legs]


def expire(resolver: SipResolver) -> None:
    """Let every TTL run out."""
    for key, known in resolver._known.items():
        resolver._known[key] = replace(known, expires_at=0.0)


ZONE: dict[str, list[str] | str] = {
    "psap.example NAPTR": [
        '20 10 "s" "SIP+D2U" "" _sip._udp.elsewhere.example.',
        '10 20 "s" "SIP+D2T" "" _sip._tcp.second.example.',
        '10 10 "s" "SIP+D2T" "" _sip._tcp.bcf.example.',
        '10 10 "s" "SIPS+D2T" "" _sips._tcp.bcf.example.',
        '1 1 "u" "SIP+D2T" "!.*!sip:x@y!" .',
    ],
    "_sip._tcp.bcf.example SRV": ["20 0 5080 b.bcf.example.", "10 0 5070 a.bcf.example."],
    "_sips._tcp.bcf.example SRV": ["10 0 5071 a.bcf.example."],
    "_sip._udp.elsewhere.example SRV": ["10 0 5060 b.bcf.example."],
    "_sip._udp.psap.example SRV": ["1 1 5555 a.bcf.example."],
    "a.bcf.example A": ["192.0.2.2", "192.0.2.1"],
    "a.bcf.example AAAA": ["2001:db8::1"],
    "b.bcf.example A": ["192.0.2.9"],
    "plain.example A": ["192.0.2.7"],
    "v6.example AAAA": ["2001:db8::7"],
    "_sip._udp.refused.example SRV": ["0 0 0 ."],
    "refused.example A": ["192.0.2.7"],
}


@pytest.mark.parametrize(
    ("uri", "transport", "wanted"),
    [
        (
            "sip:psap.example",
            "tcp",
            ["192.0.2.1:5070", "192.0.2.2:5070", "[2001:db8::1]:5070", "192.0.2.9:5080"],
        ),
        ("sips:psap.example", "tls", ["192.0.2.1:5071", "192.0.2.2:5071", "[2001:db8::1]:5071"]),
        ("sip:psap.example", "udp", ["192.0.2.9:5060"]),
        (
            "sip:psap.example;transport=udp",
            "udp",
            ["192.0.2.1:5555", "192.0.2.2:5555", "[2001:db8::1]:5555"],
        ),
        ("sip:911@PLAIN.example.", "udp", ["192.0.2.7:5060"]),
        ("sip:plain.example", "tls", ["192.0.2.7:5061"]),
        ("sip:plain.example:5090", "tcp", ["192.0.2.7:5090"]),
        ("sip:psap.example:5090;transport=tcp", "tcp", []),
        ("sip:v6.example", "udp", ["[2001:db8::7]:5060"]),
        ("sip:x@192.0.2.33", "udp", ["192.0.2.33:5060"]),
        ("sip:192.0.2.33:5099", "tls", ["192.0.2.33:5099"]),
        ("sip:[2001:db8::33]", "tls", ["[2001:db8::33]:5061"]),
        ("sip:ignored.example;maddr=192.0.2.44", "udp", ["192.0.2.44:5060"]),
        ("sip:ignored.example;maddr=plain.example", "udp", ["192.0.2.7:5060"]),
    ],
)
def test_where_a_uri_leads(uri: str, transport: TransportName, wanted: list[str]) -> None:
    """RFC 3263 4.1, 4.2: NAPTR, SRV by priority, addresses; fewer steps where the URI says."""

    async def body() -> None:
        async with a_resolver(ZONE) as (resolver, _server):
            resolved = await resolver.resolve(uri, transport)
            assert legs(resolved) == wanted
            assert resolved.transport == transport
            assert bool(resolved.error) is not bool(wanted)

    run(body)


def test_a_port_in_the_uri_asks_for_addresses_only() -> None:
    """With an explicit port neither NAPTR nor SRV is asked for."""

    async def body() -> None:
        async with a_resolver(ZONE) as (resolver, server):
            await resolver.resolve("sip:plain.example:5090", "udp")
            assert set(server.asked) == {"plain.example A", "plain.example AAAA"}

    run(body)


@pytest.mark.parametrize(
    ("zone", "error"),
    [
        ({}, "nxdomain"),
        ({"psap.example MX": ["1 mail.example."]}, "no_data"),
        ({"psap.example": "SERVFAIL", "_sip._udp.psap.example": "NXDOMAIN"}, "servfail"),
        ({"psap.example": "REFUSED", "_sip._udp.psap.example": "REFUSED"}, "servfail"),
        ({"psap.example": "silence", "_sip._udp.psap.example": "NXDOMAIN"}, "timeout"),
        ({"_sip._udp.psap.example": "SERVFAIL", "psap.example A": ["192.0.2.1"]}, "servfail"),
        ({"_sip._udp.psap.example SRV": ["0 0 0 ."], "psap.example A": ["192.0.2.1"]}, "no_data"),
        ({"_sip._udp.psap.example SRV": ["0 0 5060 gone.example."]}, "nxdomain"),
    ],
)
def test_why_there_is_no_address(zone: dict[str, list[str] | str], error: str) -> None:
    """Each way to fail has its word, and nothing is raised."""

    async def body() -> None:
        async with a_resolver(dict(zone), patience_s=0.1) as (resolver, _server):
            resolved = await resolver.resolve("sip:psap.example;transport=udp", "udp")
            assert (resolved.error, resolved.legs) == (error, ())
            assert resolved.detail

    run(body)


@pytest.mark.parametrize("uri", ["tel:911", "urn:service:test.sos", "sip:", "", "sip:a b@c"])
def test_a_uri_that_leads_nowhere(uri: str) -> None:
    """A URI without a host is an error of its own, without a question to anybody."""

    async def body() -> None:
        async with a_resolver(ZONE) as (resolver, server):
            assert (await resolver.resolve(uri, "udp")).error == "other"
            assert not server.asked

    run(body)


@pytest.mark.parametrize("trouble", ["NXDOMAIN", "SERVFAIL", "silence"])
def test_a_name_that_dies_keeps_its_last_addresses(trouble: str) -> None:
    """After its TTL a dead name is told with its error and its last addresses; then it recovers."""

    async def body() -> None:
        zone: dict[str, list[str] | str] = {"psap.example A": ["192.0.2.1"]}
        async with a_resolver(zone, patience_s=0.1) as (resolver, server):
            uri = "sip:psap.example:5060"
            assert legs(await resolver.resolve(uri, "udp")) == ["192.0.2.1:5060"]
            server.zone = {"psap.example": trouble}
            within_ttl = await resolver.resolve(uri, "udp")
            assert (within_ttl.error, within_ttl.cached) == ("", True)
            for _round in range(3):
                expire(resolver)
                dead = await resolver.resolve(uri, "udp")
                assert dead.error == {"silence": "timeout"}.get(trouble, trouble.lower())
                assert legs(dead) == ["192.0.2.1:5060"]
            server.zone = {"psap.example A": ["192.0.2.2"]}
            expire(resolver)
            alive = await resolver.resolve(uri, "udp")
            assert (alive.error, legs(alive)) == ("", ["192.0.2.2:5060"])

    run(body)


def test_a_server_that_is_not_there() -> None:
    """ICMP from the DNS server's port is a failure like any other, within the patience."""

    async def body() -> None:
        resolver = SipResolver(
            AlwaysFirst(),
            servers=[closed_port("udp", "127.0.0.1")],
            patience_s=0.2,
        )
        resolved = await resolver.resolve("sip:psap.example", "udp")
        assert resolved.error in ("timeout", "servfail", "other")

    run(body)


def test_answers_are_kept_for_their_ttl() -> None:
    """A second look-up asks nobody; an expired one asks again; TTL 0 still holds for a second."""

    async def body() -> None:
        async with a_resolver(ZONE) as (resolver, server):
            server.ttl = 0
            first = await resolver.resolve("sip:plain.example:5060", "udp")
            again = await resolver.resolve("sip:plain.example:5060", "udp")
            assert (first.cached, again.cached) == (False, True)
            assert first.duration_s > 0
            assert again.duration_s == 0
            assert server.asked["plain.example A"] == 1
            expire(resolver)
            assert not (await resolver.resolve("sip:plain.example:5060", "udp")).cached
            assert server.asked["plain.example A"] == 2
            (known,) = resolver._known.values()
            assert known.expires_at - asyncio.get_running_loop().time() < 1.1

    run(body)


def test_many_who_ask_at_once_make_one_question() -> None:
    """Two hundred paths behind one next hop do not flood the resolver when its TTL runs out."""

    async def body() -> None:
        async with a_resolver(ZONE) as (resolver, server):
            asked = [resolver.resolve("sip:plain.example:5060", "udp") for _path in range(200)]
            answers = await asyncio.gather(*asked)
            assert {leg for answer in answers for leg in answer.legs} == {
                Address("192.0.2.7", 5060)
            }
            assert server.asked["plain.example A"] == 1

    run(body)


def test_the_hosts_file_comes_first(tmp_path: Path) -> None:
    """A name in the hosts file needs no server; comments and nonsense lines are harmless."""
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "# a comment\n192.0.2.50 lab.example alias.example # more\n\n"
        "2001:db8::50\tLAB.example\nnonsense lab.example\n192.0.2.51\n",
        encoding="utf-8",
    )

    async def body() -> None:
        async with a_resolver({}, hosts_file=hosts) as (resolver, server):
            lab = await resolver.resolve("sip:lab.example", "tls")
            assert legs(lab) == ["192.0.2.50:5061", "[2001:db8::50]:5061"]
            assert legs(await resolver.resolve("sip:alias.example", "udp")) == ["192.0.2.50:5060"]
            assert not server.asked
            assert (await resolver.resolve("sip:other.example", "udp")).error == "nxdomain"

    run(body)


def test_no_more_than_eight_legs() -> None:
    """A name with a hundred addresses is eight legs, the same ones each time."""

    async def body() -> None:
        zone: dict[str, list[str] | str] = {
            "many.example A": [f"192.0.2.{number}" for number in range(1, 101)]
        }
        async with a_resolver(zone) as (resolver, _server):
            first = await resolver.resolve("sip:many.example:5060", "udp")
            expire(resolver)
            assert len(first.legs) == LEGS_MAX
            assert (await resolver.resolve("sip:many.example:5060", "udp")).legs == first.legs

    run(body)


def test_weights_share_the_load() -> None:
    """RFC 2782: of two servers of one priority, weight 3 comes first about three times as often."""

    async def body() -> None:
        zone: dict[str, list[str] | str] = {
            "_sip._udp.psap.example SRV": [
                "10 3 5060 heavy.example.",
                "10 1 5060 light.example.",
                "20 9 5060 spare.example.",
            ],
            "heavy.example A": ["192.0.2.3"],
            "light.example A": ["192.0.2.1"],
            "spare.example A": ["192.0.2.9"],
        }
        first: Counter[str] = Counter()
        async with a_resolver(zone, entropy=SystemEntropy()) as (resolver, _server):
            for _round in range(200):
                expire(resolver)
                found = await resolver.resolve("sip:psap.example;transport=udp", "udp")
                assert legs(found)[2] == "192.0.2.9:5060"
                first[found.legs[0].host] += 1
        assert 110 < first["192.0.2.3"] < 190

    run(body)


def test_one_dead_target_does_not_hide_the_others() -> None:
    """Of two SRV targets one does not resolve: the other's are the legs, asked again soon."""

    async def body() -> None:
        zone: dict[str, list[str] | str] = {
            "_sip._udp.psap.example SRV": ["1 1 5060 gone.example.", "2 1 5062 here.example."],
            "gone.example": "SERVFAIL",
            "here.example A": ["192.0.2.5"],
        }
        async with a_resolver(zone) as (resolver, _server):
            found = await resolver.resolve("sip:psap.example;transport=udp", "udp")
            assert (found.error, legs(found)) == ("", ["192.0.2.5:5062"])
            (known,) = resolver._known.values()
            assert known.expires_at - asyncio.get_running_loop().time() < 10

    run(body)


def test_the_system_resolver_reads_the_hosts_file() -> None:
    """Without servers of our own the machine's hosts file is read: localhost is loopback."""

    async def body() -> None:
        found = await SipResolver(AlwaysFirst()).resolve("sip:localhost", "udp")
        assert Address("127.0.0.1", 5060) in found.legs

    run(body)


def test_servers_must_be_addresses() -> None:
    """A DNS server given by name could never be found: refused at once."""
    with pytest.raises(ValueError, match=r"dns\.example"):
        SipResolver(AlwaysFirst(), servers=["dns.example"])
