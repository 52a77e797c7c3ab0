"""Worlds by chance: any network, any faults; only the invariants are asked for (layer L5).

A world is written as a scenario's file, so that a seed that fails can be cut down and kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from psapwatch.replay.scenario import Scenario, read_octets
from psapwatch.simulator.chance import Random, seeded
from psapwatch.sip.answering_script import SCRIPTS

NAME: Final = "random"
BEGINS_WITHIN_S: Final = 240
LASTS_S_MAX: Final = 150
SETTLES_S: Final = 120
"""After the last fault: calls that were held up end, and the daemon finds its feet again."""

Plain = dict[str, Any]

_TRANSPORTS: Final = (["udp"], ["udp"], ["udp"], ["tcp"], ["tls"], ["udp", "tcp"])
_ANSWERS: Final = ("multipart", "multipart", "mirror", "trying_then_mirror", "text_only", "no_bye")
_METHODS: Final = (["INVITE"], ["OPTIONS"], ["ACK"], ["BYE"], ["CANCEL"], ["INVITE", "OPTIONS"])


def random_world(seed: int) -> Scenario:
    """The world of a seed."""
    scenario = read_octets(random_yaml(seed).encode(), f"{NAME} {seed}", f"{NAME}-{seed}")
    return replace(scenario, is_free=True)


def random_yaml(seed: int) -> str:
    """The world of a seed, as a file."""
    chance = seeded(seed, "random world")
    network = _network(chance) | {"rate_burst": seed % 2 == 0}
    faults = [_fault(chance, network) for _nth in range(chance.randint(1, 4))]
    lines = [
        f"title: world by chance, seed {seed}",
        f"network: {json.dumps(network)}",
        f"quiet: {chance.randint(60, 200)}s",
        "faults:",
        *(f"  - {json.dumps(fault)}" for fault in faults),
        f"runs: {BEGINS_WITHIN_S + LASTS_S_MAX + SETTLES_S}s",
    ]
    return "\n".join(lines) + "\n"


def _network(chance: Random) -> Plain:
    return {
        "psaps": chance.choice((1, 2, 3, 5, 8, 12)),
        "firewalls": chance.choice((["fw-east"], ["fw-east"], ["fw-east", "fw-west"])),
        "transports": chance.choice(_TRANSPORTS),
        "attributes": {"county": ["north", "south", "west"]},
        "answers": chance.choice(_ANSWERS),
        "calls_every": chance.choice(("120s", "150s", "300s")),
        "link": _link(chance, 0.05),
    }


def _link(chance: Random, loss_max: float) -> Plain:
    return {
        "delay": f"{chance.randint(1, 120)}ms",
        "jitter": f"{chance.randint(0, 60)}ms",
        "loss": round(chance.choice((0.0, chance.uniform(0.0, loss_max))), 3),
        "duplicate": chance.choice((0.0, 0.02)),
        "reorder": chance.choice((0.0, 0.05)),
    }


def _fault(chance: Random, network: Plain) -> Plain:
    kind = chance.choice(tuple(_KINDS))
    found = {"kind": kind, "at": f"{chance.randint(0, BEGINS_WITHIN_S)}s"}
    lasts_s = chance.choice((3, 20, 60, LASTS_S_MAX))
    return found | {"for": f"{chance.randint(1, lasts_s)}s"} | _KINDS[kind](chance, network)


def _who(chance: Random, network: Plain) -> list[str]:
    one = f"psap-{chance.randint(1, network['psaps']):03d}"
    return chance.choice((["all"], [one], ["county=north"], ["reference"], ["all", "reference"]))


def _rule(chance: Random, network: Plain) -> Plain:
    found: Plain = {
        "firewall": chance.choice(("all", *network["firewalls"])),
        "action": chance.choice(("drop", "drop", "drop", "reject", "reset", "delay", "limit")),
        "by": f"{chance.randint(1, 3000)}ms",
        "per_second": round(chance.uniform(0.2, 20.0), 1),
        "block": f"{chance.choice((0, 0, 30))}s",
    }
    for key, values in (
        ("direction", ("inward", "outward")),
        ("methods", _METHODS),
        ("codes", ([100], [200], [100, 200])),
        ("who", (_who(chance, network),)),
        ("flows", ("new", "old")),
        ("share", (0.05, 0.3, 0.7)),
        ("probability", (0.1, 0.5, 0.9)),
        ("min_size", (300, 560)),
    ):
        if chance.random() < 0.25:
            found[key] = chance.choice(values)
    return found


def _answers(chance: Random, network: Plain) -> Plain:
    return {"who": _who(chance, network), "script": chance.choice(sorted(SCRIPTS))}


def _states(chance: Random, _network: Plain) -> Plain:
    return chance.choice(
        ({"forget": True}, {"udp_timer": "1s"}, {"room": 3}, {"forget": True, "strict_tcp": True})
    )


def _detour(chance: Random, network: Plain) -> Plain:
    ends = (f"psap-{chance.randint(1, network['psaps']):03d}" for _end in range(2))
    return dict(zip(("psap", "to"), ends, strict=True))


_KINDS: Final[dict[str, Callable[[Random, Plain], Plain]]] = {
    "rule": _rule,
    "answers": _answers,
    "host": lambda chance, network: {
        "who": _who(chance, network),
        "state": chance.choice(("off", "stopped")),
    },
    "states": _states,
    "link": lambda chance, _network: _link(chance, 0.6),
    "names": lambda chance, _network: {
        "error": chance.choice(("nxdomain", "timeout", "servfail", "no_data"))
    },
    "detour": _detour,
    "clock": lambda chance, _network: {chance.choice(("forward", "back")): "10m"},
    "sinks": lambda chance, _network: chance.choice(({}, {"status": 500}, {"status": 400})),
    "daemon": lambda chance, _network: {"how": chance.choice(("stopped", "killed"))},
    "prober": lambda chance, _network: {"error": chance.choice(("EMFILE", "EADDRINUSE"))},
    "certificate": lambda chance, _network: chance.choice(
        ({"expired": True}, {"issuer": "self-signed"}, {"alert": "handshake_failure"})
    ),
    "load": lambda chance, network: {
        "firewall": chance.choice(network["firewalls"]),
        "per_second": 20.0,
    },
}
