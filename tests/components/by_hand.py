"""A call or OPTIONS by hand, on a plain socket: what proves the bench without the daemon.

Run as a program (``by_hand.py '{JSON}'``) it works in any network namespace; see ``ask``.
It knows just enough SIP to end what it began, and nothing of the package under test.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

TEST_URN: Final = "urn:service:test.sos"
IP_RECVERR: Final = 11  # named neither in Python 3.11 nor portable
ORIGIN_ICMP: Final = 2
ANSWER_WITHIN_S: Final = 2.0
SILENCE_ENDS_S: Final = 0.8  # longer than an answering point takes to send BYE

OFFER: Final = """v=0\r
o=- 1 1 IN IP4 {host}\r
s=-\r
c=IN IP4 {host}\r
t=0 0\r
m=audio {port} RTP/AVP 0 8 112 113\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:112 encaprtp/8000\r
a=rtpmap:113 rtploopback/8000\r
a=loopback:rtp-pkt-loopback rtp-media-loopback\r
a=loopback-source\r
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask whom; ``bye`` hangs up after the answer instead of waiting for the far side."""

    host: str
    port: int
    transport: str = "udp"
    method: str = "OPTIONS"
    uri: str = ""
    bye: bool = False
    local_host: str = ""
    username: str = ""
    password: str = ""
    tls: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Heard:
    """All messages that came, and the error that ended it, if one did."""

    messages: list[str] = field(default_factory=list)
    error: str = ""
    icmp: tuple[int, int, str] | None = None
    """Type, code and the address of the sender."""

    @property
    def starts(self) -> list[str]:
        """``200 INVITE``, ``BYE``: the start of each message in a word or two."""
        return [_start(message) for message in self.messages]


def ask(question: Question, prefix: tuple[str, ...] = ()) -> Heard:
    """Ask in a process of its own, behind ``prefix`` (a namespace)."""
    argv = [*prefix, sys.executable, __file__, json.dumps(asdict(question))]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    heard = Heard(**json.loads(done.stdout))
    if heard.icmp is not None:
        icmp_type, code, sender = heard.icmp  # JSON knows no tuples
        heard.icmp = (icmp_type, code, sender)
    return heard


class _Wire:
    """One socket, messages in and out."""

    def __init__(self, question: Question) -> None:
        family = socket.AF_INET6 if ":" in question.host else socket.AF_INET
        self.is_datagram = question.transport == "udp"
        kind = socket.SOCK_DGRAM if self.is_datagram else socket.SOCK_STREAM
        self._peer = (question.host, question.port)
        self._socket = socket.socket(family, kind)
        self._socket.settimeout(ANSWER_WITHIN_S)
        self._socket.bind((question.local_host, 0))
        if self.is_datagram and family == socket.AF_INET:
            self._socket.setsockopt(socket.SOL_IP, IP_RECVERR, 1)
        self._buffer = b""
        self._socket.connect(self._peer)
        if question.transport == "tls":
            context = ssl.create_default_context(cafile=question.tls["ca_file"])
            context.check_hostname = False
            if "cert_file" in question.tls:
                context.load_cert_chain(question.tls["cert_file"], question.tls["key_file"])
            self._socket = context.wrap_socket(self._socket)
        self.host, self.port = self._socket.getsockname()[:2]

    def send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def read(self, within_s: float) -> str | None:
        """Return one message, or ``None`` when nothing (more) comes."""
        self._socket.settimeout(within_s)
        try:
            if self.is_datagram:
                return self._socket.recv(65_535).decode()
            while (message := self._framed()) is None:
                octets = self._socket.recv(65_535)
                if not octets:
                    return None
                self._buffer += octets
        except TimeoutError:
            return None
        return message

    def icmp(self) -> tuple[int, int, str] | None:
        """Type, code and sender of the error in the queue."""
        if not self.is_datagram:
            return None
        try:
            _data, ancillary, _flags, _peer = self._socket.recvmsg(
                2_048, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_IP, IP_RECVERR):
                _errno, origin, icmp_type, code = struct.unpack_from("=IBBB", content)
                if origin == ORIGIN_ICMP:
                    return icmp_type, code, socket.inet_ntoa(content[20:24])
        return None

    def close(self) -> None:
        self._socket.close()

    def _framed(self) -> str | None:
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return None
        length = re.search(rb"(?im)^content-length\s*:\s*(\d+)", head)
        octets = int(length.group(1)) if length else 0
        if len(rest) < octets:
            return None
        self._buffer = rest[octets:]
        return (head + blank + rest[:octets]).decode()


class _Caller:
    """The conversation: request, credentials, ACK, and BYE from either side."""

    def __init__(self, question: Question, wire: _Wire) -> None:
        self._question = question
        self._wire = wire
        self._call_id = secrets.token_hex(8)
        self._cseq = 1
        self._local = f"[{wire.host}]" if ":" in wire.host else wire.host
        self._uri = question.uri or f"sip:psap@{question.host}:{question.port}"

    def converse(self, heard: Heard) -> None:
        """Send the request and see it through to its end."""
        self._wire.send(self._request(self._question.method, self._uri))
        is_answered_challenge = False
        patience_s = ANSWER_WITHIN_S
        while (message := self._wire.read(patience_s)) is not None:
            heard.messages.append(message)
            start = _start(message)
            if start == "BYE":
                self._wire.send(_ok(message))
                return
            code = int(start[:3]) if start[:3].isdigit() else 0
            if start.endswith("INVITE") and code >= 200:
                self._acknowledge(message, code)
                patience_s = SILENCE_ENDS_S
            if code in (401, 407) and self._question.username and not is_answered_challenge:
                is_answered_challenge = True
                self._cseq += 1
                credentials = _credentials(message, self._question, self._uri)
                self._wire.send(self._request(self._question.method, self._uri, more=credentials))
            elif code >= 200 and not (start == "200 INVITE"):  # noqa: SIM201
                return

    def _acknowledge(self, message: str, code: int) -> None:
        to = _header(message, "To")
        if code >= 300:
            self._wire.send(self._request("ACK", self._uri, to=to))
            return
        target = _address(_header(message, "Contact"))
        routes = "".join(
            f"Route: {route}\r\n" for route in reversed(_headers(message, "Record-Route"))
        )
        self._wire.send(self._request("ACK", target, to=to, more=routes, branch="ack"))
        if self._question.bye:
            self._cseq += 1
            self._wire.send(self._request("BYE", target, to=to, more=routes))

    def _request(
        self, method: str, uri: str, *, to: str = "", more: str = "", branch: str = ""
    ) -> str:
        body = ""
        if method == "INVITE":
            body = OFFER.format(host=self._wire.host, port=self._wire.port)
            more += "Content-Type: application/sdp\r\n"
        transport = self._question.transport
        cseq = self._cseq
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/{transport.upper()} {self._local}:{self._wire.port};rport"
            f";branch=z9hG4bK{self._call_id}{cseq}{branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:bench@{self._local}>;tag=bench\r\n"
            f"To: {to or f'<{uri}>'}\r\nCall-ID: {self._call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:bench@{self._local}:{self._wire.port};transport={transport}>\r\n"
            f"{more}Content-Length: {len(body)}\r\n\r\n{body}"
        )


def _start(message: str) -> str:
    first = message.split("\r\n", 1)[0].split(" ")
    if first[0] != "SIP/2.0":
        return first[0]
    return f"{first[1]} {_header(message, 'CSeq').split()[1]}"


def _headers(message: str, name: str) -> list[str]:
    head = message.partition("\r\n\r\n")[0]
    lines = re.findall(rf"(?im)^{name}\s*:\s*(.*?)\r?$", head)
    return [value.strip() for line in lines for value in line.split(",")]


def _header(message: str, name: str) -> str:
    head = message.partition("\r\n\r\n")[0]
    found = re.search(rf"(?im)^{name}\s*:\s*(.*?)\r?$", head)
    return found.group(1).strip() if found else ""


def _address(name_addr: str) -> str:
    inside = re.search(r"<(.*?)>", name_addr)
    return inside.group(1) if inside else name_addr


def _ok(request: str) -> str:
    head = request.partition("\r\n\r\n")[0].split("\r\n")[1:]
    echoed = [line for line in head if re.match(r"(?i)(via|from|to|call-id|cseq)\s*:", line)]
    return "\r\n".join(["SIP/2.0 200 OK", *echoed, "Content-Length: 0", "", ""])


def _credentials(challenge: str, question: Question, uri: str) -> str:
    """Answer a digest challenge with ``qop=auth`` (RFC 2617 3.2.2, RFC 8760)."""
    name = "WWW-Authenticate" if _header(challenge, "WWW-Authenticate") else "Proxy-Authenticate"
    asked = dict(re.findall(r'(\w+)="?([^",]+)"?', _header(challenge, name).removeprefix("Digest")))
    algorithm = asked.get("algorithm", "MD5")

    def digest(*parts: str) -> str:
        kind = "sha256" if algorithm == "SHA-256" else "md5"
        return hashlib.new(kind, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    secret = digest(question.username, asked["realm"], question.password)
    cnonce = secrets.token_hex(8)
    response = digest(
        secret, asked["nonce"], "00000001", cnonce, "auth", digest(question.method, uri)
    )
    answer_name = "Authorization" if name.startswith("WWW") else "Proxy-Authorization"
    return (
        f'{answer_name}: Digest username="{question.username}", realm="{asked["realm"]}", '
        f'nonce="{asked["nonce"]}", uri="{uri}", response="{response}", algorithm={algorithm}, '
        f'cnonce="{cnonce}", qop=auth, nc=00000001\r\n'
    )


def main(settings: dict[str, Any]) -> Heard:
    """Ask, and return what was heard."""
    question = Question(**settings)
    heard = Heard()
    try:
        wire = _Wire(question)
    except OSError as failed:
        heard.error = f"{type(failed).__name__}: {failed}"
        return heard
    try:
        _Caller(question, wire).converse(heard)
    except OSError as failed:
        heard.error = f"{type(failed).__name__}: {failed}"
        time.sleep(0.05)  # the error queue may fill after the error shows
        heard.icmp = wire.icmp()
    finally:
        wire.close()
    return heard


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(main(json.loads(sys.argv[1])))))
