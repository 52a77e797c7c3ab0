"""Imports point down, or sideways within a layer: read from the syntax trees of the package."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

import pytest

from source_tree import PACKAGE, Function, Module, modules

LAYERS: Final = {
    "L5 doors": {"assignment", "cli", "config", "daemon", "demo", "replay"},
    "L4 service": {
        "board",
        "exposition",
        "housekeeping",
        "left_open",
        "logs",
        "metrics",
        "metrics_paths",
        "metrics_reference",
        "notice_forms",
        "open_calls",
        "permits",
        "recorder",
        "report",
        "self_test",
        "sinks",
        "store",
        "systemd",
        "trials",
        "turn",
        "watch",
        "web",
    },
    "L3 work": {"probes", "simulator"},
    "L2 ports": {"world", "net"},
    "L1 pure core": {
        "announced",
        "baseline",
        "battery",
        "bursts",
        "call_findings",
        "case",
        "casebook",
        "causes",
        "described",
        "escalation",
        "desk",
        "detection",
        "diagnosis",
        "duration",
        "echoed",
        "exhibits",
        "fault_domain",
        "green_round",
        "incident",
        "location",
        "look",
        "metrics_names",
        "phases",
        "pooled",
        "quarantine",
        "remote_text",
        "reported",
        "responses",
        "results",
        "rtp",
        "schedule",
        "sip",
        "sight",
        "stillness",
        "tried",
        "variants",
        "walks",
        "wanted",
        "wording",
    },
    "L0 words": {"endpoint", "evidence", "frozen", "verdict"},
}
"""Where each module and package of psapwatch stands, from the top down."""

PURE: Final = ("L0 words", "L1 pure core")
IMPURE: Final = {
    "asyncio",
    "logging",
    "os",
    "prometheus_client",
    "random",
    "socket",
    "ssl",
    "structlog",
    "time",
}
"""What the pure core never imports: time, chance and the network are arguments."""

CARRIER_ARGUMENTS: Final = 3
CARRIER_USERS: Final = {"net.flow", "net.media"}
"""Who holds a carrier itself: the lease, which asks the guard, and RTP, which refuses all else."""
DATAGRAM_SENDERS: Final = {"net.udp", "net.answering", "demo.relay", "systemd"}
"""Who calls the system's sendto: the carrier of SIP datagrams; the answering side, which asks the
guard itself; the demo's firewall, which forwards what others sent; and the word to systemd."""

_HEIGHT: Final = {
    name: height for height, names in enumerate(reversed(LAYERS.values())) for name in names
}
_LAYER: Final = {name: layer for layer, names in LAYERS.items() for name in names}
_PACKAGE_NAME: Final = "psapwatch"
_KNOWN: Final = {module.name for module in modules(PACKAGE)}


def own_imports(module: Module) -> list[tuple[int, str]]:
    """The modules of our own that a module imports, with the line."""
    found = []
    for line, name in module.imported():
        first, _, inner = name.partition(".")
        if first == _PACKAGE_NAME and inner:
            target = inner if inner in _KNOWN else inner.rpartition(".")[0] or inner
            found.append((line, target))
    return found


def top(name: str) -> str:
    """The first part of a dotted name: what the layers are made of."""
    return name.partition(".")[0]


@pytest.fixture(params=modules(PACKAGE), ids=lambda module: module.shown)
def module(request: pytest.FixtureRequest) -> Module:
    """Each module of the package in turn."""
    found: Module = request.param
    return found


def test_every_module_has_a_layer(module: Module) -> None:
    """A new module is given its place in LAYERS, and in ARCHITECTURE.md."""
    assert module.name == "" or top(module.name) in _HEIGHT, f"which layer is {module.shown} in?"


def test_imports_point_down_or_sideways(module: Module) -> None:
    """No module imports from a layer above its own."""
    own = _HEIGHT.get(top(module.name), 0)
    upward = [
        f"{module.shown}:{line} ({_LAYER[top(module.name)]}) imports {name} ({_LAYER[top(name)]})"
        for line, name in own_imports(module)
        if _HEIGHT.get(top(name), 0) > own
    ]
    assert upward == []


