"""Numbers for UDP flows: CPU of one OPTIONS attempt, and what thousands of silent sockets cost.

    python tests/net/bench_udp_flow.py [attempts] [rounds]

An echo process answers 200 from the other core. An attempt is what the network does for it: open
a fresh socket, send, hear the answer with its kernel time, release. Median of the rounds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket  # noqa: TID251 - the far end
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from psapwatch.endpoint import Address, PortRange, Source
from psapwatch.evidence import Observation
from psapwatch.net.clock import SystemClock
from psapwatch.net.system import (
    SystemEntropy,
    SystemNetwork,
    raise_file_limit,
)
from psapwatch.world import Arrival, Flow, Road

OUTSTANDING = 32
SILENT_SOCKETS = 4_300
IDLE_S = 10.0
OPTIONS = (
    "OPTIONS sip:psap1.example.gov SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0123456789abcdef;rport\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:911-path-test@example.net>;tag=0123456789abcdef\r\n"
    "To: <sip:psap1.example.gov>\r\nCall-ID: {}@bench\r\nCSeq: 1 OPTIONS\r\n"
    "Contact: <sip:127.0.0.1:5060>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
)


def echo(ready: Connection) -> None:
    """Answer each OPTIONS with a 200 that repeats its headers."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    ready.send(one.getsockname())
    while True:
        octets, source = one.recvfrom(65_535)
        one.sendto(b"SIP/2.0 200 OK\r\n" + octets.partition(b"\r\n")[2], source)


class Attempt:
    """The listener of one attempt."""

    def __init__(self) -> None:
        self.answered = asyncio.get_running_loop().create_future()
        self.flow: Flow | None = None

    def arrived(self, arrival: Arrival) -> None:
        """Take the answer."""
        if not self.answered.done():
            self.answered.set_result(arrival)

    def observed(self, seen: Observation) -> None:
        """Datagrams have no phases."""

    def failed(self, seen: Observation) -> None:
        """Stop: on loopback nothing may fail."""
        raise SystemExit(str(seen))


async def attempts(network: SystemNetwork, road: Road, count: int) -> None:
    """Make attempts one after the other."""
    for number in range(count):
        attempt = Attempt()
        flow = await network.open(road, str(number), attempt, patience_s=1.0)
        assert flow is not None
        flow.send(OPTIONS.format(number).encode())
        await attempt.answered
        flow.release()


async def fresh_flows(peer: Address, count: int) -> tuple[float, float]:
    """Return CPU microseconds per attempt, and attempts a second."""
    network = SystemNetwork(SystemClock(), SystemEntropy())
    road = Road("udp", Source("127.0.0.1", sip_ports=PortRange(20_000, 29_999)), peer)
    wall, cpu = time.perf_counter(), time.process_time()  # noqa: TID251 - a stop watch
    await asyncio.gather(
        *(attempts(network, road, count // OUTSTANDING) for _each in range(OUTSTANDING))
    )
    done = count // OUTSTANDING * OUTSTANDING
    cpu_us = (time.process_time() - cpu) / done * 1e6
    rate = done / (time.perf_counter() - wall)  # noqa: TID251 - a stop watch
    network.close()
    return cpu_us, rate


async def silent_sockets(count: int) -> None:
    """Print what ``count`` open, silent flows cost while nothing happens."""
    network = SystemNetwork(SystemClock(), SystemEntropy())
    source = Source("127.0.0.1", sip_ports=PortRange(20_000, 29_999))
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    road = Road("udp", source, Address(*silent.getsockname()))
    memory, kernel, descriptors = resident_kib(), kernel_kib(), open_descriptors()
    cpu = time.process_time()
    for number in range(count):
        flow = await network.open(road, str(number), Attempt(), patience_s=1.0)
        assert flow is not None
        flow.send(OPTIONS.format(number).encode())
    opening_us = (time.process_time() - cpu) / count * 1e6
    grown, in_kernel = resident_kib() - memory, kernel_kib() - kernel
    held = open_descriptors() - descriptors
    cpu = time.process_time()
    await asyncio.sleep(IDLE_S)
    idle_ms = (time.process_time() - cpu) * 1e3
    say(
        f"{count} silent sockets: {idle_ms:.2f} ms CPU in {IDLE_S:.0f} s, {held} descriptors, "
        f"{grown / 1024:.1f} MiB resident ({grown / count:.2f} KiB each), "
        f"{in_kernel / 1024:.1f} MiB kernel slab, {opening_us:.1f} us CPU to open and send each"
    )
    network.close()
    silent.close()


def say(line: str) -> None:
    """Print one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def resident_kib() -> int:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def kernel_kib() -> int:
    """Slab memory of the kernel, in which sockets live."""
    return int(Path("/proc/meminfo").read_text(encoding="ascii").split("Slab:")[1].split()[0])


def open_descriptors() -> int:
    """Open descriptors of this process."""
    return sum(1 for _each in Path("/proc/self/fd").iterdir())


def main() -> None:
    """Run both, print the numbers."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    raise_file_limit()
    ours, theirs = multiprocessing.Pipe()
    far = multiprocessing.Process(target=echo, args=(theirs,), daemon=True)
    far.start()
    peer = Address(*ours.recv())
    results = [asyncio.run(fresh_flows(peer, count)) for _round in range(rounds)]
    cpu_us = sorted(cpu for cpu, _rate in results)
    rate = statistics.median(rate for _cpu, rate in results)
    say(
        f"OPTIONS/200 on a fresh UDP socket each: {statistics.median(cpu_us):.1f} us CPU "
        f"({cpu_us[0]:.1f} to {cpu_us[-1]:.1f}), {rate:.0f} a second, "
        f"{rounds} rounds of {count}"
    )
    far.terminate()
    asyncio.run(silent_sockets(SILENT_SOCKETS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(f"peak resident memory {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
