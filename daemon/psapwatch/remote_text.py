"""Text from the far end, made safe to show (layer L1, pure).

Reason phrases, Server headers, bodies and certificate names are whatever a stranger wrote: line
breaks would forge log lines, escape sequences would drive a terminal, and direction overrides
would turn a sentence round on the status page.
"""

from __future__ import annotations

from typing import Final

TEXT_CHARACTERS_MAX: Final = 200


def printable(text: str, most: int = TEXT_CHARACTERS_MAX) -> str:
    r"""Return ``text`` with every invisible character escaped (``\x1b``), ``most`` long at most."""
    cut = text[: most + 1]
    if not cut.isprintable():
        cut = "".join(map(_visible, cut))
    return cut if len(cut) <= most else f"{cut[: most - 1]}…"


def printable_octets(octets: bytes, most: int = TEXT_CHARACTERS_MAX) -> str:
    """Return octets as safe text; what is not UTF-8 shows as an escape."""
    return printable(octets[: 4 * most + 4].decode("utf-8", "backslashreplace"), most)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
