"""What breaks a real network: each fault asserts that it was felt, and mends what it broke."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from components.answering import start_answering
from components.enactment import Fault, Scene
from components.process import program

DIVERTED: Final = 5070
"""Where an element on the way answers in place of the PSAPs."""


def nft(*statements: str, chain: str = "forward", inside: bool = False, first: str = "") -> Fault:
    """Rules of the firewall, or of the far end, each of which must be met.

    ``first`` are commands for what the rules stand on, a chain of their own for example.
    """

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        place = scene.laboratory.inside if inside else scene.laboratory.firewall
        if first:
            scene.laboratory.nft(first, place=place)
        with ExitStack() as stack:
            for statement in statements:
                stack.enter_context(scene.laboratory.rule(statement, chain=chain, place=place))
            yield

    return broken


def sh(done: str, undone: str = "true") -> Fault:
    """Commands in the firewall, and those that undo them; a rule beside them proves their work."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        firewall = scene.laboratory.firewall
        scene.laboratory.run(firewall, ["sh", "-ec", done])
        yield
        scene.laboratory.run(firewall, ["sh", "-ec", undone])

    return broken


def inspected(text: str) -> Fault:
    """Inspection drops each datagram that holds a text; only iptables can look so deep."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        rule = f"FORWARD -p udp -m string --algo bm --string {text} -j DROP"
        with sh(f"iptables -A {rule}", f"iptables -D {rule}")(scene):
            yield
            argv = [program("iptables"), "-nvxL", "FORWARD"]
            packets = scene.laboratory.run(scene.laboratory.firewall, argv).splitlines()[-1].split()
            assert int(packets[0]) > 0, f"no packet ever held {text!r}"

    return broken


def later(wait_s: float, fault: Fault) -> Fault:
    """The fault, so long after those before it."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        time.sleep(wait_s)
        with fault(scene):
            yield

    return broken


def answered_by(script: str, match: str) -> Fault:
    """An element on the way answers what matches, as a script of ``sip.answering_script``."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        start_answering(scene.bench, script, place=scene.laboratory.firewall, port=DIVERTED)
        rule = nft(
            f"{match} counter redirect to :{DIVERTED}",
            chain="divert",
            first="add chain inet bench divert { type nat hook prerouting priority dstnat; }",
        )
        with rule(scene):
            yield

    return broken


def nobody_listens(host: str) -> Fault:
    """One PSAP's answering software has stopped: its host says so, from its own address."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        inside = scene.laboratory.inside
        scene.laboratory.run(inside, ["ip", "address", "add", f"{host}/32", "dev", "lo"])
        with nft(f"ip daddr {host} counter notrack", chain="raw", inside=True)(scene):
            yield
        scene.laboratory.run(inside, ["ip", "address", "del", f"{host}/32", "dev", "lo"])

    return broken


def sinks_refuse(for_s: float) -> Fault:
    """The receiver answers 500 for so long; it is told later, and once."""

    @contextmanager
    def broken(scene: Scene) -> Iterator[None]:
        scene.inbox.status = 500
        mended = threading.Timer(for_s, setattr, (scene.inbox, "status", 200))
        mended.start()
        yield
        mended.join()
        refused = [posted for posted in scene.inbox.posted if posted.answered == 500]
        assert refused, "nothing was told while the receiver refused"

    return broken


def kill_and_restart(scene: Scene) -> None:
    """The daemon is killed and comes back on its store."""
    scene.daemon.kill()
    scene.start_daemon(scene.daemon.config.parent)
