"""Certificates are made once for all network tests: key generation is the slow part."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from net.far_end import Authority, Pair


@dataclass(frozen=True)
class Certificates:
    """Two authorities, and a server certificate of the first for ``psap.example``."""

    ours: Authority
    other: Authority
    server: Pair


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make the authorities."""
    folder = tmp_path_factory.mktemp("certificates")
    ours = Authority(folder, "ours")
    sans = ("uri:sip:psap.example", "dns:host.psap.example")
    return Certificates(ours, Authority(folder, "other"), ours.issue("server", *sans))
