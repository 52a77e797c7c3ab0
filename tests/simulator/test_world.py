"""The simulated clock, entropy, resolver and Alertmanager, and whole topologies."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from psapwatch.endpoint import TransportName
from psapwatch.simulator.loop import run
from psapwatch.simulator.topology import Plan, topology
from psapwatch.simulator.world import EPOCH, SimulatedEntropy, SimulatedWorld, simulated_world
from simulator.outside import Outside, simulated

URL = "http://alertmanager.example.net:9093/api/v2/alerts"


def _alert(world: SimulatedWorld, ends_in_s: float, **labels: str) -> dict[str, Any]:
    now = world.clock.wall()
    labels = {"alertname": "CallsBlocked", "severity": "page"} | labels
    return {
        "labels": labels,
        "annotations": {"summary": "it does not get through"},
        "startsAt": datetime.fromtimestamp(now, UTC).isoformat(),
        "endsAt": datetime.fromtimestamp(now + ends_in_s, UTC).isoformat().replace("+00:00", "Z"),
    }


async def _post(world: SimulatedWorld, *alerts: dict[str, Any]) -> int:
    return (await world.post.post(URL, json.dumps(alerts).encode(), {})).status


def test_entropy_is_the_seeds() -> None:
    """The same seed gives the same tokens, another others; tokens are hex of the asked length."""
    first, same, other = SimulatedEntropy(1), SimulatedEntropy(1), SimulatedEntropy(2)
    tokens = [first.token(16) for _ in range(5)]
    assert tokens == [same.token(16) for _ in range(5)]
    assert tokens != [other.token(16) for _ in range(5)]
    assert all(len(token) == 32 and int(token, 16) >= 0 for token in tokens)
    assert all(3.0 <= first.uniform(3.0, 4.0) < 4.0 for _ in range(100))


def test_the_resolver_gives_legs_and_their_ports() -> None:
    """Ports come from the URI, else from the transport; numeric hosts are not asked."""

    async def main(outside: Outside) -> list[list[str]]:
        resolve = outside.built.world.resolver.resolve
        asked: tuple[tuple[str, TransportName], ...] = (
            ("sip:psap-001.example.gov", "udp"),
            ("sip:x@psap-001.example.gov:5080;lr", "udp"),
            ("sips:psap-001.example.gov", "tls"),
            ("sip:10.1.2.3", "udp"),
            ("sip:a@[fd00::1]:5070", "tcp"),
        )
        found = [await resolve(uri, transport) for uri, transport in asked]
        return [[str(leg) for leg in each.legs] for each in found]

    assert simulated(main, plan=Plan(psaps=1, with_v6=True)) == [
        ["10.20.0.2:5060", "[fd00:20::1]:5060"],
        ["10.20.0.2:5080", "[fd00:20::1]:5080"],
        ["10.20.0.2:5061", "[fd00:20::1]:5061"],
        ["10.1.2.3:5060"],
        ["[fd00::1]:5070"],
    ]


def test_a_dead_resolver_gives_the_last_known_addresses() -> None:
    """With an error the legs of the last good answer are kept; an unknown name has none."""

    async def main(outside: Outside) -> None:
        resolver = outside.built.world.resolver
        assert (await resolver.resolve("sip:nobody.example.gov", "udp")).error == "nxdomain"
        good = await resolver.resolve("sip:psap-001.example.gov", "udp")
        resolver.error, resolver.delay_s = "timeout", 2.0
        bad = await resolver.resolve("sip:psap-001.example.gov", "udp")
        assert (bad.error, bad.duration_s, bad.legs) == ("timeout", 2.0, good.legs)

    simulated(main)


def test_an_alert_pages_once_however_often_it_is_repeated() -> None:
    """Repeats are one firing; after its end a new firing is a new page."""

    async def main() -> None:
        world = simulated_world(1)
        for _ in range(10):
            assert await _post(world, _alert(world, 300)) == 200
            await asyncio.sleep(30)
        assert len(world.post.pages) == 1
        assert world.post.names() == {"CallsBlocked"}
        assert await _post(world, _alert(world, 0)) == 200
        assert world.post.names() == set()
        assert len(world.post.resolved) == 1
        assert await _post(world, _alert(world, 300)) == 200
        assert len(world.post.pages) == 2

    run(main())


def test_an_alert_that_nobody_repeats_ends_by_itself() -> None:
    """``endsAt`` passing resolves: firing looks at a moment."""

    async def main() -> None:
        world = simulated_world(1)
        await _post(world, _alert(world, 300))
        begun = world.clock.wall()
        await asyncio.sleep(301)
        assert not world.post.firing()
        assert len(world.post.firing(begun + 10)) == 1

    run(main())


def test_identity_is_the_label_set_without_empty_labels() -> None:
    """Annotations may change; another label is another alert; an empty label is none."""

    async def main() -> None:
        world = simulated_world(1)
        changed = _alert(world, 300, firewall="") | {"annotations": {"summary": "now 200"}}
        await _post(world, _alert(world, 300), changed, _alert(world, 300, firewall="fw-east"))
        assert len(world.post.pages) == 2
        texts = {alert.annotations["summary"] for alert in world.post.firing().values()}
        assert texts == {"now 200", "it does not get through"}

    run(main())


def test_tickets_and_the_watchdog_wake_nobody() -> None:
    """Only severity page counts as a page; the dead-man's switch is not among the names."""

    async def main() -> None:
        world = simulated_world(1)
        ticket = _alert(world, 300, alertname="RedundancyLost", severity="ticket")
        await _post(world, ticket, _alert(world, 300, alertname="Watchdog", severity="none"))
        assert world.post.pages == []
        assert world.post.names() == {"RedundancyLost"}
        assert len(world.post.told) == 2

    run(main())


