"""Sockets as a prober needs them: bound to a source, marked, timed by the kernel, with ICMP.

The kernel's receive time (SO_TIMESTAMPNS) and the error queue (IP_RECVERR: ICMP with the address
of its sender) need no privileges on Linux.
"""

from __future__ import annotations

import errno
import socket  # noqa: TID251 - the real adapter
import struct
from collections.abc import Callable, Iterator
from typing import Final

from psapwatch.endpoint import Address, PortRange, Source
from psapwatch.evidence import Fact, Kind, Observation
from psapwatch.world import Entropy

# Linux names that Python 3.11 lacks.
_SO_TIMESTAMPNS: Final = 35
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25

_TIMESPEC: Final = struct.Struct("=qq")  # tv_sec, tv_nsec
_EXTENDED_ERROR: Final = struct.Struct("=IBBBxII")  # struct sock_extended_err
_ORIGIN_LOCAL: Final = 1  # SO_EE_ORIGIN_LOCAL: the kernel here, e.g. EMSGSIZE; otherwise ICMP
_ERROR_FAMILY: Final = {
    (socket.IPPROTO_IP, _IP_RECVERR): 4,
    (socket.IPPROTO_IPV6, _IPV6_RECVERR): 6,
}

DATAGRAM_OCTETS_MAX: Final = 65_535
RECEIVED_ANCILLARY: Final = socket.CMSG_SPACE(_TIMESPEC.size)
_ERROR_ANCILLARY: Final = 512
_QUOTE_OCTETS_MAX: Final = 1_500
ERRORS_MAX: Final = 32
"""Queued errors read at a wake-up; what remains wakes the loop again."""

_DISTRUST_S: Final = 2.0
"""No packet waits longer than this in a socket, unless a clock was set."""
_READINGS_MAX: Final = 4
_SURE_S: Final = 0.000_05
"""Two clocks that were read within this are compared; a step is told from being interrupted."""
_STEP_S: Final = 0.002
_SLEW: Final = 0.001
"""A wall clock that runs away by more than 2 ms and 0.1 % was set (NTP slews by 0.05 %)."""

_PORT_TRIES: Final = 64
_PORT_SCAN_MAX: Final = 256
_RECENT_PORTS_MAX: Final = 16_384


class ReceiveTime:
    """Turns the kernel's receive time into loop time, and distrusts it around a clock step.

    The kernel stamps with the wall clock. A stamp a little older than the wall says how long the
    octets waited for this loop. One from the future, or one read shortly after the wall clock was
    set, says nothing, and the time of reading is taken instead.
    """

    __slots__ = ("_checked_at", "_distrusted_until", "_monotonic", "_offset", "_wall")

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset, _width = self._ahead()
        self._checked_at = self._distrusted_until = monotonic()

    def _ahead(self) -> tuple[float, float]:
        """How far the wall is ahead of the loop's clock, and how far apart the two were read.

        On a busy machine others run between two readings; that is no step of a clock.
        """
        best = (0.0, float("inf"))
        for _nth in range(_READINGS_MAX):
            before = self._monotonic()
            wall = self._wall()
            after = self._monotonic()
            if after - before < best[1]:
                best = (wall - (before + after) / 2, after - before)
            if best[1] <= _SURE_S:
                break
        return best

    def to_loop(self, ancillary: list[tuple[int, int, bytes]], now: float) -> float:
        """Return the loop time at which the octets with this ancillary data came in.

        ``now`` is the time of reading, which is taken where the stamp cannot be believed.
        """
        offset, width = self._ahead()
        if width > _SURE_S:
            offset = self._offset  # of a moment ago, and better than this reading
        else:
            if abs(offset - self._offset) > _STEP_S + _SLEW * (now - self._checked_at):
                self._distrusted_until = now + _DISTRUST_S
            self._offset = offset
            self._checked_at = now
        if now < self._distrusted_until:
            return now
        for level, kind, octets in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(octets)
                arrived_at = float(seconds + nanoseconds / 1e9 - offset)
                return arrived_at if now - _DISTRUST_S <= arrived_at <= now else now
        return now


