"""``psapwatch respond``: an automatic answering point to place behind a firewall."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass, replace
from typing import Final

import click

from psapwatch.cli.doors import Failed, Written
from psapwatch.config.files import BadFile, load_pair
from psapwatch.endpoint import Address, PortRange, Tls, TransportName
from psapwatch.net.answering import PER_SOURCE_A_SECOND, Answering
from psapwatch.net.mirror_ports import MIRRORS_MAX
from psapwatch.net.system import SystemEntropy, raise_file_limit
from psapwatch.rtp.mirror import ECHOES, Manner
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS, Script
from psapwatch.systemd import Systemd

_SCRIPT = "multipart"
"""Mirror and text/plain identity in one body, as RFC 6881 ED-78 and ED-79 want it."""
_NUMBER: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?", re.ASCII)


def _rate(text: str) -> float:
    rate = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not rate > 0:
        raise ValueError(f"{text!r}: write how many requests a second, more than 0, such as 20")
    return rate


@click.command()
@click.option("--listen", required=True, metavar="HOST:PORT", help="Where to answer.")
@click.option(
    "--transport",
    "transports",
    type=click.Choice(["udp", "tcp", "tls"]),
    multiple=True,
    default=("udp", "tcp"),
    show_default=True,
    help="May be given several times; tls listens one port higher when it is not alone.",
)
@click.option("--name", default="psapwatch reference", show_default=True, help="Who answers.")
@click.option(
    "--cert", type=click.Path(exists=True, dir_okay=False), help="PEM certificate for tls."
)
@click.option("--key", type=click.Path(exists=True, dir_okay=False), help="PEM key for tls.")
@click.option(
    "--ca", type=click.Path(exists=True, dir_okay=False), help="Ask peers for certificates."
)
@click.option(
    "--per-source",
    type=Written("RATE", _rate),
    default=PER_SOURCE_A_SECOND,
    show_default=True,
    help="Requests a second from one source.",
)
@click.option(
    "--echoes",
    type=click.IntRange(1, 500),
    default=ECHOES,
    show_default=True,
    help="RTP packets mirrored in one call; to measure loss and MOS a reference needs 50.",
)
@click.option(
    "--rtp-ports",
    default="0-0",
    show_default=True,
    metavar="LOW-HIGH",
    help="Ports for media, RTP on the even ones; 0-0 lets the system choose.",
)
@click.option(
    "--calls",
    type=click.IntRange(1, 1_000),
    default=MIRRORS_MAX,
    show_default=True,
    help="Calls mirrored at once; more get 486.",
)
def respond(
    listen: str,
    transports: tuple[TransportName, ...],
    name: str,
    cert: str | None,
    key: str | None,
    ca: str | None,
    per_source: float,
    echoes: int,
    rtp_ports: str,
    calls: int,
) -> None:
    """Answer OPTIONS and test calls (RFC 6881 15); any INVITE that is not to a test URN gets 404.

    Media is mirrored (RFC 6849) to the host that called, and to nobody else. A header of every
    answer tells what was seen of the request, so that whoever rewrites it on the way is found.

    \b
    Example:
      psapwatch respond --listen 192.0.2.80:5060 --name "reference east"
    """
    where = _address(listen)
    if "tls" in transports and not (cert and key):
        raise click.UsageError("--transport tls needs --cert and --key")
    if "tls" not in transports and (cert or key or ca):
        raise click.UsageError(
            "--cert, --key and --ca are for TLS, which is not listened on; add --transport tls"
        )
    if cert and key:
        try:
            load_pair(cert, key)
        except BadFile as bad:
            raise Failed(str(bad)) from None
    raise_file_limit()
    tls = Tls(ca, cert, key) if cert else None
    media = _Media(echoes, _ports(rtp_ports), calls)
    asyncio.run(_serve(where, transports, name, tls, per_source, media))


@dataclass(frozen=True, slots=True)
class _Media:
    """How much is mirrored, and on which ports."""

    echoes: int
    ports: PortRange
    calls: int

    @property
    def script(self) -> Script:
        """A good answering point's behaviour with so many echoes."""
        return replace(SCRIPTS[_SCRIPT], manner=Manner(echoes_max=self.echoes))


async def _serve(
    where: Address,
    transports: tuple[TransportName, ...],
    name: str,
    tls: Tls | None,
    per_source: float,
    media: _Media,
) -> None:
    loop, entropy = asyncio.get_running_loop(), SystemEntropy()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    listening = []
    for transport in dict.fromkeys(transports):
        higher = transport == "tls" and len(transports) > 1
        at = Address(where.host, where.port + 1 if higher else where.port)
        point = AnsweringPoint(media.script, name=name, tag=lambda: entropy.token(8), address=at)
        point.tells_what_it_saw = True
        answering = Answering(
            point,
            transport,
            tls=tls,
            per_source_a_second=per_source,
            rtp_ports=media.ports,
            mirrors_max=media.calls,
        )
        try:
            opened = await answering.open()
        except OSError as why:
            raise Failed(f"cannot listen on {at} over {transport}: {why.strerror or why}") from None
        listening.append(answering)
        click.echo(f"answering on {opened} over {transport} as {name!r}")
    systemd = Systemd.of(os.environ, os.getpid())
    systemd.ready(f"answering as {name}")
    await ended.wait()
    systemd.stopping()
    for answering in listening:
        answering.close()
    left = sum(answering.point.open_calls for answering in listening)
    click.echo(f"stopped; {left} calls were open")


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise click.BadParameter(
            f"{text!r}: write HOST:PORT, such as 192.0.2.80:5060", param_hint="--listen"
        )
    if host in ("", "*", "0.0.0.0", "[::]"):  # noqa: S104 - refused, not bound
        raise click.BadParameter(
            f"{text!r}: write the address that callers reach; answers and media name it",
            param_hint="--listen",
        )
    return Address(host.strip("[]"), int(port))


def _ports(text: str) -> PortRange:
    low, dash, high = text.partition("-")
    if not dash or not low.isdecimal() or not high.isdecimal():
        raise click.BadParameter(f"{text!r}: write LOW-HIGH", param_hint="--rtp-ports")
    ports = PortRange(int(low), int(high))
    if ports != PortRange(0, 0) and not 0 < ports.low < ports.high <= 65_535:
        raise click.BadParameter(f"{text!r}: no range of ports", param_hint="--rtp-ports")
    return ports
