"""``psapwatch respond``: what it refuses before it listens."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from psapwatch.cli.main import cli

USAGE = 2
"""What click calls it; ``main`` makes 64 of it."""


@pytest.mark.parametrize("rate", ["-1", "0", "nan", "inf", "1e3", "many"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    """A negative one or no number would answer nobody, or everybody."""
    done = CliRunner().invoke(
        cli, ["respond", "--listen", "127.0.0.1:0", f"--per-source={rate}", "--calls", "0"]
    )
    assert done.exit_code == USAGE
    assert "requests a second, more than 0" in done.output.replace("\n", " ")


@pytest.mark.parametrize("option", ["--cert", "--key", "--ca"])
def test_a_certificate_without_tls_is_refused(option: str, tmp_path: Path) -> None:
    """Whoever names one expects TLS; a responder in the clear would look as if it had it."""
    file = tmp_path / "some.pem"
    file.touch()
    done = CliRunner().invoke(cli, ["respond", "--listen", "127.0.0.1:0", option, str(file)])
    assert done.exit_code == USAGE
    assert "add --transport tls" in done.output.replace("\n", " ")
