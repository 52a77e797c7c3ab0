"""Short configurations for tests: a good one, and ways to change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from psapwatch.config.load import load_octets
from psapwatch.config.shape import Config

ROOT = Path(__file__).parents[2]


def plain() -> dict[str, Any]:
    """Return a small configuration that is good, as plain data."""
    return {
        "vantage": "boston-a",
        "identity": {"from": "sip:911-path-test@example.net"},
        "firewalls": {"fw-east": {"sources": [{"address": "192.0.2.10"}]}},
        "checks": {"keepalive": {"probe": "options", "every": "15s"}},
        "psaps": [
            {
                "id": "ma-boston",
                "name": "Boston Police Department",
                "paths": [{"firewall": "fw-east", "uri": "sip:psap1.example.gov"}],
                "test_calls": {"consent": "MoU 2026-014"},
            }
        ],
    }


def load_plain(written: dict[str, Any], file: str = "test.yml") -> Config:
    """Load plain data by way of YAML text."""
    return load_octets(yaml.safe_dump(written, sort_keys=False).encode(), file)
