"""What can still be read of a response to our INVITE that broke the rules (layer L1).

It never counts as a response. But a 2xx, however written, means that somebody has answered, and a
1xx that something rings: both must be ended, so the little that this takes is read leniently.
"""

from __future__ import annotations

import re
from typing import Final

from psapwatch.sip.wire import Malformed, Request, Response

_HEAD_OCTETS_MAX: Final = 16_384
_BLANK: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_HEADER: Final = re.compile(
    rb"^(contact|m|record-route|content-type|c)[ \t]*:[ \t]*([^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_TO_TAG: Final = re.compile(
    rb"^(?:to|t)[ \t]*:[^\r\n]*;[ \t]*tag[ \t]*=[ \t]*([!%'*+\-.0-9A-Z_`a-z~]{1,200})",
    re.IGNORECASE | re.MULTILINE,
)
_LONG: Final = {"m": "Contact", "c": "Content-Type"}


def salvage(octets: bytes, invite: Request) -> Response | None:
    """The response in octets that could not be parsed, reduced to what ending a call needs.

    None where they are no response to this INVITE. A CSeq that cannot be read counts as INVITE's:
    to end what was not answered is harmless.
    """
    bad = Malformed("", octets)
    if bad.branch != invite.vias[0].branch or bad.cseq_method not in ("INVITE", ""):
        return None
    if not bad.code:
        return None
    head, *rest = _BLANK.split(octets[:_HEAD_OCTETS_MAX], maxsplit=1)
    head = _FOLD.sub(b" ", head)
    tag = _TO_TAG.search(head)
    to = f"{invite.header('To')}{f';tag={tag[1].decode()}' if tag else ''}"
    found = tuple(
        (_LONG.get(name.decode().lower(), name.decode()), value.decode(errors="replace").strip())
        for name, value in _HEADER.findall(head)
    )
    body = rest[0] if rest else b""
    return Response(bad.code, "", (("To", to), *found), body)
