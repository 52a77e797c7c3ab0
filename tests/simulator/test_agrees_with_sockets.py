"""The simulated network tells of a failure in the words of the real sockets on loopback."""

from __future__ import annotations

import asyncio

import pytest

from net.far_end import Recorder, a_network, closed_port, options
from net.far_end import run as run_really
from psapwatch.endpoint import Address, Source, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.world import Road
from simulator.outside import Ear, Outside, simulated

Told = list[tuple[Kind, dict[str, object]]]
OF_ANOTHER_WORLD = ("offender", "to", "detail")
"""Facts that name addresses, which cannot be equal; that they are told at all must be."""


def told(failures: list[Observation]) -> Told:
    """Kinds and facts, without what is different in another world."""
    return [
        (seen.kind, {name: seen.facts[name] for name in seen.facts if name not in OF_ANOTHER_WORLD})
        for seen in failures
        if all(seen.facts[name] for name in seen.facts if name in OF_ANOTHER_WORLD)
    ]


def really(transport: TransportName, source: str, peer: Address) -> Told:
    """What the real network tells."""
    came: list[Observation] = []

    async def body() -> None:
        recorder = Recorder()
        async with a_network() as network:
            road = Road(transport, Source(source), peer)
            flow = await network.open(road, "a@test", recorder, patience_s=5.0)
            if flow is not None:
                flow.send(options())
            came.append(await recorder.failures.get())
            came.extend(recorder.failures.get_nowait() for _ in range(recorder.failures.qsize()))

    run_really(body)
    return told(came)


def in_simulation(transport: TransportName, source: str, peer: Address) -> Told:
    """What the simulated one tells."""

    async def main(outside: Outside) -> Told:
        outside.network.place("127.0.0.1", "here")
        outside.network.place("::1", "here")
        ear = Ear()
        road = Road(transport, Source(source), peer)
        flow = await outside.network.open(road, "a@test", ear, patience_s=5.0)
        if flow is not None:
            flow.send(options())
        await asyncio.sleep(1)
        return told(ear.failures)

    return simulated(main)


@pytest.mark.parametrize(
    ("transport", "source", "host", "first"),
    [
        ("udp", "127.0.0.1", "127.0.0.1", Kind.ICMP),
        ("udp", "::1", "::1", Kind.ICMP),
        ("tcp", "127.0.0.1", "127.0.0.1", Kind.CONNECT_FAILED),
        ("tls", "127.0.0.1", "127.0.0.1", Kind.CONNECT_FAILED),
        ("udp", "192.0.2.77", "127.0.0.1", Kind.LOCAL_ERROR),
        ("tcp", "192.0.2.77", "127.0.0.1", Kind.LOCAL_ERROR),
        ("udp", "127.0.0.1", "::1", Kind.LOCAL_ERROR),
    ],
)
def test_both_networks_tell_the_same(
    transport: TransportName, source: str, host: str, first: Kind
) -> None:
    """A closed port, a source that is not ours, a family that does not fit: the same facts."""
    peer = closed_port(transport, host)
    real, imagined = really(transport, source, peer), in_simulation(transport, source, peer)
    assert real == imagined
    assert real[0][0] is first
