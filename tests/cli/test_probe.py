"""``psapwatch probe``: whom it may reach, and what it says to names and URIs that are wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from config.configured import plain
from psapwatch.cli.main import cli
from psapwatch.cli.probe import _is_loopback
from psapwatch.evidence import Kind, Observation
from psapwatch.net.clock import SystemClock
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from samples import attempt

USAGE = 64


def run(*words: str) -> tuple[int, str]:
    """Run one command: exit code and all that it says."""
    done = CliRunner().invoke(cli, words)
    code = USAGE if done.exit_code == 2 and "Invalid value" in done.output else done.exit_code
    return code, done.output


@pytest.mark.parametrize(
    ("uri", "is_here"),
    [
        ("sip:127.0.0.1:5590", True),
        ("sip:x@[::1]:5590;transport=tcp", True),
        ("sip:192.0.2.2", False),
        ("sip:127.0.0.1:5590;maddr=192.0.2.2", False),
        ("sip:127.0.0.1;MADDR=psap.example.gov", False),
        ("sip:psap.example.gov;maddr=127.0.0.1", True),
        ("sip:localhost", False),
        ("sip:127.0.0.1.example.gov", False),
    ],
)
def test_a_call_without_a_configuration_stays_on_this_machine(uri: str, is_here: bool) -> None:
    """``maddr`` overrides the host (RFC 3261 19.1.1): what counts is where the request goes."""
    assert _is_loopback(uri) is is_here
    if not is_here:
        code, said = run("probe", uri, "--kind", "call")
        assert code == 1
        assert "only loopback is called" in said


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("tel:911", "has no host to send to"),
        ("urn:service:sos", "is what a test call asks for"),
        ("sips:127.0.0.1;transport=udp", "goes over TLS, not UDP"),
        ("sip:127.0.0.1:0", "port 0"),
        ("sip:user:secret@127.0.0.1", "a password in a URI"),
        ("sip:127.0.0.1?Subject=x", "carries no ?headers"),
        ("ma-boston/east", "needs --config FILE"),
    ],
)
def test_what_no_configuration_takes_is_no_target_either(uri: str, why: str) -> None:
    """The same rules, and the URI as it was typed."""
    code, said = run("probe", uri)
    assert code == USAGE, said
    assert repr(uri) in said
    assert why in said.replace("\n", " ")


def test_a_name_that_is_no_path_is_no_outage(tmp_path: Path) -> None:
    """A slip of the pen is not sent into the DNS; a PSAP of one path is enough to say."""
    written = plain()
    written["store"] = {"path": "psapwatch.db"}
    written["psaps"][0]["paths"][0] |= {"id": "east", "uri": "sip:127.0.0.1:9"}
    file = tmp_path / "psapwatch.yml"
    file.write_text(yaml.safe_dump(written), encoding="utf-8")
    code, said = run("probe", "ma-boston/west", "--config", str(file))
    assert code == 1
    assert "'ma-boston/west' is no path of" in said
    assert "(did you mean ma-boston/east?)" in said
    code, said = run("probe", "ma-boston", "--kind", "call", "--config", str(file))
    assert code == 1
    assert "not called: not commissioned" in said


def test_a_psap_that_asked_to_be_left_alone_is_by_commands_as_well(tmp_path: Path) -> None:
    """Its last call was answered 486 with Retry-After: an hour, by whichever process."""
    written = plain()
    written["store"] = {"path": "psapwatch.db"}
    written["psaps"][0]["paths"][0] |= {"id": "east", "uri": "sip:127.0.0.1:9"}
    written["psaps"][0]["test_calls"] |= {"commissioned": True}
    file = tmp_path / "psapwatch.yml"
    file.write_text(yaml.safe_dump(written), encoding="utf-8")
    refused = Observation(
        Kind.RESPONSE, 0.1, {"code": 486, "method": "INVITE", "retry_after": "3600"}
    )
    seen = replace(
        attempt(seen=(refused,)),
        psap="ma-boston",
        probe="call",
        started_at=SystemClock().wall() - 1_800.0,
    )
    verdict = Verdict(Outcome.DEGRADED, Cause.TEST_CALL_REFUSED, Plane.SIGNALLING, "486")

    async def refuse() -> None:
        store = Store(str(tmp_path / "psapwatch.db"), Inline())
        store.record_attempt(seen, verdict)
        await store.close()

    asyncio.run(refuse())
    code, said = run("probe", "ma-boston", "--kind", "call", "--config", str(file))
    assert code == 1
    assert "not called: backing off as the PSAP asked, not before" in said
