"""The mirrors of an answering point: one for each answered call, on a port pair of its own (L1).

Opening ports is the shell's, through a ``Door``; which packet goes back is ``rtp.mirror``'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Final, Protocol
from zlib import crc32

from psapwatch.endpoint import Address
from psapwatch.rtp.mirror import Manner, Mirror, Packet
from psapwatch.sip.answering_message import Answerer
from psapwatch.sip.answering_script import Step
from psapwatch.sip.media_call import loop_of
from psapwatch.sip.offer import key_offered, read_answer
from psapwatch.sip.sdes import KEY_OCTETS, SECURED, Cipher, MakeCipher

Key = tuple[str, str]
"""Call-ID and our tag: one dialog."""

PORT_MIN: Final = 1_024
"""RTCP is not sent below: an offer of the discard port wants none."""

KEY_TOKENS: Final = 8
"""Random texts that a key is made of: of 64 bits each, more than the key holds."""

_BUSY: Final = Step(486)
_UNSECURED: Final = Step(488, headers=(("Warning", '305 psap "RTP/SAVP is required here"'),))
_UNUSABLE: Final = Step(488, headers=(("Warning", '305 psap "RTP/SAVP cannot be answered here"'),))

_CONNECTION: Final = re.compile(rb"(?m)^c=IN IP[46] ([0-9a-fA-F:.]+)")
_AUDIO_PORT: Final = re.compile(rb"(?m)^m=audio (\d{1,5}) ")
_CONTENT_TYPE: Final = re.compile(rb"(?im)^(?:content-type|c)[ \t]*:[ \t]*([^\r\n]*)")


class Door(Protocol):
    """Where mirrors get their port pairs."""

    @property
    def is_full(self) -> bool:
        """Whether no further call can be mirrored now."""
        ...

    def open(self) -> Address | None:
        """Open an even port for RTP and the one above it for RTCP; None when there is none."""
        ...

    def close(self, local: Address) -> None:
        """Close a pair, soon: packets on their way must not meet an ICMP error."""
        ...


class Mirrors:
    """Opens, feeds and ends mirrors; ``token`` gives random text. No door, no mirrors."""

    def __init__(self, token: Callable[[], str]) -> None:
        self.door: Door | None = None
        self.secure: MakeCipher | None = None
        self._token = token
        self._mirrors: dict[Address, tuple[Key, Mirror]] = {}
        self._ciphers: dict[Address, Cipher] = {}
        self._places: dict[Key, Address] = {}
        self._out: list[tuple[Address, Packet]] = []

    def refusal(self, offer: bytes, *, secured_only: bool) -> Step | None:
        """What is answered to an offer that cannot be mirrored now, or as it is secured."""
        if self.door is not None and self.door.is_full:
            return _BUSY
        profile, key = key_offered(offer)
        if profile == SECURED:
            return None if key and self.secure else _UNUSABLE
        return _UNSECURED if secured_only and profile else None

    def open(self, answerer: Answerer, offer: bytes) -> Answerer | None:
        """Open a port pair for a call that is about to be answered, with a key where one is due."""
        media = self.door.open() if self.door is not None else None
        if media is None:
            return None
        key = b""
        if key_offered(offer)[0] == SECURED:
            chance = "".join(self._token() for _nth in range(KEY_TOKENS))
            key = blake2b(chance.encode(), digest_size=KEY_OCTETS).digest()
        return replace(answerer, media=media, key=key)

    def begin(
        self, key: Key, local: Address, answer: bytes, offer: bytes, source: Address, manner: Manner
    ) -> None:
        """Mirror a call as our ``answer`` to its ``offer`` says; not at all if it says nothing."""
        head, _blank, body = answer.partition(b"\r\n\r\n")
        kind = _CONTENT_TYPE.search(head)
        profile, their_key = key_offered(offer)
        said = read_answer(body, kind[1].decode("latin-1") if kind else "", profile=profile)
        if said.what != "mirror" or key in self._places:
            self._close(local)
            return
        loop = loop_of(said)
        host, port = _offered(offer, source)
        is_theirs = host == source.host and port >= PORT_MIN
        mirror = Mirror(
            loop.mode,
            loop.echo_type,
            manner,
            hosts=frozenset({source.host, host}),
            control=Address(host, port + 1) if is_theirs else None,
            ssrc=crc32(self._token().encode()),
        )
        self._mirrors[local], self._places[key] = (key, mirror), local
        if profile == SECURED and self.secure is not None:
            self._ciphers[local] = self.secure(said.key, their_key)

    def receive(
        self, local: Address, octets: bytes, source: Address, now: float, arrived_at: float
    ) -> Key | None:
        """Take a datagram at a mirror's port; returns its dialog once the mirror is done."""
        key, mirror = self._mirrors.get(local, (None, None))
        if mirror is None:
            return None
        cipher = self._ciphers.get(local)
        opened = octets if cipher is None else cipher.open(octets)
        if opened is not None:
            self._put(local, mirror.receive(opened, source, now, arrived_at))
        return key if mirror.is_done else None

    def silent_since(self, key: Key) -> float | None:
        """When a dialog's mirror heard something last; never, where there is none to wait for."""
        local = self._places.get(key)
        if local is None:
            return None
        mirror = self._mirrors[local][1]
        return None if mirror.is_done else mirror.heard_at

    def is_done(self, key: Key) -> bool:
        """Whether a dialog's mirror has echoed all that it may."""
        local = self._places.get(key)
        return local is not None and self._mirrors[local][1].is_done

    def counts(self, key: Key) -> tuple[int, int] | None:
        """Packets that a dialog's mirror has sent and received."""
        local = self._places.get(key)
        if local is None:
            return None
        mirror = self._mirrors[local][1]
        return mirror.echoed, mirror.heard

    def end(self, key: Key) -> None:
        """Report what was heard, and close."""
        local = self._places.pop(key, None)
        if local is None:
            return
        _key, mirror = self._mirrors.pop(local)
        self._put(local, mirror.report())
        self._ciphers.pop(local, None)
        self._close(local)

    def data_to_send(self) -> list[tuple[Address, Packet]]:
        """Packets, each with the RTP address of the pair that it leaves from."""
        out, self._out = self._out, []
        return out

    def _put(self, local: Address, packets: Iterable[Packet]) -> None:
        cipher = self._ciphers.get(local)
        for packet in packets:
            octets = packet.octets if cipher is None else cipher.seal(packet.octets)
            self._out.append((local, packet._replace(octets=octets)))

    def _close(self, local: Address) -> None:
        if self.door is not None:
            self.door.close(local)


def _offered(offer: bytes, source: Address) -> tuple[str, int]:
    """Host and port that an offer names for audio; the caller's own where it names none."""
    host, port = _CONNECTION.search(offer), _AUDIO_PORT.search(offer)
    return host[1].decode() if host else source.host, int(port[1]) if port else 0
