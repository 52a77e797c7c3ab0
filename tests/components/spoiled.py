"""Far ends whose every answer to OPTIONS is spoiled in one way, on plain sockets."""

from __future__ import annotations

import re
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

from components.ports import LOOPBACK

Spoil = Callable[[bytes], bytes]

_ECHOED: Final = re.compile(rb"(?m)^(?:Via|From|Call-ID|CSeq): .*\r\n")
_TO: Final = re.compile(rb"(?m)^To: (.*)\r\n")
_BODY: Final = b"v=0\r\ns=this body is longer than what is cut off its length\r\n"
_POLL_S: Final = 0.05


@contextmanager
def spoiled_answers(ways: Mapping[str, Spoil]) -> Iterator[dict[str, str]]:
    """Answer OPTIONS over UDP, one socket a way to spoil; yields the URI of each."""
    with ExitStack() as stack:
        chooser = stack.enter_context(selectors.DefaultSelector())
        uris = {}
        for name, spoil in ways.items():
            one = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            one.bind((LOOPBACK, 0))
            chooser.register(one, selectors.EVENT_READ, spoil)
            uris[name] = f"sip:psap@{LOOPBACK}:{one.getsockname()[1]};transport=udp"
        ended = threading.Event()
        thread = threading.Thread(target=_answer, args=(chooser, ended))
        thread.start()
        try:
            yield uris
        finally:
            ended.set()
            thread.join()


def _answer(chooser: selectors.BaseSelector, ended: threading.Event) -> None:
    while not ended.is_set():
        for key, _events in chooser.select(_POLL_S):
            assert isinstance(key.fileobj, socket.socket)
            request, source = key.fileobj.recvfrom(65_535)
            key.fileobj.sendto(key.data(_good(request)), source)


def _good(request: bytes) -> bytes:
    """Return a 200 that nothing is wrong with."""
    to = _TO.search(request)
    assert to is not None, request
    return (
        b"SIP/2.0 200 OK\r\n"
        + b"".join(_ECHOED.findall(request))
        + b"To: %s;tag=far\r\nServer: spoiled\r\nContent-Type: application/sdp\r\n" % to[1]
        + b"Content-Length: %d\r\n\r\n" % len(_BODY)
        + _BODY
    )