def test_probes_and_simulator_do_not_meet(module: Module) -> None:
    """Neither of the two imports the other: what is simulated is the network, not the probe."""
    pair = {"probes", "simulator"}
    met = [
        f"{module.shown}:{line} imports {name}"
        for line, name in own_imports(module)
        if top(module.name) in pair and {top(module.name), top(name)} == pair
    ]
    assert met == []


def test_core_is_pure(module: Module) -> None:
    """L0 and L1 import neither clock nor chance nor sockets nor logs nor metrics."""
    impure = [
        f"{module.shown}:{line} imports {name}"
        for line, name in module.imported()
        if _LAYER.get(top(module.name)) in PURE and top(name) in IMPURE
    ]
    assert impure == []


def test_imports_are_absolute(module: Module) -> None:
    """No relative imports: a name reads the same everywhere."""
    relative = [
        f"{module.shown}:{line} {name}" for line, name in module.imported() if name[0] == "."
    ]
    assert relative == []


def test_init_is_a_table_or_nothing(module: Module) -> None:
    """An __init__.py holds imports, a registration table and its row type, and no code."""
    if not module.is_init:
        return
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr, ast.ClassDef)
    other = [
        f"{module.shown}:{node.lineno} {type(node).__name__}"
        for node in module.tree.body
        if not isinstance(node, allowed)
        or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
    ]
    other += [
        f"{module.shown}:{function.lineno} {function.name}" for function in module.functions()
    ]
    assert other == []


def test_flows_guard_what_they_send(module: Module) -> None:
    """A flow's ``send`` calls the test-URN guard: the last thing that octets pass.

    ``Flow.send`` is known by its optional ``to``. The carriers below it are not flows, and only
    ``net.flow`` may hand them octets.
    """
    if top(module.name) in {"net", "simulator"}:
        unguarded = [
            f"{module.shown}:{function.lineno} {function.name}"
            for function in module.functions()
            if function.name == "send"
            and _is_flow_send(function)
            and not _calls(function, {"permit"})
        ]
        assert unguarded == []


def test_carriers_are_reached_through_a_flow(module: Module) -> None:
    """Only net.flow calls a carrier's ``send(octets, to, call_id)``, behind the guard."""
    around = [
        f"{module.shown}:{node.lineno} {ast.unparse(node)[:60]}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            (node.func.attr == "send" and len(node.args) == CARRIER_ARGUMENTS)
            or (node.func.attr in {"sendto", "sendmsg"} and module.name not in DATAGRAM_SENDERS)
        )
    ]
    assert module.name in CARRIER_USERS or around == []


def _is_flow_send(function: Function) -> bool:
    names = [argument.arg for argument in function.args.args]
    return "to" in names and len(function.args.defaults) > 0


def _calls(function: ast.AST, names: set[str]) -> bool:
    return any(
        isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id in names)
            or (isinstance(node.func, ast.Attribute) and node.func.attr in names)
        )
        for node in ast.walk(function)
    )


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (test_every_module_has_a_layer, "novelty", ""),
        (test_imports_point_down_or_sideways, "sip.call", "from psapwatch.world import World"),
        (test_imports_point_down_or_sideways, "world", "from psapwatch import config"),
        (test_probes_and_simulator_do_not_meet, "probes.x", "import psapwatch.simulator.loop"),
        (test_core_is_pure, "sip.call", "from time import monotonic"),
        (test_core_is_pure, "evidence", "def f():\n    import asyncio"),
        (test_imports_are_absolute, "sip.call", "from . import wire"),
        (test_flows_guard_what_they_send, "net.x", "def send(self, octets, to=None): ..."),
        (test_carriers_are_reached_through_a_flow, "net.x", "carrier.send(octets, to, '')"),
        (test_carriers_are_reached_through_a_flow, "probes.x", "one.sendto(octets, peer)"),
    ],
)
def test_rules_bite(rule: Callable[[Module], None], name: str, text: str) -> None:
    """Each rule of this file fails on the smallest module that breaks it."""
    broken = Module(name, PACKAGE / "broken.py", text, ast.parse(text))
    with pytest.raises(AssertionError):
        rule(broken)
