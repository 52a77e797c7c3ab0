"""A firewall of nftables between two networks, each in a network namespace of this test alone.

The three namespaces are named in a mount namespace that one process holds: they cannot meet those
of another test, and they are gone when that process ends, however the test ended. Without root
the same happens inside a user namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from components.ports import free_port, is_bound
from components.process import Bench, Place, Running, program
from components.waiting import until

OUTSIDE: Final = ("198.51.100.10", "198.51.100.11", "198.51.100.12")
"""Our sources, in front of the firewall; the first is the usual one."""
OUTSIDE_V6: Final = "2001:db8:1::10"
FIREWALL_OUTER: Final = "198.51.100.1"
"""The firewall as we see it: the sender of its ICMP errors."""
FIREWALL_INNER: Final = "203.0.113.1"
INSIDE: Final = "203.0.113.2"
INSIDE_V6: Final = "2001:db8:2::2"
PSAPS: Final = "198.18.0.0/15"
PSAPS_V6: Final = "2001:db8:18::/47"
"""Each address of them reaches the same port of INSIDE: many answering points, one responder."""
SIP_PORT: Final = 5060
CONTROL: Final = "192.0.2.10"
"""A source of ours whose way leads round the firewall, straight to the inside."""

_SET_UP: Final = f"""
set -e
mount -t tmpfs tmpfs /run
for name in outside firewall inside; do
  ip netns add $name
  ip -n $name link set lo up
  # Duplicate address detection would hold IPv6 back for the first seconds.
  ip netns exec $name sh -c 'echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad'
done
ip -n firewall link add outer type veth peer name fw netns outside
ip -n firewall link add inner type veth peer name fw netns inside
ip -n firewall address add {FIREWALL_OUTER}/24 dev outer
ip -n firewall address add {FIREWALL_INNER}/24 dev inner
ip -n firewall address add 2001:db8:1::1/64 dev outer nodad
ip -n firewall address add 2001:db8:2::1/64 dev inner nodad
for address in {" ".join(OUTSIDE)}; do ip -n outside address add $address/24 dev fw; done
ip -n outside address add {OUTSIDE_V6}/64 dev fw nodad
ip -n inside address add {INSIDE}/24 dev fw
ip -n inside address add {INSIDE_V6}/64 dev fw nodad
ip -n firewall link set outer up
ip -n firewall link set inner up
ip -n outside link set fw up
ip -n inside link set fw up
ip -n outside link add round type veth peer name round netns inside
ip -n outside address add {CONTROL}/24 dev round
ip -n inside address add 192.0.2.2/24 dev round
ip -n outside link set round up
ip -n inside link set round up
ip -n outside route add default via 192.0.2.2 table 100
ip -n outside rule add from {CONTROL} lookup 100
ip -n outside route add default via {FIREWALL_OUTER}
ip -n inside route add default via {FIREWALL_INNER}
ip -n outside route add default via 2001:db8:1::1
ip -n inside route add default via 2001:db8:2::1
ip -n firewall route add {PSAPS} via {INSIDE}
ip -n firewall route add {PSAPS_V6} via {INSIDE_V6}
ip netns exec firewall sh -c '
  echo 1 > /proc/sys/net/ipv4/ip_forward
  echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'
