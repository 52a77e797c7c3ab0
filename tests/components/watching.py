"""What the daemon under test is to watch, as often as a short test needs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from components.daemon import Daemon

FIREWALL: Final = "fw-east"
OPTIONS: Final = {"probe": "options", "every": "1s", "give_up_after": "900ms"}
CALL: Final = {"probe": "call", "every": "1s", "give_up_after": "900ms"}
CONSENT: Final = {
    "consent": "lab",
    "every": "1s",
    "short_interval_agreed": True,
    "commissioned": True,
}
ROOMY: Final = {"messages_per_second": 10_000, "calls_per_second": 1_000, "concurrent_calls": 1_000}


def watching(
    paths: Mapping[str, str | Mapping[str, Any]],
    *,
    options: Mapping[str, Any] | None = OPTIONS,
    call: Mapping[str, Any] | None = CALL,
    consent: Mapping[str, Any] | None = CONSENT,
    firewall: Mapping[str, Any] | None = None,
    source: str = "127.0.0.1",
    **sections: Any,
) -> str:
    """Return a configuration that watches each of ``paths``: a PSAP's id, and its URI.

    A mapping in place of the URI is the whole path but its firewall. ``options`` and ``call`` are
    the two checks, ``None`` to leave one out; ``sections`` are further sections of the file.
    """
    checks = {"keepalive": options, "test-call": call}
    settings: dict[str, Any] = {
        "vantage": "bench",
        "identity": {"from": "sip:911-path-test@example.net"},
        "store": {"path": "FOLDER/psapwatch.db"},
        "firewalls": {
            FIREWALL: {"sources": [{"address": source}], "limits": ROOMY, **(firewall or {})}
        },
        "checks": {name: dict(check) for name, check in checks.items() if check},
        "psaps": [_psap(name, path, consent if call else None) for name, path in paths.items()],
        **sections,
    }
    return written(settings)


def written(settings: Mapping[str, Any]) -> str:
    """Return a configuration as the text of its file."""
    return yaml.dump(dict(settings), Dumper=_InFull, sort_keys=False)


def outcomes(daemon: Daemon, labels: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return how many attempts had which outcome, from one scrape; those that never came left out.

    Two scrapes must not be compared with each other: attempts go on between them.
    """
    found: dict[str, int] = {}
    for name, count in daemon.samples("psapwatch_attempts_total", labels).items():
        outcome = dict(label.split("=", 1) for label in name.split(","))["outcome"]
        if count:
            found[outcome] = found.get(outcome, 0) + int(count)
    return found


class _InFull(yaml.SafeDumper):
    """Writes what is used twice twice: the configuration knows no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as PyYAML calls it
        return True


def _psap(
    name: str, path: str | Mapping[str, Any], consent: Mapping[str, Any] | None
) -> dict[str, Any]:
    road = {"uri": path} if isinstance(path, str) else dict(path)
    psap: dict[str, Any] = {
        "id": name,
        "name": f"Answering point {name}",
        "paths": [{"firewall": FIREWALL, **road}],
    }
    return psap | ({"test_calls": dict(consent)} if consent else {})
