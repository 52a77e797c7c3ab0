"""Scenarios with real packets: each row's rules in nftables, judged as its simulated run is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from components.enactment import Enacted, Fault, Row, enact
from components.faults import (
    answered_by,
    inspected,
    kill_and_restart,
    later,
    nft,
    nobody_listens,
    sh,
    sinks_refuse,
)
from components.process import LOG_TAIL_CHARS, Bench

AT_ONCE: Final = 12
"""Rows that are played side by side, each in namespaces of its own: they wait more than they
work."""

ROUNDS_MAX: Final = 3
"""A row is played again where it went wrong on a machine that had stood still meanwhile."""

LONGEST: Final = ("s21-udp-state-timeout", "content-blocked", "s36-flapping")
"""Begun first, whatever the order of the tests: none of them is waited for at the end."""

SIP: Final = "udp dport 5060"
ANSWERS: Final = "udp sport 5060"
INVITE: Final = "@th,64,48 0x494e56495445"
OPTIONS: Final = "@th,64,56 0x4f5054494f4e53"
STATUS_200: Final = "@th,64,88 0x5349502f322e3020323030"
OUR_MEDIA: Final = "udp dport 40000-40999"
THEIR_MEDIA: Final = "udp dport 30000-30999"
EAST: Final = "ip daddr 198.18.0.0/16"
"""All that is behind the first of two firewalls; the other's is 198.19.0.0/16."""
UDP_TIMEOUT: Final = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout"
PSAP_17: Final = "ip daddr 198.18.0.17"


def fourth(remainder: int, network: str = "198.18.0") -> str:
    """The PSAPs that share the attribute's value of this place: each fourth."""
    hosts = ", ".join(f"{network}.{number}" for number in range(1, 25) if number % 4 == remainder)
    return f"ip daddr {{ {hosts} }}"


def off(number: int) -> Fault:
    """A PSAP whose host has lost power."""
    return nft(f"ip daddr 198.18.0.{number} counter drop", chain="raw", inside=True)