ip netns exec inside nft -f - <<NFT
table ip psaps {{
  chain prerouting {{
    type nat hook prerouting priority dstnat
    ip daddr {PSAPS} meta l4proto {{ tcp, udp }} dnat to {INSIDE}
  }}
}}
table ip6 psaps {{
  chain prerouting {{
    type nat hook prerouting priority dstnat
    ip6 daddr {PSAPS_V6} meta l4proto {{ tcp, udp }} dnat to {INSIDE_V6}
  }}
}}
NFT
for name in firewall inside; do
ip netns exec $name nft -f - <<NFT
table inet bench {{
  chain raw {{
    type filter hook prerouting priority -450
  }}
  chain forward {{
    type filter hook forward priority filter
  }}
  chain output {{
    type filter hook output priority filter
  }}
}}
NFT
done
"""


@dataclass(slots=True)
class Rule:
    """One loaded rule and its counter."""

    statement: str
    _laboratory: Laboratory
    _place: Place
    _chain: str
    _handle: int
    _last_packets: int | None = None

    @property
    def packets(self) -> int:
        """How many packets it has met; after ``lift`` the last count."""
        if self._last_packets is not None:
            return self._last_packets
        words = ("list", "chain", "inet", "bench", self._chain)
        listed = self._laboratory.nft_json(*words, place=self._place)
        for row in listed["nftables"]:
            if row.get("rule", {}).get("handle") == self._handle:
                return next(
                    int(x["counter"]["packets"]) for x in row["rule"]["expr"] if "counter" in x
                )
        raise AssertionError(f"rule {self.statement!r} is gone")

    def lift(self) -> None:
        """Take the rule away; what it counted stays readable."""
        if self._last_packets is None:
            self._last_packets = self.packets
            gone = f"delete rule inet bench {self._chain} handle {self._handle}"
            self._laboratory.nft(gone, place=self._place)


@dataclass(slots=True)
class Laboratory:
    """The three places and the firewall's rules."""

    bench: Bench
    enter: tuple[str, ...]
    outside: Place = field(init=False)
    firewall: Place = field(init=False)
    inside: Place = field(init=False)

    def __post_init__(self) -> None:
        addresses = {"outside": OUTSIDE[0], "firewall": FIREWALL_OUTER, "inside": INSIDE}
        for name, address in addresses.items():
            prefix = (*self.enter, program("ip"), "netns", "exec", name)
            setattr(self, name, Place(name, address, prefix))

    @contextmanager
    def rule(
        self,
        statement: str,
        *,
        chain: str = "forward",
        place: Place | None = None,
        must_move: bool = True,
    ) -> Iterator[Rule]:
        """Load one rule; afterwards take it away and assert that its counter moved.

        ``chain`` is ``forward``, ``raw`` (prerouting, before conntrack) or ``output`` (of the
        firewall itself); ``place`` is the firewall, or ``inside`` for a rule of the far end's own.
        A mistyped rule would load nothing, and every probe would "pass".
        """
        assert "counter" in statement, f"{statement!r} has no counter to prove that it matched"
        place = place or self.firewall
        words = ("--echo", "--handle", "add", "rule", "inet", "bench", chain, statement)
        loaded = self.nft_json(*words, place=place)
        handle = next(int(row["add"]["rule"]["handle"]) for row in loaded["nftables"])
        rule = Rule(statement, self, place, chain, handle)
        try:
            yield rule
        finally:
            rule.lift()
        if must_move:
            assert rule.packets > 0, f"no packet ever met {statement!r}"

    def know(self, names: Mapping[str, Sequence[str]]) -> None:
        """Give names their addresses, in a hosts file of these namespaces alone."""
        hosts = self.bench.new_folder("names") / "hosts"
        lines = [f"{address} {name}" for name, found in names.items() for address in found]
        hosts.write_text("\n".join(lines) + "\n", encoding="ascii")
        _run([*self.enter, "mount", "--bind", str(hosts), "/etc/hosts"])

    def nft(self, commands: str, *, place: Place | None = None) -> str:
        """Run nft commands in the firewall, for sets, maps and chains of one's own."""
        return self.run(place or self.firewall, [program("nft"), "-f", "-"], commands)

    def nft_json(self, *words: str, place: Place | None = None) -> dict[str, Any]:
        """Run one nft command and return its JSON."""
        argv = [program("nft"), "--json", *words]
        answer: dict[str, Any] = json.loads(self.run(place or self.firewall, argv))
        return answer

    def run(self, place: Place, argv: Sequence[str], stdin: str = "") -> str:
        """Run a program in a place and return what it printed.

        Raises:
            AssertionError: it failed; says what it complained about.
        """
        return _run([*place.prefix, *argv], stdin)

    def reach(self, place: Place, port: int) -> str:
        """Return a base URL here for a web server on loopback in ``place``."""
        folder = self.bench.new_folder("relay")
        door = folder / "door"
        near_port = free_port()
        far = self.bench.start(
            "relay-there",
            [program("socat"), f"UNIX-LISTEN:{door},fork", f"TCP:127.0.0.1:{port}"],
            folder=folder,
            place=place,
        )
        far.wait_until(door.exists, "opens its door")
        near = self.bench.start(
            "relay-here",
            [
                program("socat"),
                f"TCP-LISTEN:{near_port},bind=127.0.0.1,reuseaddr,fork",
                f"UNIX-CONNECT:{door}",
            ],
            folder=folder,
        )
        near.wait_until(lambda: is_bound(near.pid, "tcp", near_port), f"listens on {near_port}")
        return f"http://127.0.0.1:{near_port}"

    def reach_back(self, place: Place, url: str) -> str:
        """Return a base URL in ``place`` for a web server that runs here."""
        folder = self.bench.new_folder("relay-back")
        door, port = folder / "door", free_port()
        near = self.bench.start(
            "relay-here",
            [program("socat"), f"UNIX-LISTEN:{door},fork", f"TCP:{urlsplit(url).netloc}"],
            folder=folder,
        )
        near.wait_until(door.exists, "opens its door")
        far = self.bench.start(
            "relay-there",
            [
                program("socat"),
                f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork",
                f"UNIX-CONNECT:{door}",
            ],
            folder=folder,
            place=place,
        )
        far.wait_until(lambda: is_bound(far.pid, "tcp", port), f"listens on {port}")
        return f"http://127.0.0.1:{port}"


def open_laboratory(bench: Bench) -> Laboratory:
    """Build the three namespaces and the empty firewall."""
    is_root = os.geteuid() == 0
    own_user = () if is_root else ("--user", "--map-root-user")
    unshare = (program("unshare"), *own_user, "--net", "--mount")
    holder = bench.start(
        "namespaces", [program("sleep"), "infinity"], place=Place("holder", "", unshare)
    )
    until(lambda: _is_apart(holder), 5.0, "a network namespace of our own")
    own_user = () if is_root else ("--user", "--preserve-credentials")
    enter = (program("nsenter"), "--target", str(holder.pid), *own_user, "--net", "--mount")
    _run([*enter, "sh", "-c", _SET_UP])
    return Laboratory(bench, enter)


def _is_apart(holder: Running) -> bool:
    if holder.exit_code is not None:
        pytest.fail(
            f"no network namespaces here (root, or user namespaces, are needed): {holder.output}"
        )
    try:
        ours, theirs = (Path(f"/proc/{who}/ns/mnt").readlink() for who in ("self", holder.pid))
    except OSError:
        return False
    command = Path(f"/proc/{holder.pid}/cmdline").read_bytes().partition(b"\0")[0]
    return ours != theirs and command.endswith(b"sleep")


def _run(argv: Sequence[str], stdin: str = "") -> str:
    done = subprocess.run(
        list(argv), input=stdin, check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, f"{argv[-1]!r} failed: {done.stderr or done.stdout}"
    return done.stdout
