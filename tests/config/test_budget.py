"""The load of a schedule: what goes through each firewall and to each PSAP."""

from __future__ import annotations

from typing import Any

import pytest

from config.configured import ROOT, load_plain, plain
from psapwatch.config.budget import load_of, print_load
from psapwatch.config.errors import BadConfig
from psapwatch.config.load import load


def massachusetts(calls_per_second: float = 2.0) -> dict[str, Any]:
    """Return 204 PSAPs behind one firewall: OPTIONS every 15 s, a call every 5 min each."""
    written = plain()
    firewall = written["firewalls"]["fw-east"]
    firewall["limits"] = {"calls_per_second": calls_per_second}
    firewall["reference"] = "sip:ref.example.net"
    written["checks"] |= {
        "test-call": {"probe": "call", "every": "5m"},
        "reference": {"probe": "call", "every": "15s", "on": "reference"},
    }
    written["psaps"] = [{**written["psaps"][0], "id": f"ma-{n}"} for n in range(204)]
    return written


def test_the_load_is_counted_by_firewall_and_psap() -> None:
    """204 PSAPs make 13.6 OPTIONS and 0.68 calls a second, the reference 1/15 more."""
    load = load_of(load_plain(massachusetts()))
    rate = load.firewalls["fw-east"]
    calls = 204 / 300 + 1 / 15
    assert rate.calls_per_second == pytest.approx(calls)
    assert rate.messages_per_second == pytest.approx(204 / 15 + 3 * calls)
    assert rate.concurrent_calls == pytest.approx(8 * calls)
    assert load.psaps["ma-7"].calls_per_second == pytest.approx(1 / 300)
    assert load.total == rate


def test_psaps_behind_one_uri_are_told() -> None:
    """Each has a floor of its own: whoever stands behind the URI gets the calls of all."""
    written = massachusetts()
    written["psaps"][0]["paths"] = [{"firewall": "fw-east", "uri": "sip:alone@psap.example.gov"}]
    uri = written["psaps"][1]["paths"][0]["uri"]
    said = [line for line in print_load(load_plain(written)) if "called there" in line]
    assert said == [f"{uri}: 203 psaps are called there, a call every 1.5 s in all"]
    written["psaps"] = written["psaps"][:3]
    for psap in written["psaps"]:
        own = f"sip:{psap['id']}@psap.example.gov"
        psap["paths"] = [*psap["paths"][:1], {"id": "b", "firewall": "fw-east", "uri": own}]
    said = [line for line in print_load(load_plain(written)) if "called there" in line]
    assert said == [f"{uri}: 2 psaps are called there, a call every 300.0 s in all"], "half of them"
    written["psaps"] = written["psaps"][:2]
    assert not any("called there" in line for line in print_load(load_plain(written)))


def test_an_agreement_spaces_all_calls_to_a_psap() -> None:
    """Two paths, two checks and two vantages take turns, two intervals each."""
    written = plain()
    psap = written["psaps"][0]
    psap["paths"].append({"id": "b", "firewall": "fw-east", "uri": "sip:psap2.example.gov"})
    psap["test_calls"] |= {"every": "5m", "turn": "2/2"}
    written["checks"]["a"] = {"probe": "call", "every": "1m"}
    written["checks"]["b"] = {"probe": "call", "every": "5m"}
    load = load_of(load_plain(written))
    assert load.psaps["ma-boston"].calls_per_second == pytest.approx(1 / 1_200)
    assert load.firewalls["fw-east"].calls_per_second == pytest.approx(1 / 1_200)


def test_a_check_rarer_than_the_agreement_decides() -> None:
    """An agreement allows; it does not make calls."""
    written = plain()
    written["checks"]["rare"] = {"probe": "call", "every": "1h"}
    assert load_of(load_plain(written)).psaps["ma-boston"].calls_per_second == pytest.approx(
        1 / 3600
    )


def test_the_way_round_a_firewall_does_not_load_it() -> None:
    """Checks of the control count to the whole, not to the firewall."""
    written = plain()
    written["firewalls"]["fw-east"] |= {
        "reference": "sip:ref.example.net",
        "control": {"source": {"address": "198.51.100.7"}},
    }
    written["checks"]["control"] = {"probe": "call", "every": "10s", "on": "control"}
    load = load_of(load_plain(written))
    assert load.firewalls["fw-east"].calls_per_second == 0.0
    assert load.total.calls_per_second == pytest.approx(0.1)


def test_a_schedule_above_a_limit_is_refused() -> None:
    """The error names limit and load, where the limit is written."""
    with pytest.raises(BadConfig) as refused:
        load_plain(massachusetts(calls_per_second=0.5))
    (error,) = refused.value.errors
    assert error.key == "firewalls.fw-east.limits.calls_per_second"
    assert error.message == "the schedule comes to 0.7467, above this limit of 0.5"


def test_the_load_is_printed_for_each_firewall_and_psap() -> None:
    """``check-config`` prints what the example comes to."""
    lines = print_load(load(str(ROOT / "config/psapwatch.yml")))
    assert lines[0].endswith("psapwatch.yml: 6 psaps, 8 paths, 2 firewalls, 6 checks")
    assert lines[4] == "psap ma-boston: 0.2433 messages/s, 0.003333 calls/s (one call every 5m)"
    assert lines[6].endswith("(OPTIONS only: no consent to test calls)")
    assert lines[10].startswith("check test-call on psaps: the location is left out over UDP")
    assert lines[11].startswith("check large-call on reference: the location goes over UDP as well")
    assert len(lines) == 1 + 1 + 2 + 6 + 2


def test_what_is_too_long_for_a_datagram_is_said() -> None:
    """Over UDP a PSAP gets no location (RFC 3261 18.1.1), our own responder gets fragments."""
    written = plain()
    written["firewalls"]["fw-east"]["reference"] = "sip:ref.example.net;transport=udp"
    written["psaps"][0] |= {"location": {"lat": 42.3601, "lon": -71.0589}}
    written["psaps"][0]["paths"][0]["uri"] = "sip:psap1.example.gov;transport=udp"
    call = {"probe": "call", "every": "5m"}
    written["checks"] = {
        "small": call,
        "located": {**call, "location": True},
        "large": {**call, "location": True, "on": "reference"},
        "padded": {**call, "padding": True, "on": "reference"},
    }
    located, *large = print_load(load_plain(written))[-3:]
    assert located == (
        "check located on psaps: the location is left out over UDP, "
        "where RFC 3261 18.1.1 wants a stream (1 path)"
    )
    assert large == [
        f"check {name} on reference: the {content} goes over UDP as well, in fragments (1 path)"
        for name, content in (("large", "location"), ("padded", "padding"))
    ]
