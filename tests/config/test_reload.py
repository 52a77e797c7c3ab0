"""What a reload changes, keeps and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from config.configured import load_plain, plain
from psapwatch.config.errors import BadConfig
from psapwatch.config.reload import Changes, difference, replacement
from psapwatch.endpoint import Address


def changed(**sections: object) -> dict[str, Any]:
    """Return the small configuration with some sections replaced."""
    return plain() | sections


def another_psap(**keys: object) -> dict[str, object]:
    """Return the small configuration's PSAP with other keys."""
    return {**plain()["psaps"][0], **keys}


def test_the_same_file_changes_nothing() -> None:
    """Loading again what runs leaves every path and check as it is."""
    found = replacement(load_plain(plain()), load_plain(plain()))
    assert found.paths == Changes(unchanged=("ma-boston/fw-east",))
    assert found.checks == Changes(unchanged=("keepalive",))
    assert found.revoked == found.restart == ()


def test_paths_come_and_go_by_their_key() -> None:
    """A new PSAP is new, a missing one gone, and the rest keeps its state."""
    both = changed(psaps=[another_psap(), another_psap(id="ma-quincy")])
    found = difference(load_plain(plain()), load_plain(both))
    assert found.paths == Changes(new=("ma-quincy/fw-east",), unchanged=("ma-boston/fw-east",))
    assert found.revoked == ()
    back = difference(load_plain(both), load_plain(plain()))
    assert back.paths == Changes(gone=("ma-quincy/fw-east",), unchanged=("ma-boston/fw-east",))


def test_a_new_name_leaves_a_path_its_state() -> None:
    """What does not change a packet does not start a path anew."""
    renamed = changed(psaps=[another_psap(name="BPD", attributes={"county": "Suffolk"})])
    renamed["firewalls"]["fw-east"]["limits"] = {"calls_per_second": 1.0}
    found = difference(load_plain(plain()), load_plain(renamed))
    assert found.paths == Changes(unchanged=("ma-boston/fw-east",))


@pytest.mark.parametrize(
    "path",
    [
        {"uri": "sip:psap2.example.gov"},
        {"uri": "sip:psap1.example.gov;transport=tcp"},
        {"uri": "sip:psap1.example.gov:5070"},
    ],
)
def test_a_changed_uri_starts_the_path_anew_and_revokes_commissioning(path: dict[str, str]) -> None:
    """Whoever answers at another URI has not been called under supervision."""
    moved = changed(psaps=[another_psap(paths=[{"firewall": "fw-east", **path}])])
    found = difference(load_plain(plain()), load_plain(moved))
    assert found.paths == Changes(changed=("ma-boston/fw-east",))
    assert found.revoked == ("ma-boston/fw-east",)


def test_a_next_hop_revokes_commissioning() -> None:
    """Another first hop may lead elsewhere."""
    routed = plain()
    routed["firewalls"]["fw-east"]["next_hops"] = ["sip:bcf.example.net"]
    assert difference(load_plain(plain()), load_plain(routed)).revoked == ("ma-boston/fw-east",)


def test_another_source_starts_a_path_anew_without_revoking() -> None:
    """Packets from another address take another way; who answers is the same."""
    moved = plain()
    moved["firewalls"]["fw-east"]["sources"] = [{"address": "192.0.2.99"}]
    found = difference(load_plain(plain()), load_plain(moved))
    assert found.paths.changed == ("ma-boston/fw-east",)
    assert found.revoked == ()


def test_checks_change_with_their_settings() -> None:
    """A new interval or setting is a changed check; a new name a new one."""
    other = plain()
    other["checks"] = {
        "keepalive": {"probe": "options", "every": "30s"},
        "extra": {"probe": "options", "every": "1m", "flow": "kept"},
    }
    found = difference(load_plain(plain()), load_plain(other))
    assert found.checks == Changes(new=("extra",), changed=("keepalive",))


def test_keys_that_need_a_restart_are_refused_by_name() -> None:
    """The refusal names each such key with its line."""
    other = changed(
        vantage="boston-b",
        web={"listen": "127.0.0.1:9912"},
        store={"path": "other.db", "keep_days": 30},
    )
    other["dns"] = {"servers": ["192.0.2.53"]}
    with pytest.raises(BadConfig) as refused:
        replacement(load_plain(plain()), load_plain(other))
    lines = load_plain(other).lines
    assert [(error.line, error.key, error.message) for error in refused.value.errors] == sorted(
        (lines[key], key, "changing it needs a restart")
        for key in ("vantage", "web.listen", "store.path", "dns.servers")
    )


def test_an_address_from_the_command_line_outlasts_a_reload() -> None:
    """With --listen the file's address does not count, neither at the start nor later."""
    running = load_plain(plain()).listening_on("127.0.0.1:9999")
    assert running.web.listen == Address("127.0.0.1", 9999)
    assert replacement(running, load_plain(plain())).restart == ()


def test_what_may_change_while_running_is_taken() -> None:
    """Retention, detection and sinks need no restart."""
    other = changed(store={"keep_days": 30}, detection={"fall": 3})
    assert replacement(load_plain(plain()), load_plain(other)).restart == ()