@pytest.mark.parametrize(
    "body", [b"{", b"[{}]", b'[{"labels": {}}]', b'[{"labels":{"alertname":"x"},"endsAt":"soon"}]']
)
def test_what_alertmanager_would_not_take_is_refused(body: bytes) -> None:
    """A body that breaks API v2 gets 400 and leaves nothing."""

    async def main() -> None:
        world = simulated_world(1)
        assert (await world.post.post(URL, body, {})).status == 400
        assert not world.post.told

    run(main())


def test_a_dead_alertmanager_keeps_nothing() -> None:
    """Down is a refused connection, 500 is a failure; neither is a page."""

    async def main() -> None:
        world = simulated_world(1)
        world.post.down = True
        assert await _post(world, _alert(world, 300)) == 0
        world.post.down, world.post.status = False, 500
        assert await _post(world, _alert(world, 300)) == 500
        assert not world.post.told

    run(main())


def test_webhooks_are_kept_as_they_came() -> None:
    """Any other URL is a webhook: its body is kept with its moment."""

    async def main() -> None:
        world = simulated_world(1)
        await world.post.post("https://hook.example.net/x", b'{"status": "open"}', {})
        assert world.post.webhooks == [(EPOCH, "https://hook.example.net/x", {"status": "open"})]

    run(main())


def test_a_topology_answers_on_every_path_of_every_vantage() -> None:
    """What the nouns say can be called: each path resolves and answers through its firewall."""

    async def main(outside: Outside) -> int:
        built = outside.built
        answered = 0
        for outlook in built.outlooks:
            for path in outlook.paths:
                found = await built.world.resolver.resolve(path.uri, path.transport)
                road = outside.road(host=found.legs[0].host, source=path.leaves_from.address)
                answered += (await outside.ask(road)).codes == [200]
        return answered

    plan = Plan(psaps=5, firewalls=("fw-east", "fw-west"), vantages=("boston-a", "lowell-b"))
    assert simulated(main, plan=plan) == 5 * 2 * 2


def test_each_firewall_carries_its_own_paths() -> None:
    """A path through fw-west does not meet fw-east's rules."""

    async def main(outside: Outside) -> dict[str, set[str]]:
        met: dict[str, set[str]] = {}
        for path in outside.built.outlooks[0].paths:
            before = {name: len(f._states) for name, f in outside.built.firewalls.items()}
            await outside.ask(outside.road(source=path.leaves_from.address))
            met.setdefault(path.firewall.id, set()).update(
                name for name, f in outside.built.firewalls.items() if len(f._states) > before[name]
            )
        return met

    plan = Plan(psaps=2, firewalls=("fw-east", "fw-west"))
    assert simulated(main, plan=plan) == {"fw-east": {"fw-east"}, "fw-west": {"fw-west"}}


def test_more_psaps_than_addresses_is_refused() -> None:
    """A plan that cannot be built says so."""
    with pytest.raises(ValueError, match="at most"):
        topology(simulated_world(1), 1, Plan(psaps=10_001))