ROWS: Final = (
    Row("massachusetts-2024-all", (nft(f"{SIP} counter drop"),)),
    Row("massachusetts-2024-invite", (nft(f"{SIP} {INVITE} counter drop"),)),
    Row("massachusetts-2024-media",
        (nft("udp dport { 30000-30999, 40000-40999 } counter drop"),)),
    Row("minnesota-2021", (nft(f"{THEIR_MEDIA} counter drop"),)),
    Row("verizon-2022-october", (nft(f"{OUR_MEDIA} counter drop"),)),
    Row("verizon-2022-december", (nft(f"{SIP} {fourth(2)} {INVITE} counter drop"),)),
    Row("county-blocked", (nft(f"{SIP} {fourth(3)} counter drop"),)),
    Row("s28-one-psap-blocked", (nft(f"{SIP} {PSAP_17} counter drop"),)),
    Row("s28-one-psap-calls-only", (nft(f"{SIP} {PSAP_17} {INVITE} counter drop"),)),
    Row("s27-one-psap-off", (off(17),)),
    Row("s27-one-psap-stopped", (nobody_listens("198.18.0.17"),)),
    Row("washington-2021", (answered_by("multipart", f"{SIP} ip daddr 198.18.0.7 {INVITE}"),)),
    Row("a-person-answers", (answered_by("no_loopback", f"{SIP} ip daddr 198.18.0.3 {INVITE}"),)),
    Row("s37-sinks-answer-500", (sinks_refuse(20.0), nft(f"{SIP} counter drop")),
        expects=({"after": 0.0},)),
    Row("s42-daemon-killed-in-mid-outage", (nft(f"{SIP} counter drop"),),
        meanwhile=kill_and_restart, stays_s=10.0),
    Row("s43-administratively-prohibited",
        (nft(f"{SIP} counter reject with icmpx admin-prohibited"),)),
    Row("firewall-answers-403", (answered_by("invite_403", f"{SIP} {INVITE}"),)),
    Row("intrado-2014", (answered_by("invite_503", f"{SIP} {INVITE}"),)),
    Row("s32-sbc-answers-options",
        (nft(f"{SIP} ip daddr 198.18.0.0/24 {INVITE} counter drop", chain="raw", inside=True),)),
    Row("loss-25", (nft(f"{SIP} udp sport & 3 == 1 counter drop"),)),
    Row("loss-50", (nft(f"{SIP} udp sport & 1 == 1 counter drop"),)),
    Row("loss-50-calls-only", (nft(f"{SIP} udp sport & 1 == 1 {INVITE} counter drop"),)),
    Row("final-response-lost",
        (nft(f"{ANSWERS} {STATUS_200} meta length > 588 counter drop"),),
        answers="trying_then_mirror"),
    Row("s36-flapping", (nft(f"{SIP} counter drop"),), times=4, stays_s=8.0),
    Row("s15-failover-with-a-short-gap", (nft(f"{SIP} counter drop"),), stays_s=3.0),
    Row("s08-maintenance-as-announced", (nft(f"{EAST} counter drop"),), stays_s=20.0),
    Row("s09-maintenance-that-left-it-broken", (nft(f"{EAST} counter drop"),),
        window_s=15.0, expects=({"after": 15.0},)),
    Row("three-psaps-by-coincidence", (off(5), later(2.0, off(10)), later(4.0, off(16)))),
    Row("att-2017", (nft(f"{SIP} ip saddr 198.51.100.10 counter drop"),)),
    Row("s11-rule-push-behind-established",
        (nft("ct state established counter accept", f"{SIP} counter drop"),)),
    Row("s12-session-table-full",
        (nft(f"{SIP} ct state new add @full {{ meta l4proto ct count over 4 }} counter drop",
             first="add set inet bench full { type inet_proto; flags dynamic; }"),)),
    Row("s13-failover-without-state-sync",
        (nft("ct state invalid counter drop"),
         sh("echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose; conntrack -F"))),
    Row("s14-stuck-udp-session",
        (nft(f"{SIP} ct state established {OPTIONS} counter drop"),)),
    Row("s16-fragments-dropped", (nft("ip frag-off & 0x3fff != 0 counter drop", chain="raw"),)),
    Row("s17-path-mtu-black-hole",
        (sh("ip link set inner mtu 1300", "ip link set inner mtu 1500"),
         nft("icmp type destination-unreachable counter drop", chain="output"))),
    Row("s20-the-prober-is-quarantined",
        (nft(f"{SIP} ip saddr @flooders counter drop",
             f"{SIP} update @rates {{ ip saddr limit rate over 12/second burst 10 packets }}"
             " add @flooders { ip saddr timeout 12s } counter drop",
             first="add set inet bench rates { type ipv4_addr; size 64; flags dynamic; }\n"
             "add set inet bench flooders { type ipv4_addr; size 64; flags dynamic,timeout; }"),),
        messages_per_second=40, stays_s=15.0),
    Row("s21-udp-state-timeout",
        (sh(f"echo 2 > {UDP_TIMEOUT}; echo 2 > {UDP_TIMEOUT}_stream",
            f"echo 30 > {UDP_TIMEOUT}; echo 120 > {UDP_TIMEOUT}_stream"),
         nft(f"{ANSWERS} ct state new counter drop"))),
    Row("s37-prober-without-cable", (nft('iifname "outer" counter drop', chain="raw"),)),
    Row("content-blocked", (inspected("application/pidf+xml"),)),
)  # fmt: skip


@pytest.fixture(scope="module")
def enacted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Enacted]]]:
    """The rows that were asked for, played side by side."""
    rows: list[Row] = [
        item.callspec.params["row"]  # type: ignore[misc]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.parent is request.node
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            row.scenario: pool.submit(_enact, tmp_path_factory.mktemp(row.scenario), row)
            for row in sorted(rows, key=lambda row: row.scenario not in LONGEST)
        }
        pool.shutdown(cancel_futures=True)


def _enact(folder: Path, row: Row) -> Enacted:
    """Play one row, again only where the daemon itself says that it was not let run."""
    for nth in range(ROUNDS_MAX):
        (played := folder / str(nth)).mkdir()
        seen = _enact_once(played, row)
        if not (seen.judged.problems and seen.stood_still):
            break
    return seen


def _enact_once(folder: Path, row: Row) -> Enacted:
    """Play one row; what its components said goes with a failure."""
    with ExitStack() as stack:
        bench = Bench(folder, stack)
        try:
            return enact(bench, row)
        except BaseException as error:
            for running in bench.running:
                error.add_note(f"{running.name} said: {running.output[-LOG_TAIL_CHARS:]}")
            raise


@pytest.mark.timeout(400)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.scenario)
def test_real_packets_are_judged_as_simulated_ones(
    enacted: Mapping[str, Future[Enacted]],
    row: Row,
    record_property: Callable[[str, object], None],
) -> None:
    """Green before, the rule was met, the expected alerts and no others, in time, and over."""
    seen = enacted[row.scenario].result()
    judged = seen.judged
    record_property("opened_after_s", judged.opened_s)
    record_property("paged_after_s", judged.paged_s)
    record_property("cause", judged.cause)
    assert not judged.problems, "\n".join((*judged.problems, *seen.said))
