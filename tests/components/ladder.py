"""What happened on one hop, call by call: the messages of a capture in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from components.by_hand import TEST_URN
from components.capture import Seen
from components.peer import Peer

ANSWERED: Final = ("INVITE", "200 INVITE", "ACK", "BYE", "200 BYE")
"""A test call as it should go: answered, acknowledged, ended; nothing sent twice."""
ASKED: Final = ("OPTIONS", "200 OPTIONS")
TRYING: Final = "100 INVITE"


def ladders(seen: Iterable[Seen], peer: Peer) -> list[list[Seen]]:
    """Return the messages to and from ``peer``, one list a Call-ID, oldest first."""
    found: dict[str, list[Seen]] = {}
    for message in seen:
        if peer.authority in (message.source, message.destination):
            found.setdefault(message.call_id, []).append(message)
    return list(found.values())


def steps(ladder: Sequence[Seen]) -> tuple[str, ...]:
    """Return a ladder in words, such as ``ANSWERED``; a 100 is of its hop only and left out."""
    words = (
        message.method or f"{message.status} {message.cseq_method}"
        for message in ladder
        if message.method or message.status != 100
    )
    return tuple(words)


def is_ended(said: Sequence[str]) -> bool:
    """Whether a call's steps leave nothing open, also where a CANCEL crossed the answer.

    Every final was acknowledged, an answered call was hung up on, and CANCEL and BYE were answered.
    """
    ended = ("BYE", "200 BYE") if "200 INVITE" in said else ()
    cancelled = said.count("CANCEL") == sum(word.endswith(" CANCEL") for word in said)
    return cancelled and all(word in said for word in ("ACK", *ended))


def all_well_formed(seen: Sequence[Seen]) -> bool:
    """Whether tshark could decode every message, and there were any."""
    return bool(seen) and not any(message.is_malformed for message in seen)


def called_uris(seen: Iterable[Seen]) -> set[str]:
    """Return the Request-URIs of every INVITE that left."""
    return {message.uri for message in seen if message.method == "INVITE"}


ONLY_THE_TEST_URN: Final = {TEST_URN}
