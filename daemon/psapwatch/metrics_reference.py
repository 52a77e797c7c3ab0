"""The metrics reference, printed from the table of metrics: docs/metrics.md (layer L4).

``python -m psapwatch.metrics_reference > docs/metrics.md`` writes it anew; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from psapwatch import metrics_names as names
from psapwatch.metrics_paths import PATHS_IN_FULL_MAX, STALE_INTERVALS
from psapwatch.verdict import Cause, Outcome
from psapwatch.web import probe

_HEAD: Final = f"""\
# Metrics reference

Printed from the code by `python -m psapwatch.metrics_reference`.

`/metrics` speaks the text format 0.0.4 and OpenMetrics, the latter with exemplars: a bucket of
`{names.RESPONSE_DURATION.name}` names a call by the local part of its `call_id`. Base units,
classic histograms, no `_created` series. Every series that is known beforehand is at 0 from the
start. Label values come from the configuration or from a closed set, never from the far end.

*path* stands for the labels {", ".join(f"`{label}`" for label in names.PATH)}. On a check of the
reference or the control, `psap` is `reference` or `control`. Where calls get through is
`psapwatch_path_up` and `psapwatch_incident_open`; `deploy/prometheus` has the rules that stand on
them, and `docs/runbooks` a page for each alert.
"""

_TABLE: Final = "| name | type | labels | meaning |\n|---|---|---|---|\n"

_CLOSED: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    ("outcome", tuple(Outcome), ""),
    ("state", names.STATES, ""),
    ("cause", tuple(Cause), ""),
    ("phase", names.PHASES, ""),
    ("direction", names.DIRECTIONS, ""),
    ("result", ("delivered", "lost"), " of media"),
    ("result", names.RESULTS, " of notices"),
    ("how", names.ENDINGS, ""),
    ("reason", names.STOP_REASONS, ""),
    ("test", names.SELF_TESTS, ""),
    ("alert", tuple(alert for alert, _scopes, _causes in names.ALERTS), ""),
    ("severity", ("page", "ticket"), ""),
)

_CODE: Final = f"""\
`code` is any of 100 to 699, or `other`; {", ".join(names.COMMON_CODES)} start at zero. `scope` is
{", ".join(f"`{scope}`" for scope in names.DOMAIN_SCOPES)}, `path` or an attribute's name.
"""

_NOTES: Final = f"""\
## Notes

- A timeout never enters a latency histogram. Above {PATHS_IN_FULL_MAX:,} paths
  `{names.RESPONSE_DURATION.name}` has only the labels
  {", ".join(f"`{label}`" for label in names.RESPONSE_DURATION_POOLED.labels)}.
- `{names.PATH_UP.name}` is absent until the first verdict, and again when the last one is older
  than {STALE_INTERVALS} intervals of its check. One leg that answers makes it 1; an inconclusive
  attempt leaves it as it is.
- `{names.CAUSES.name}` counts what an attempt's own evidence shows; an incident's cause
  (`{names.INCIDENT_CAUSE.name}`) rests on all of them and can be refined while it is open.
- `{names.CERTIFICATE_EXPIRY.name}` and `{names.CALLS_STOPPED.name}` appear with the first
  certificate seen and the first stop.
- `process_*` are the usual metrics of the process, as far as the system tells them.
"""


def reference() -> str:
    """Return the whole page."""
    return "\n".join(
        (
            _HEAD,
            _TABLE + "".join(_rows()),
            _histograms(),
            "## Closed sets of label values\n\n" + "".join(_sets()) + "\n" + _CODE,
            _NOTES,
            "## `/probe`\n\nOne attempt, under the names of the blackbox exporter where it has one."
            "\n\n" + _TABLE + "".join(map(_row, PROBE)),
        )
    )


PROBE: Final = (
    *(probe.SUCCESS, probe.DURATION, probe.DNS, probe.PROTOCOL, probe.CERTIFICATE),
    *(probe.STATUS_CODE, probe.PHASE, probe.RETRANSMITS, probe.FAILURE),
)
"""What ``/probe`` answers, in the order in which it does."""


def _rows() -> Iterator[str]:
    return map(_row, names.CONTRACT)


def _row(row: names.Row) -> str:
    rest = row.labels
    labels = []
    if rest[: len(names.PATH)] == names.PATH:
        labels, rest = ["*path*"], rest[len(names.PATH) :]
    labels += [f"`{label}`" for label in rest]
    return f"| `{row.name}` | {row.kind} | {', '.join(labels) or '–'} | {row.about} |\n"  # noqa: RUF001 - no labels


def _histograms() -> str:
    lines = [
        f"| `{row.name}` | {', '.join(f'{bound:g}' for bound in row.bounds)} |\n"
        for row in names.CONTRACT
        if row.bounds
    ]
    return "## Buckets\n\nUpper bounds in seconds.\n\n| histogram | `le` |\n|---|---|\n" + "".join(
        lines
    )


def _sets() -> Iterator[str]:
    yield "| label | values |\n|---|---|\n"
    for label, values, of_what in _CLOSED:
        yield f"| `{label}`{of_what} | {', '.join(f'`{value}`' for value in values)} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
