"""The configuration reference is what the models say."""

from __future__ import annotations

from config.configured import ROOT
from psapwatch.config.fields import alternatives
from psapwatch.config.models import FileModel
from psapwatch.config.reference import reference, rows_of
from psapwatch.probes import AnyProbe
from psapwatch.sinks import AnySink


def test_the_committed_reference_is_the_printed_one() -> None:
    """``python -m psapwatch.config.reference > docs/configuration.md`` changes nothing."""
    committed = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert committed == reference()


def test_every_key_has_a_meaning() -> None:
    """No key of the file, of a probe or of a sink is without a description."""
    models = [FileModel, *alternatives(AnyProbe), *alternatives(AnySink)]
    silent = [key for model in models for key, _, _, meaning in rows_of(model) if not meaning]
    assert not silent


def test_every_key_is_in_the_reference() -> None:
    """Keys at every depth are found, those of entries and of named things too."""
    keys = {key for key, *_ in rows_of(FileModel)}
    assert {
        "identity.reporter.email",
        "firewalls.NAME.sources[].sip_ports",
        "firewalls.NAME.control.source.address",
        "psaps[].paths[].auth.password_file",
        "maintenance[].from",
    } <= keys
