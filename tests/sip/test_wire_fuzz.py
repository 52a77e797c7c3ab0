"""The short form of ``tests/fuzz_wire.py``."""

from __future__ import annotations

import os

import pytest

from fuzz_wire import run


@pytest.mark.fuzz
def test_malformed_is_the_only_exception_of_the_codec() -> None:
    """Random, made-up and edited octets, whole and byte by byte, raise Malformed or nothing."""
    run(int(os.environ.get("PSAPWATCH_FUZZ_EXAMPLES", "400")), seed=4475)
