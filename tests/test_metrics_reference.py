"""The metrics reference is what the table of metrics says."""

from __future__ import annotations

import re

from psapwatch import metrics_names as names
from psapwatch.metrics_reference import PROBE, reference
from psapwatch.verdict import PASSED
from psapwatch.web.probe import probe_pieces
from samples import FAILED, attempt
from source_tree import ROOT


def test_the_committed_reference_is_the_printed_one() -> None:
    """``python -m psapwatch.metrics_reference > docs/metrics.md`` changes nothing."""
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == reference()


def test_every_metric_is_in_the_reference_once() -> None:
    """No metric is left out, and each has a sentence."""
    listed = re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", reference(), re.MULTILINE)
    assert listed == [row.name for row in (*names.CONTRACT, *PROBE)]
    assert all(row.about.endswith(".") for row in (*names.CONTRACT, *PROBE))


def test_the_probe_s_metrics_are_those_that_it_answers() -> None:
    """What ``/probe`` exposes for a pass and for a failure is in the table."""
    exposed = "".join(
        piece
        for verdict in (PASSED, FAILED)
        for piece in probe_pieces(attempt(), verdict, openmetrics=False)
    )
    shown = set(re.findall(r"^# TYPE (\w+)", exposed, re.MULTILINE))
    assert shown <= {row.name for row in PROBE}
    assert {row.name for row in PROBE} - shown <= {"probe_ssl_earliest_cert_expiry"}
