"""What a probe leaves behind at the far end: ours beside SIPp's own caller, from captures.

    python tests/left_behind.py [--write]     (make left-behind; as root, it watches loopback)

Both call the same answering point on loopback, whose scripts play a machine and a telephone. Each
scene is captured by tshark and told message by message; how many calls are left open is the far
end's own count. ``--write`` puts it into the page of the documentation.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from components.answering import calls_left, start_answering
from components.by_hand import TEST_URN
from components.capture import Seen, start_capture
from components.daemon import start_daemon
from components.ladder import ladders
from components.peer import Peer
from components.ports import free_port
from components.process import Bench, program
from components.waiting import until
from components.watching import CALL, CONSENT, watching

PATIENCE_S: Final = 2
KILLED_AFTER_S: Final = 1.0
AGAIN_AFTER_S: Final = 1.0
WATCHED_S: Final = 10.0
"""After the caller has gone, or is up again; what is open then is left open."""
PAGE: Final = Path(__file__).parents[1] / "docs" / "what-a-probe-leaves-behind.md"
THEIR_URI: Final = "INVITE sip:[service]@[remote_ip]:[remote_port]"
WIDTH: Final = 46
_BLOCK: Final = re.compile(r"(?<=<!-- captured -->\n).*?(?=<!-- /captured -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the far end does, and whether the caller is killed meanwhile."""

    title: str
    far_end: str
    is_killed: bool = False


SCENES: Final = (
    Scene("It answers", "no_bye"),
    Scene("A telephone rings, and nobody answers", "ringing_for_ever"),
    Scene(f"It answers after 3 s, the caller's patience is {PATIENCE_S} s", "slow_mirror"),
    Scene("The caller is killed after 1 s, the far end answers after 3 s", "slow_mirror", True),
)

Caller = Callable[[Bench, Peer, bool], None]
"""Calls a far end, and is killed on the way where it is to be."""


def psapwatch(bench: Bench, peer: Peer, is_killed: bool) -> None:
    """The daemon, with one call and no other for an hour; killed, it is started again."""
    call = CALL | {"every": "1h", "give_up_after": f"{PATIENCE_S}s"}
    consent = CONSENT | {"every": "1h"}
    config = watching({"ma-boston": peer.uri}, options=None, call=call, consent=consent)
    daemon = start_daemon(bench, config)
    if is_killed:
        time.sleep(KILLED_AFTER_S)  # noqa: TID251 - it lasts as long as it says
        daemon.kill()
        time.sleep(AGAIN_AFTER_S)  # noqa: TID251 - it lasts as long as it says
        start_daemon(bench, config, folder=daemon.config.parent)


def sipp(bench: Bench, peer: Peer, is_killed: bool) -> None:
    """SIPp's built-in caller, one call, as a cron job might run it; only its URI is the test's."""
    shown = bench.start("sipp-scenario", [program("sipp"), "-sd", "uac"])
    until(lambda: shown.exit_code is not None, 5.0, "SIPp prints its scenario")
    folder = bench.new_folder("sipp-uac")
    script = folder / "uac.xml"
    text = shown.output[shown.output.index("<?xml") :]
    script.write_text(text.replace(THEIR_URI, f"INVITE {TEST_URN}"), encoding="utf-8")
    argv = [
        *(program("sipp"), "-sf", str(script), "-m", "1", "-nostdin"),
        *("-recv_timeout", str(PATIENCE_S * 1_000), "-i", "127.0.0.1", "-p", str(free_port())),
        peer.authority,
    ]
    running = bench.start("sipp-uac", argv, folder=folder)
    if is_killed:
        time.sleep(KILLED_AFTER_S)  # noqa: TID251 - it lasts as long as it says
        running.kill()


CALLERS: Final[dict[str, Caller]] = {"psapwatch": psapwatch, "SIPp's own caller": sipp}


def played(scene: Scene, call: Caller) -> tuple[list[Seen], int]:
    """Capture one caller in one scene: the messages of its one call, and how many are left open."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack)
        peer = start_answering(bench, scene.far_end)
        captured = start_capture(bench, [peer])
        call(bench, peer, scene.is_killed)
        time.sleep(WATCHED_S)  # noqa: TID251 - it lasts as long as it says
        [ladder] = ladders(captured.stop(), peer)
        peer.running.end()
        return ladder, calls_left(peer)


def told(messages: list[Seen], callee_port: str) -> Iterator[str]:
    """One line a message: seconds after the first, direction, what it is."""
    for each in messages:
        is_out = each.destination.endswith(callee_port)
        what = each.method or f"{each.status} ({each.cseq_method})"
        arrow = f"{what} -->" if is_out else f"<-- {what}"
        yield f"{each.at_s - messages[0].at_s:7.3f}  {arrow}"


def what_is_left(messages: list[Seen], open_calls: int) -> str:
    """What the far end is left with."""
    said = [each.method or f"{each.status} {each.cseq_method}" for each in messages]
    if open_calls:
        return "a call that nobody ends"
    return "nothing" if "ACK" in said else "a final that nobody acknowledges"


def shown(scene: Scene) -> Iterator[str]:
    """A scene's two ladders beside each other, and what each leaves."""
    columns = []
    for name, call in CALLERS.items():
        messages, open_calls = played(scene, call)
        port = messages[0].destination.rpartition(":")[2]
        left = f"left: {what_is_left(messages, open_calls)}"
        columns.append([name, *told(messages, f":{port}"), "", left])
    yield f"## {scene.title}\n"
    yield "```text"
    height = max(map(len, columns))
    for column in columns:
        column[-2:-2] = [""] * (height - len(column))
    for left, right in zip(*columns, strict=True):
        yield f"{left:<{WIDTH}}{right}".rstrip()
    yield "```\n"


@click.command()
@click.option("--write", is_flag=True, help=f"Put it into {PAGE.name}.")
def main(write: bool) -> None:
    """Play every scene with both callers; takes a minute and a half."""
    lines = []
    for scene in SCENES:
        for line in shown(scene):
            lines.append(line)
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    if write:
        text = PAGE.read_text(encoding="utf-8")
        block = "\n" + "\n".join(lines)
        PAGE.write_text(_BLOCK.sub(lambda _found: block, text), encoding="utf-8")


if __name__ == "__main__":
    main()
