"""Where a file that the configuration names is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from psapwatch.config import files
from psapwatch.config.models import AuthModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration's folder with a secret, and credentials as systemd gives them."""
    for name, text in (("secrets/east", "from the file"), ("given/secrets_east", "from systemd")):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(f"{text}\n", encoding="utf-8")
    return tmp_path


def password(folder: Path, name: str = "secrets/east") -> str:
    """Return the password that a configuration in ``folder`` means."""
    auth = AuthModel(username="u", password_file=name)
    return files.credentials(str(folder / "psapwatch.yml"), auth).password


def test_a_secret_is_read_beside_the_configuration(folder: Path) -> None:
    """Without systemd the file is where it says: commands of root, containers."""
    assert password(folder) == "from the file"


def test_what_systemd_gives_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service may not read the folder of secrets; it reads the copy that it is given."""
    monkeypatch.setenv(files.CREDENTIALS, str(folder / "given"))
    assert password(folder) == "from systemd"


def test_what_systemd_does_not_give_is_looked_for_as_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credentials folder without this one, or none at all, changes nothing."""
    for where in (folder / "secrets", folder / "nowhere"):
        monkeypatch.setenv(files.CREDENTIALS, str(where))
        assert password(folder) == "from the file"
    monkeypatch.setenv(files.CREDENTIALS, str(folder / "given"))
    assert files.beside(str(folder / "psapwatch.yml"), "psaps.yml") == str(folder / "psaps.yml")