class SourcePorts:
    """Picks source ports from a range by chance, and none again soon.

    By chance, because a firewall that shares load by a hash of the ports must not see one path
    always on the same member; not again soon, so that a flow is new to a stateful firewall.
    """

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._recent: dict[tuple[str, int], None] = {}

    def bind(self, one: socket.socket, source: Source, local_port: int) -> None:
        """Bind to the source address, on ``local_port`` or on one of the source's ports.

        Raises:
            OSError: the address is not ours, or no port of the range is free (EADDRINUSE).
        """
        ports = source.sip_ports
        if local_port or not ports.high:
            if not local_port and one.type == socket.SOCK_STREAM:
                one.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            one.bind((source.address, local_port))
            return
        for port in self._candidates(source.address, ports):
            try:
                one.bind((source.address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self._remember(source.address, port, ports)
            return
        raise OSError(errno.EADDRINUSE, f"no free port in {ports.low}-{ports.high}")

    def _candidates(self, address: str, ports: PortRange) -> Iterator[int]:
        size = ports.high - ports.low + 1
        for _try in range(_PORT_TRIES):
            port = ports.low + int(self._entropy.uniform(0, size))
            if (address, port) not in self._recent:
                yield port
        start = int(self._entropy.uniform(0, size))
        for step in range(min(size, _PORT_SCAN_MAX)):
            yield ports.low + (start + step) % size

    def _remember(self, address: str, port: int, ports: PortRange) -> None:
        self._recent.pop((address, port), None)
        self._recent[address, port] = None
        if len(self._recent) > min((ports.high - ports.low + 1) // 2, _RECENT_PORTS_MAX):
            del self._recent[next(iter(self._recent))]


def open_socket(
    kind: socket.SocketKind, source: Source, peer: Address, ports: SourcePorts, local_port: int
) -> socket.socket:
    """Return a non-blocking socket bound to the source, with DSCP, kernel time and error queue.

    Raises:
        OSError: no descriptor, address not ours, ports taken, interface absent or not permitted,
            bound to the wildcard without a route to the peer.
    """
    if (":" in source.address) != peer.is_v6:
        raise OSError(errno.EAFNOSUPPORT, f"cannot go from {source.address} to {peer.host}")
    one = socket.socket(socket.AF_INET6 if peer.is_v6 else socket.AF_INET, kind)
    try:
        one.setblocking(False)  # noqa: FBT003 - the socket module takes it by position only
        one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if peer.is_v6:
            one.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            one.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if source.dscp and peer.is_v6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, source.dscp << 2)
        elif source.dscp:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, source.dscp << 2)
        if source.interface:
            device = source.interface.encode() + b"\0"
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        if kind == socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ports.bind(one, source, local_port)
        local_address(one, peer)
    except OSError:
        one.close()
        raise
    return one


def limit_hops(one: socket.socket, hops: int) -> None:
    """Let datagrams go so many IP hops: the one where they end answers time exceeded."""
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def local_address(one: socket.socket, peer: Address) -> Address:
    """Return the address that packets to ``peer`` truly leave from, also on a wildcard bind.

    Raises:
        OSError: bound to the wildcard, and there is no route to the peer.
    """
    host, port = one.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        with socket.socket(one.family, socket.SOCK_DGRAM) as asking:
            asking.connect((peer.host, peer.port))
            host = asking.getsockname()[0]
    return Address(host, port)


def queued_errors(one: socket.socket, now: float) -> list[tuple[Observation, bytes]]:
    """Empty the error queue: each ICMP (or local) error and the octets that it quotes."""
    errors = []
    for _error in range(ERRORS_MAX):
        try:
            quoted, ancillary, _flags, to = one.recvmsg(
                _QUOTE_OCTETS_MAX, _ERROR_ANCILLARY, socket.MSG_ERRQUEUE
            )
        except OSError:
            break
        about = str(Address(*to[:2])) if to else ""
        for level, kind, octets in ancillary:
            family = _ERROR_FAMILY.get((level, kind))
            if family and len(octets) >= _EXTENDED_ERROR.size:
                errors.append((_queued_error(family, octets, about, now), quoted))
    return errors


def _queued_error(family: int, octets: bytes, about: str, now: float) -> Observation:
    number, origin, icmp_type, code, _info, _data = _EXTENDED_ERROR.unpack_from(octets)
    name = errno.errorcode.get(number, str(number))
    if origin == _ORIGIN_LOCAL:
        return Observation(Kind.LOCAL_ERROR, now, {"error": name, "detail": f"sending to {about}"})
    facts: dict[str, Fact] = {
        "family": family,
        "icmp_type": icmp_type,
        "code": code,
        "offender": _offender(family, octets[_EXTENDED_ERROR.size :]),
        "errno": name,
        "to": about,
    }
    return Observation(Kind.ICMP, now, facts)


def _offender(family: int, sockaddr: bytes) -> str:
    """Return the host in the sockaddr behind an extended error; '' when the kernel knew none."""
    if family == 4 and sockaddr[:2] == struct.pack("=H", socket.AF_INET):
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
    if family == 6 and sockaddr[:2] == struct.pack("=H", socket.AF_INET6):
        return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return ""


def icmp_by_errno(number: int, peer: Address, now: float) -> Observation:
    """Return the ICMP error that an errno stands for, where the kernel tells no more than that."""
    facts: dict[str, Fact] = {
        "family": 6 if peer.is_v6 else 4,
        "icmp_type": None,
        "code": None,
        "offender": "",
        "errno": errno.errorcode.get(number, str(number)),
        "to": str(peer),
    }
    return Observation(Kind.ICMP, now, facts)


def local_error(error: OSError, about: str, now: float) -> Observation:
    """Return the LOCAL_ERROR that our own system's refusal is."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    detail = f"{about}: {error.strerror or error}"
    return Observation(Kind.LOCAL_ERROR, now, {"error": name, "detail": detail})


def source_towards(host: str) -> str:
    """The address that this machine sends from towards a numeric host; nothing is sent.

    A name gets the unspecified address, which lets the kernel choose when the peer is known.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((host.strip("[]"), 9))
        except (OSError, UnicodeError):
            return "0.0.0.0"  # noqa: S104 - the kernel chooses
        return str(asked.getsockname()[0])
