"""``psapwatch respond``: an automatic answering point to place behind a firewall."""

from __future__ import annotations

import asyncio
import signal

import click

from psapwatch.cli.doors import Failed
from psapwatch.endpoint import Address, Tls, TransportName
from psapwatch.net.answering import PER_SOURCE_A_SECOND, Answering
from psapwatch.net.system import SystemEntropy, raise_file_limit
from psapwatch.sip.answering_point import AnsweringPoint
from psapwatch.sip.answering_script import SCRIPTS

_SCRIPT = "multipart"
"""Mirror and text/plain identity in one body, as RFC 6881 ED-78 and ED-79 want it."""


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
    default=PER_SOURCE_A_SECOND,
    show_default=True,
    help="Requests a second from one source.",
)
def respond(
    listen: str,
    transports: tuple[TransportName, ...],
    name: str,
    cert: str | None,
    key: str | None,
    ca: str | None,
    per_source: float,
) -> None:
    """Answer OPTIONS and test calls (RFC 6881 15); any INVITE that is not to a test URN gets 404.

    \b
    Example:
      psapwatch respond --listen 192.0.2.80:5060 --name "reference east"
    """
    where = _address(listen)
    if "tls" in transports and not (cert and key):
        raise click.UsageError("--transport tls needs --cert and --key")
    raise_file_limit()
    tls = Tls(ca, cert, key) if cert else None
    asyncio.run(_serve(where, transports, name, tls, per_source))


async def _serve(
    where: Address,
    transports: tuple[TransportName, ...],
    name: str,
    tls: Tls | None,
    per_source: float,
) -> None:
    loop, entropy = asyncio.get_running_loop(), SystemEntropy()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    listening = []
    for transport in dict.fromkeys(transports):
        higher = transport == "tls" and len(transports) > 1
        at = Address(where.host, where.port + 1 if higher else where.port)
        point = AnsweringPoint(
            SCRIPTS[_SCRIPT], name=name, tag=lambda: entropy.token(8), address=at
        )
        answering = Answering(point, transport, tls=tls, per_source_a_second=per_source)
        try:
            opened = await answering.open()
        except OSError as why:
            raise Failed(f"cannot listen on {at} over {transport}: {why.strerror or why}") from None
        listening.append(answering)
        click.echo(f"answering on {opened} over {transport} as {name!r}")
    await ended.wait()
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
    return Address(host.strip("[]"), int(port))
