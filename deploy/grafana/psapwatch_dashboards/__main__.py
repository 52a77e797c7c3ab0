"""Write the dashboards: ``python -m psapwatch_dashboards`` with deploy/grafana on PYTHONPATH."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from psapwatch_dashboards.firewall import firewall
from psapwatch_dashboards.prober import prober
from psapwatch_dashboards.psap import psap
from psapwatch_dashboards.state import state

DASHBOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "state": state,
    "psap": psap,
    "firewall": firewall,
    "prober": prober,
}
FOLDER: Final = Path(__file__).parents[1] / "dashboards"


def text_of(name: str) -> str:
    """Return a dashboard as the file that Grafana reads."""
    return JSONEncoder(sort_keys=True, indent=2).encode(DASHBOARDS[name]()) + "\n"


def main() -> None:
    """Write them all."""
    for name in DASHBOARDS:
        file = FOLDER / f"psapwatch-{name}.json"
        file.write_text(text_of(name), encoding="utf-8")
        sys.stdout.write(f"{file.name}\n")


if __name__ == "__main__":
    main()
