"""Fuzz the SIP codec: whatever comes in, ``Malformed`` is the only exception that comes out.

``python tests/fuzz_wire.py --examples 20000 --seed 1`` is the long run, ``test_wire_fuzz.py`` is
the short one. Every input is read whole as a datagram, whole from a stream, and fed to a
``StreamFramer`` byte by byte and in pieces, which must find the same messages.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from psapwatch.sip.uri import BadUri, parse_name_addr, parse_uri, parse_via
from psapwatch.sip.wire import (
    Malformed,
    Message,
    Request,
    StreamFramer,
    call_id_of,
    parse,
    serialize,
)

SEEDS: Final = tuple(
    path.read_bytes()
    for path in sorted((Path(__file__).parent / "golden" / "torture").glob("*.dat"))
)

PIECES: Final = (
    b"SIP/2.0 200 OK\r\n",
    b"SIP/2.0 100 ",
    b"SIP/2.0 2_00 \r\n",
    b"sip/2.0 699 x\r\n",
    b"OPTIONS sip:a@b SIP/2.0\r\n",
    b"INVITE urn:service:test.sos SIP/2.0\r\n",
    b"Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n",
    b"v:SIP/2.0/TCP [2001:db8::1]:5060;received=::1;rport\r\n",
    b"Via: SIP / 2.0 / TLS h : 99999 ; branch = x , SIP/2.0/UDP g\r\n",
    b'From: "a\\"b" <sip:u;p=1:w@h:5060;x=y?h=v>;tag=1\r\n',
    b"f: sip:u@h;tag=1\r\n",
    b"To: <urn:service:test.sos>;tag=2\r\n",
    b"t: tel:+1-911;x\r\n",
    b"Call-ID: 1@h\r\n",
    b"i:\r\n 2\r\n",
    b"CSeq: 1 OPTIONS\r\n",
    b"CSeq: 4294967296 INVITE\r\n",
    b"CSeq: 0001\t INVITE\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"l: -1\r\n",
    b"l: 1_0\r\n",
    b"l :\r\n 00000000000000000003\r\n",
    b'Contact: *, <sip:a>, "x, y" <sip:b>;q=0.1,,\r\n',
    b"Record-Route: <sip:p;lr>,<sip:q>\r\n",
    b"X: \xff\xfe\x00\x85\xe2\x80\xa8\r\n",
    b"Via: " + b"," * 300 + b"\r\n",
    b"a" * 300 + b":\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b":",
    b";",
    b",",
    b'"',
    b"\\",
    b"<",
    b">",
    b"[::",
    b"%",
    b"hello",
)


@st.composite
def _edited(draw: st.DrawFn) -> bytes:
    """A message of RFC 4475 with up to four places cut, replaced or added to."""
    octets = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(octets)))
        cut = draw(st.integers(0, 12))
        octets = (
            octets[:at] + draw(st.sampled_from(PIECES) | st.binary(max_size=4)) + octets[at + cut :]
        )
    return octets


OCTETS: Final = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join),
    _edited(),
    st.tuples(_edited(), _edited()).map(b"".join),
)


def check_octets(octets: bytes) -> None:
    """Everything the codec offers, on one input."""
    _check_message(octets, stream=False)
    _check_message(octets, stream=True)
    call_id_of(octets)
    framed = [_framed(octets, size) for size in (len(octets) or 1, 1, 7)]
    assert framed[0] == framed[1] == framed[2]
    for message in framed[0]:
        _check_message(message, stream=True)
    text = octets.decode("latin-1")
    for read in (parse_uri, parse_name_addr, parse_via):
        _check_text(read, text)


def _check_message(octets: bytes, *, stream: bool) -> None:
    message = _parsed(octets, stream=stream)
    if isinstance(message, Malformed):
        assert message.why
        assert message.code == 0 or 100 <= message.code <= 699
        return
    assert message.call_id
    assert message.vias
    assert message.cseq[1]
    assert message.header("from")
    assert message.header("to")
    if isinstance(message, Request):
        assert str(parse_uri(message.uri)) == message.uri
    try:
        written = serialize(message)
    except ValueError:
        assert b"\x00" in octets
        return
    again = parse(written)
    for name in ("call_id", "cseq", "vias", "from_tag", "to_tag", "body"):
        assert getattr(again, name) == getattr(message, name), name


def _parsed(octets: bytes, *, stream: bool) -> Message | Malformed:
    try:
        return parse(octets, stream=stream)
    except Malformed as error:
        return error


def _framed(octets: bytes, size: int) -> list[bytes]:
    """Return the messages that a stream in pieces of ``size`` brings until framing is lost."""
    framer = StreamFramer()
    found: list[bytes] = []
    for start in range(0, len(octets), size):
        try:
            framer.feed(octets[start : start + size])
            while (message := framer.next()) is not None:
                found.append(message)
        except Malformed:
            break
    return found


def _check_text(read: Callable[[str], object], text: str) -> None:
    try:
        value = read(text)
    except BadUri:
        return
    assert str(value) == text.strip()


def run(examples: int, seed: int) -> None:
    """Check that many inputs; the first that fails is shrunk and raised."""
    target = given(OCTETS)(check_octets)
    target = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(target)
    hypothesis.seed(seed)(target)()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--examples", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    run(chosen.examples, chosen.seed)
    print(f"{chosen.examples} inputs from seed {chosen.seed}: only Malformed")  # noqa: T201 - a program
