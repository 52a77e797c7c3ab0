"""Test calls that reach an ordinary phone: ended at once, without media, and never repeated."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any, Final

import pytest

from components.capture import Capture
from components.daemon import PROGRAM, Daemon
from components.inbox import Inbox
from components.kamailio import Kamailio
from components.ladder import (
    ANSWERED,
    ONLY_THE_TEST_URN,
    called_uris,
    is_ended,
    ladders,
    steps,
)
from components.peer import Peer
from components.ports import free_port
from components.process import program
from components.watching import CALL, FIREWALL, outcomes, watching

PSAP: Final = "ma-boston"
MEDIA_PORTS: Final = 8
"""Local ports that media would leave from."""


@pytest.fixture(params=["pjsua", "baresip"])
def phone(
    request: pytest.FixtureRequest, pjsua: Callable[..., Peer], baresip: Callable[..., Peer]
) -> Peer:
    """A phone on auto-answer: pjsip answers at once, baresip rings first."""
    return pjsua(loopback=False, bye_after_s=0.0) if request.param == "pjsua" else baresip()


def posted(inbox: Inbox, alertname: str) -> list[dict[str, Any]]:
    """Notices of one alert."""
    bodies = [post.json() for post in inbox.posted]
    return [body for body in bodies if body["incident"]["alertname"] == alertname]


def media_sent(captured: Capture, first: int) -> str:
    """Return a line for each packet that left one of our media ports.

    The self-test's own responder may have been given one of them: what is SIP is no media.
    """
    ours = f"udp.srcport >= {first} && udp.srcport < {first + MEDIA_PORTS} && !sip && !icmp"
    read = [program("tshark"), "-r", str(captured.file), "-Y", ours]
    return subprocess.run(read, check=True, capture_output=True, text=True).stdout


def test_a_phone_is_hung_up_on_and_left_alone(
    phone: Peer,
    kamailio: Callable[..., Kamailio],
    daemon: Callable[..., Daemon],
    capture: Callable[..., Capture],
    inbox: Inbox,
) -> None:
    """Ended at once, no media sent, the PSAP stopped and paged, until a human resumes it."""
    front = kamailio(forward_to=phone, rewrite_to=phone.uri).plain
    first = free_port(run=MEDIA_PORTS)
    captured = capture([front, phone], media=range(first, first + MEDIA_PORTS))
    source = {"address": "127.0.0.1", "rtp_ports": f"{first}-{first + MEDIA_PORTS - 1}"}
    watch = daemon(
        watching(
            {PSAP: front.uri},
            call=CALL | {"media": True},
            firewall={"sources": [source]},
            sinks=[{"kind": "webhook", "url": f"{inbox.url}/hook"}],
        )
    )
    calls = {"check": "test-call"}
    stopped = {"psap": PSAP, "reason": "unsafe"}
    watch.wait_for(
        lambda: watch.total("psapwatch_test_calls_stopped", stopped), 10, "the PSAP is stopped"
    )
    watch.wait_for(lambda: posted(inbox, "TestCallUnsafe"), 5, "the page")
    watch.wait_for(lambda: watch.total("psapwatch_calls_open") == 0, 5, "the call has ended")
    watch.wait_for(
        lambda: outcomes(watch, {"check": "keepalive"}).get("pass", 0) >= 3, 10, "OPTIONS go on"
    )
    assert outcomes(watch, calls) == {"degraded": 1}
    assert watch.total("psapwatch_causes_total", {"cause": "unsafe_answer"}) == 1
    unsafe = {"alert": "TestCallUnsafe", "severity": "page", "psap": PSAP, "firewall": FIREWALL}
    assert watch.total("psapwatch_incident_open", unsafe) == 1

    resume = [str(PROGRAM), "calls", "resume", "--config", str(watch.config), "--psap", PSAP]
    subprocess.run([*resume, "--why", "a mirror again"], check=True, timeout=20)
    watch.wait_for(
        lambda: not watch.total("psapwatch_test_calls_stopped", {"psap": PSAP}), 5, "resumed"
    )
    watch.wait_for(
        lambda: [post["status"] for post in posted(inbox, "TestCallUnsafe")] == ["open", "closed"],
        5,
        "the page is over",
    )
    watch.end()

    seen = captured.stop()
    assert called_uris(message for message in seen if message.destination == front.authority) == (
        ONLY_THE_TEST_URN
    )
    [call] = [
        [each for each in ladder if phone.authority not in (each.source, each.destination)]
        for ladder in ladders(seen, front)
        if ladder[0].method == "INVITE"
    ]
    said = steps(call)
    assert is_ended(said)
    if "180 INVITE" not in said:
        assert said == ANSWERED
    heard = next(each for each in call if each.status >= 180)
    ended = next(each for each in call if each.method in ("BYE", "CANCEL"))
    assert ended.at_s - heard.at_s < 0.2
    assert media_sent(captured, first) == ""
