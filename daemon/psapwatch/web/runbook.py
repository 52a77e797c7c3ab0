"""The runbooks as the page shows them: at hand where an incident is, also without a wiki (L4)."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Final

from markupsafe import Markup, escape

_IN_A_WORKING_COPY: Final = Path(__file__).parents[3] / "docs" / "runbooks"
_WRAPPED: Final = re.compile(r"(?<=[^\n])\n *(?=[A-Za-z(\"*])")
"""The break of a line within a paragraph or an item of a list."""
_LINK: Final = re.compile(r"\[([^\]]+)\]\((\w+)\.md\)")


def runbooks() -> dict[str, Markup]:
    """Return every runbook by its name, ready to be shown; the package has them once installed."""
    shipped = files("psapwatch") / "runbooks"
    folder = shipped if shipped.is_dir() else _IN_A_WORKING_COPY
    return {
        page.name.removesuffix(".md"): _shown(page.read_text(encoding="utf-8"))
        for page in folder.iterdir()
        if page.name.endswith(".md")
    }


def _shown(text: str) -> Markup:
    """Escape Markdown of ours, unwrap its paragraphs and make its links to other runbooks real."""
    plain = str(escape(_WRAPPED.sub(" ", text.partition("\n")[2].strip())))
    return Markup(_LINK.sub(r'<a href="/runbooks/\2">\1</a>', plain))  # noqa: S704 - escaped above
