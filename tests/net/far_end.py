"""Far ends on loopback for the network tests: real sockets, real TLS, real certificates."""

from __future__ import annotations

import asyncio
import socket  # noqa: TID251 - the far end of the real adapter
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from psapwatch.endpoint import Address, FlowKind, Source, Tls, TransportName
from psapwatch.evidence import Kind, Observation
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import SystemEntropy, SystemNetwork
from psapwatch.world import Arrival, Flow, Road

PATIENCE_S = 20.0
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def options(call_id: str = "a@test", body: bytes = b"") -> bytes:
    """An OPTIONS that the guard lets through."""
    head = f"OPTIONS sip:far.example SIP/2.0\r\nCall-ID: {call_id}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def ok(call_id: str = "a@test", body: bytes = b"") -> bytes:
    """A 200 for that OPTIONS, as far as framing and Call-ID go."""
    head = f"SIP/2.0 200 OK\r\nCall-ID: {call_id}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Recorder:
    """A ``world.Listener`` that keeps everything and can be waited on."""

    def __init__(self) -> None:
        self.arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        self.failures: asyncio.Queue[Observation] = asyncio.Queue()
        self.phases: list[Observation] = []

    def arrived(self, arrival: Arrival) -> None:
        """Keep it."""
        self.arrivals.put_nowait(arrival)

    def observed(self, seen: Observation) -> None:
        """Keep it."""
        self.phases.append(seen)

    def failed(self, seen: Observation) -> None:
        """Keep it."""
        self.failures.put_nowait(seen)

    def phase(self, kind: Kind) -> Observation:
        """The one phase of this kind."""
        (seen,) = [seen for seen in self.phases if seen.kind is kind]
        return seen


async def settle() -> None:
    """Let the loop read whatever loopback has delivered by now."""
    for _turn in range(25):
        await asyncio.sleep(0)


@asynccontextmanager
async def a_network(sockets_max: int | None = None) -> AsyncIterator[SystemNetwork]:
    """The real network, closed at the end."""
    network = SystemNetwork(SystemClock(), SystemEntropy(), sockets_max=sockets_max)
    try:
        yield network
    finally:
        network.close()


def road(
    transport: TransportName,
    peer: Address,
    *,
    source: Source | None = None,
    tls: Tls | None = None,
    server_name: str = "psap.example",
    flow: FlowKind = "fresh",
) -> Road:
    """A road from loopback to ``peer``."""
    leaves_from = source or Source(LOOPBACK[6 if peer.is_v6 else 4])
    return Road(transport, leaves_from, peer, server_name, tls or Tls(), flow)


async def opened(
    network: SystemNetwork, way: Road, call_id: str = "a@test"
) -> tuple[Flow, Recorder]:
    """A flow that must come up, and what listens on it."""
    recorder = Recorder()
    flow = await network.open(way, call_id, recorder, patience_s=PATIENCE_S)
    assert flow is not None, recorder.failures
    return flow, recorder


# -- far ends


@dataclass
class Heard:
    """One message or chunk at the far end."""

    octets: bytes
    source: Address
    tos: int = 0


class UdpFarEnd:
    """A UDP socket that reads the DSCP of what comes."""

    def __init__(self, host: str, port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, port))
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.address = Address(*self.socket.getsockname()[:2])
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket.fileno(), self._readable)

    def _readable(self) -> None:
        octets, ancillary, _flags, source = self.socket.recvmsg(65_535, 256)
        tos = [data[0] for _level, _kind, data in ancillary]
        self.heard.put_nowait(Heard(octets, Address(*source[:2]), tos[0] if tos else 0))

    async def answer(self, octets: bytes, to: Address) -> None:
        """Send from here."""
        self.socket.sendto(octets, (to.host, to.port))

    def close(self) -> None:
        """Close: the next datagram gets ICMP port unreachable."""
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close()


