"""A daemon that is killed, stopped or reloaded in mid-call: no call is left open, ever."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from components.answering import calls_left, requests, start_answering
from components.capture import Capture
from components.daemon import PROGRAM, Daemon
from components.firewall import INSIDE, OUTSIDE, SIP_PORT, Laboratory
from components.ladder import ONLY_THE_TEST_URN, called_uris, ladders, steps
from components.peer import Peer
from components.process import Bench
from components.sipp import finished_calls
from components.watching import CALL, CONSENT, outcomes, watching
from psapwatch.store.store import reading
from psapwatch.world import OpenCall

PSAP: Final = "ma-boston"
ONCE: Final[dict[str, Any]] = {
    "options": None,
    "call": CALL | {"every": "1h", "give_up_after": "8s"},
    "consent": CONSENT | {"every": "1h"},
}
"""One call at once and no other for an hour: what a restart then sends is recovery alone."""


def open_calls(watch: Daemon) -> list[OpenCall]:
    """Return the calls that the store says are open."""

    async def read() -> list[OpenCall]:
        store = reading(watch.config.parent / "psapwatch.db")
        try:
            return await store.open_calls()
        finally:
            await store.close()

    return asyncio.run(read())


def wait_until_called(watch: Daemon) -> OpenCall:
    """Wait until the store knows of a call that is open, and return its row."""
    watch.wait_for(lambda: watch.total("psapwatch_calls_open") == 1, 10, "a call is open")
    [row] = open_calls(watch)
    return row


def wait_until_ended(watch: Daemon, how: str) -> None:
    """Wait until the one call has ended as expected, in the counter and in the store."""
    ended = {"how": how}
    watch.wait_for(
        lambda: watch.total("psapwatch_calls_ended_total", ended) == 1, 10, f"ended: {how}"
    )
    assert watch.total("psapwatch_calls_ended_total") == 1
    assert watch.total("psapwatch_calls_open") == 0
    until_written = 2.0
    watch.wait_for(lambda: not open_calls(watch), until_written, "the row is closed")


def restarted(daemon: Callable[..., Daemon], watch: Daemon, config: str, **more: Any) -> Daemon:
    """Start again on the store of a daemon that is gone."""
    return daemon(config, folder=watch.config.parent, **more)


def test_killed_before_the_answer(
    sipp: Callable[..., Peer], daemon: Callable[..., Daemon], capture: Callable[..., Capture]
) -> None:
    """Started again within Timer B: the identical INVITE asks how it stands, CANCEL ends it."""
    peer = sipp("slow")
    config = watching({PSAP: peer.uri}, **ONCE)
    captured = capture([peer])
    first = daemon(config)
    row = wait_until_called(first)
    first.kill()
    second = restarted(daemon, first, config)
    wait_until_ended(second, "cancelled")
    second.end()
    seen = captured.stop()
    [ladder] = ladders(seen, peer)
    said = steps(ladder)
    assert said[:3] == ("INVITE", "INVITE", "CANCEL")
    assert sorted(said[3:]) == ["200 CANCEL", "487 INVITE", "ACK"]
    assert called_uris(seen) == ONLY_THE_TEST_URN
    invites = [message for message in ladder if message.method == "INVITE"]
    assert invites[0].source == invites[1].source == str(row.local)
    assert invites[0].field("sip.Via.branch") == invites[1].field("sip.Via.branch")
    assert finished_calls(peer) == (1, 0)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_killed_before_the_bye_is_answered(
    bench: Bench, daemon: Callable[..., Daemon], transport: str
) -> None:
    """An answered call is ended with BYE after the restart: its 2xx is in the store."""
    peer = start_answering(bench, "no_bye", transport=transport, bye_after_s=20.0)
    config = watching({PSAP: peer.uri}, **ONCE)
    first = daemon(config)
    first.wait_for(lambda: _is_answered(first), 10, "the call is answered")
    first.kill()
    peer.running.end()
    again = start_answering(bench, "no_bye", transport=transport, port=peer.port)
    second = restarted(daemon, first, config)
    wait_until_ended(second, "bye_sent")
    second.end()
    [invite, *_rest] = requests(peer)
    asked = requests(again)
    assert {call_id for _method, call_id in asked} == {invite[1]}
    assert [method for method, _call_id in asked] == ["ACK", "BYE"]


def _is_answered(watch: Daemon) -> bool:
    """Whether the store holds the 2xx of a call that is open."""
    return any(row.answer for row in open_calls(watch))


def test_killed_while_nobody_answered(
    bench: Bench, daemon: Callable[..., Daemon], laboratory: Laboratory
) -> None:
    """An INVITE that a firewall swallowed is asked about again, and ended once it is answered."""
    peer = start_answering(bench, "no_bye", place=laboratory.inside, port=SIP_PORT)
    config = watching({PSAP: f"sip:psap@{INSIDE};transport=udp"}, source=OUTSIDE[0], **ONCE)
    there: dict[str, Any] = {"place": laboratory.outside, "laboratory": laboratory}
    with laboratory.rule(f"udp dport {SIP_PORT} counter drop"):
        first = daemon(config, **there)
        wait_until_called(first)
        first.kill()
    second = restarted(daemon, first, config, **there)
    wait_until_ended(second, "bye_sent")
    second.end()
    assert [method for method, _call_id in requests(peer)] == ["INVITE", "ACK", "BYE"]
    assert calls_left(peer) == 0


def test_an_unreachable_open_call_does_not_block_the_psap_for_ever(
    bench: Bench, daemon: Callable[..., Daemon]
) -> None:
    """Nobody to say BYE to after the restart: tried again until it is reached, then ended."""
    peer = start_answering(bench, "no_bye", transport="tcp", bye_after_s=20.0)
    config = watching({PSAP: peer.uri}, **ONCE)
    first = daemon(config)
    first.wait_for(lambda: _is_answered(first), 10, "the call is answered")
    first.kill()
    peer.running.end()
    second = restarted(daemon, first, config)
    time.sleep(0.5)  # in which nobody can be connected to
    assert second.total("psapwatch_calls_open") == 1
    again = start_answering(bench, "no_bye", transport="tcp", port=peer.port)
    wait_until_ended(second, "bye_sent")
    second.end()
    assert [method for method, _call_id in requests(again)][-2:] == ["ACK", "BYE"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_sigterm_before_the_answer(
    sipp: Callable[..., Peer], daemon: Callable[..., Daemon], transport: str
) -> None:
    """Asked to end in mid-call: CANCEL, 487, ACK, exit code 0, nothing left open."""
    peer = sipp("slow", transport=transport)
    watch = daemon(watching({PSAP: peer.uri}, **ONCE))
    wait_until_called(watch)
    watch.end()
    assert open_calls(watch) == []
    assert finished_calls(peer) == (1, 0)


def test_sigterm_waits_for_the_bye(bench: Bench, daemon: Callable[..., Daemon]) -> None:
    """An answered call whose BYE is answered late is waited for, and has ended when we do."""
    peer = start_answering(bench, "no_bye", bye_after_s=2.0)
    watch = daemon(watching({PSAP: peer.uri}, **ONCE))
    watch.wait_for(lambda: _is_answered(watch), 10, "the call is answered")
    watch.end()
    assert open_calls(watch) == []
    requests(peer)
    assert calls_left(peer) == 0


def test_a_bad_reload_keeps_what_runs(bench: Bench, daemon: Callable[..., Daemon]) -> None:
    """SIGHUP with a bad file: refused whole, said in metric and log, everything goes on."""
    peer = start_answering(bench)
    watch = daemon(watching({PSAP: peer.uri}))
    watch.wait_for(lambda: outcomes(watch).get("pass", 0) >= 3, 10, "attempts")
    good = watch.config.read_text(encoding="utf-8")
    successful = "psapwatch_config_last_reload_successful"
    assert watch.total(successful) == 1
    counted = outcomes(watch)["pass"]

    watch.config.write_text(good.replace("probe: options", "probe: guess"), encoding="utf-8")
    os.kill(watch.running.pid, signal.SIGHUP)
    watch.wait_for(lambda: watch.total(successful) == 0, 5, "the refusal")
    assert "configuration refused" in watch.running.output
    assert f"{watch.config}:" in watch.running.output
    assert "probe" in watch.running.output.rsplit("configuration refused", 1)[1]
    watch.wait_for(lambda: outcomes(watch)["pass"] > counted, 5, "it goes on")

    more = good.replace("psaps:", f"psaps:\n{_one_more(peer)}", 1)
    watch.config.write_text(more, encoding="utf-8")
    os.kill(watch.running.pid, signal.SIGHUP)
    watch.wait_for(
        lambda: watch.total("psapwatch_path_up", {"psap": "ma-salem"}), 5, "the new PSAP"
    )
    assert watch.total(successful) == 1
    assert outcomes(watch, {"psap": PSAP})["pass"] > counted
    assert watch.total("psapwatch_internal_errors_total") == 0


def _one_more(peer: Peer) -> str:
    return (
        f"- id: ma-salem\n  name: Salem\n  paths: [{{firewall: fw-east, uri: '{peer.uri}', id: x}}]"
    )


def test_a_stop_outlives_a_restart(bench: Bench, daemon: Callable[..., Daemon]) -> None:
    """``calls stop`` holds within a second, and after a crash as well."""
    peer = start_answering(bench)
    config = watching({PSAP: peer.uri}, options=None)
    first = daemon(config)
    first.wait_for(lambda: outcomes(first).get("pass"), 10, "a call")
    _calls(first.config, "stop", "--why", "storm")
    stopped = {"psap": "", "reason": "operator"}
    first.wait_for(lambda: first.total("psapwatch_test_calls_stopped", stopped), 3, "stopped")
    first.kill()
    second = restarted(daemon, first, config)
    assert second.total("psapwatch_test_calls_stopped", stopped) == 1
    time.sleep(1.5)  # in which a call would have been due
    assert outcomes(second) == {}
    _calls(first.config, "resume", "--why", "the storm is over")
    second.wait_for(lambda: outcomes(second).get("pass"), 5, "a call again")


def _calls(config: Path, verb: str, *words: str) -> None:
    argv = [str(PROGRAM), "calls", verb, "--config", str(config), *words]
    subprocess.run(argv, check=True, timeout=20)


def test_a_probe_that_gets_sigterm_ends_its_call_first() -> None:
    """As ``timeout 10 psapwatch probe`` sends it: what may ring by now is cancelled."""
    with socket.socket(type=socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(30)
        uri = f"sip:127.0.0.1:{phone.getsockname()[1]}"
        probe = subprocess.Popen(
            [str(PROGRAM), "probe", uri, "--kind", "call"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        invite, prober = phone.recvfrom(65_535)
        phone.sendto(_answer_to(invite, "100 Trying"), prober)
        probe.send_signal(signal.SIGTERM)
        asked = [phone.recv(65_535).split()[0] for _ in range(2)]
        probe.communicate(timeout=60)
    assert b"CANCEL" in asked
    assert probe.returncode == 143


def _answer_to(request: bytes, status: str) -> bytes:
    """A response with the request's own Via, From, To, Call-ID and CSeq (RFC 3261 8.2.6.2)."""
    copied = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
    headers = [line for line in request.split(b"\r\n") if line.lower().startswith(copied)]
    start = f"SIP/2.0 {status}".encode()
    return b"\r\n".join([start, *headers, b"Content-Length: 0", b"", b""])