class StreamFarEnd:
    """A TCP or TLS listener that keeps its connections, and can end them by FIN or RST."""

    def __init__(self, host: str, context: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, 0), family=family)
        self.socket.setblocking(False)
        self.address = Address(*self.socket.getsockname()[:2])
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()
        self.errors: list[Exception] = []
        self._connections: list[tuple[socket.socket, asyncio.Task[None]]] = []
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket.fileno(), self._accept)

    @property
    def accepted(self) -> int:
        """How many connections have come."""
        return len(self._connections)

    def _accept(self) -> None:
        one, source = self.socket.accept()
        one.setblocking(False)
        if self._context:
            one = self._context.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
        task = self._loop.create_task(self._serve(one, Address(*source[:2])))
        task.add_done_callback(lambda _done: one.close())
        self._connections.append((one, task))

    async def _serve(self, one: socket.socket, source: Address) -> None:
        try:
            if isinstance(one, ssl.SSLSocket):
                await self._patiently(one, one.do_handshake)
            while octets := await self._patiently(one, lambda: one.recv(65_536)):
                self.heard.put_nowait(Heard(octets, source))
            self.heard.put_nowait(Heard(b"", source))
        except OSError as error:  # of TLS: OpenSSL has written its alert by now
            self.errors.append(error)

    async def _patiently(self, one: socket.socket, act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except (ssl.SSLWantReadError, BlockingIOError):
                ready = asyncio.Event()
                self._loop.add_reader(one.fileno(), ready.set)
                try:
                    await ready.wait()
                finally:
                    self._loop.remove_reader(one.fileno())

    async def answer(self, octets: bytes, to: Address | None = None) -> None:
        """Send on the newest connection; ``to`` must be its other end."""
        one, _task = self._connections[-1]
        assert to is None or to == Address(*one.getpeername()[:2])
        one.sendall(octets)

    def finish(self) -> None:
        """End the newest connection with FIN; of TLS without a close_notify."""
        self._connections[-1][1].cancel()

    def reset(self) -> None:
        """End the newest connection with RST."""
        one, task = self._connections[-1]
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        task.cancel()

    def close(self) -> None:
        """Listen no more; what is open closes with the loop."""
        for _one, task in self._connections:
            task.cancel()
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close()


def closed_port(transport: TransportName, host: str) -> Address:
    """A port on which nothing listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as one:
        one.bind((host, 0))
        return Address(*one.getsockname()[:2])


# -- certificates


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert_file: str
    key_file: str


class Authority:
    """A certificate authority for one test session."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._serial = 0
        certificate = self._sign(self._subject, self._key.public_key(), [], ca=True, days=30)
        self.ca_file = str(folder / f"{name}.pem")
        Path(self.ca_file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, common_name: str, *sans: str, days: float = 30) -> Pair:
        """Issue a certificate; each of ``sans`` is ``dns:``, ``uri:`` or ``ip:`` and a value."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._sign(subject, key.public_key(), [_san(san) for san in sans], days=days)
        self._serial += 1
        stem = self._folder / f"{self._name}-{self._serial}"
        pair = Pair(f"{stem}.crt", f"{stem}.key")
        Path(pair.cert_file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(pair.key_file).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        sans: list[x509.GeneralName],
        *,
        days: float,
        ca: bool = False,
    ) -> x509.Certificate:
        until = datetime.now(UTC) + timedelta(days=days)  # noqa: TID251 - a real certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - timedelta(days=60))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _san(text: str) -> x509.GeneralName:
    kind, _colon, value = text.partition(":")
    match kind:
        case "dns":
            return x509.DNSName(value)
        case "uri":
            return x509.UniformResourceIdentifier(value)
        case _:
            return x509.IPAddress(ip_address(value))


def server_context(pair: Pair, *, clients: Authority | None = None) -> ssl.SSLContext:
    """A TLS server; with ``clients`` it demands a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.ca_file)
    return context


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine in a loop of its own."""

    async def whole() -> None:
        await test()

    asyncio.run(whole())
