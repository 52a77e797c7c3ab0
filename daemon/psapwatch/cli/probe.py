"""``psapwatch probe``: one attempt now, its ladder, phases and verdict."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import signal
import sys
from dataclasses import replace
from typing import Final

import click

from psapwatch.cli.doors import Failed, loaded, store_to_change
from psapwatch.config.build import GIVE_UP_AFTER_S
from psapwatch.config.explain import did_you_mean
from psapwatch.config.shape import OWN_RESPONDER, Config
from psapwatch.config.words import sip_uri, transport_of
from psapwatch.daemon import Daemon
from psapwatch.endpoint import Check, Firewall, Identity, Path, Psap, Source, TransportName
from psapwatch.evidence import Evidence
from psapwatch.net.sockets import source_towards
from psapwatch.net.system import close_world, system_world
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.probes.walk import WalkSettings
from psapwatch.report import attempt_json, ladder, phase_summary, verdict_line
from psapwatch.sip.uri import parse_uri
from psapwatch.store.redact import redacted
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store
from psapwatch.verdict import Outcome, Verdict
from psapwatch.wording import clock
from psapwatch.world import CallForbidden

EXIT: Final = {
    Outcome.PASS: 0,
    Outcome.DEGRADED: 1,
    Outcome.FAIL: 2,
    Outcome.INCONCLUSIVE: 3,
}
_SETTINGS: Final[dict[str, CallSettings | OptionsSettings | WalkSettings]] = {
    "options": OptionsSettings(),
    "call": CallSettings(),
    "walk": WalkSettings(),
    "walk-ip": WalkSettings(by="ttl"),
}
_SCHEMES: Final = ("sip", "sips", "tel", "urn")
TOLD_FROM_S: Final = 2.0
"""Who waits longer for a floor is told until when."""
_LINGER_S: Final = 4.0
"""How long a command waits for its call to end before it leaves the rest to the ledger."""


@click.command()
@click.argument("uri")
@click.option(
    "--kind",
    type=click.Choice(["options", "call", "walk", "walk-ip"]),
    default="options",
    show_default=True,
    help="walk: who answers on the way, SIP hops; walk-ip: IP hops.",
)
@click.option("--transport", type=click.Choice(["udp", "tcp", "tls"]), help="Default: the URI's.")
@click.option("--config", "file", metavar="FILE", help="Probe a path of this configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print evidence and verdict as JSON.")
def probe(
    uri: str,
    kind: str,
    transport: TransportName | None,
    file: str | None,
    as_json: bool,
) -> None:
    """Make one attempt at URI now: exit 0 ok, 1 degraded, 2 failed, 3 inconclusive.

    Anybody may be asked with OPTIONS. A call is placed only on a commissioned path of a
    configuration, to a reference of it, or to loopback, under the daemon's floor and ledger.

    \b
    Example:
      psapwatch probe "sip:psap1.example.gov;transport=tcp"
      psapwatch probe ma-boston/east --kind call --config /etc/psapwatch/psapwatch.yml
      psapwatch probe "sip:psap1.example.gov" --kind walk
    """
    evidence, verdict = asyncio.run(_probe(uri, kind, transport, file))
    show(evidence, verdict, as_json=as_json)
    sys.exit(EXIT[verdict.outcome])


def show(evidence: Evidence, verdict: Verdict, *, as_json: bool) -> None:
    """Print one attempt for people or for scripts."""
    if as_json:
        click.echo(json.dumps(attempt_json(redacted(evidence), verdict), indent=2))
        return
    click.echo(ladder(evidence))
    click.echo(phase_summary(evidence))
    click.echo(verdict_line(verdict))


async def one_attempt(
    config: Config,
    store: Store,
    path: Path,
    check: Check,
    *,
    supervised: bool = False,
    wait: bool = False,
) -> tuple[Evidence, Verdict]:
    """Make one attempt under the ledger, floor and budgets of a configuration.

    ``supervised`` lifts only the rule that a PSAP must be commissioned; ``wait`` waits for the
    floor.
    """
    daemon = Daemon(config, system_world(dns_servers=config.dns.servers), store)
    daemon.watch.permits.know(config.psaps)
    await daemon.watch.permits.recall(config.psaps, daemon.world.clock.wall())
    daemon.watch.run((), config.firewalls)
    # As Ctrl-C does: a call that is open is ended first. ``main`` says how it came to an end.
    ending = asyncio.current_task()
    if ending is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.cancel)
    daemon.watch.permits.supervised = supervised
    try:
        while True:
            try:
                return await daemon.watch.probe(path, check)
            except CallForbidden as no:
                wall = daemon.world.clock.wall()
                wait_s = daemon.watch.permits.ask(path, wall).wait_s
                when = f", not before {clock(wall + wait_s)}" if wait_s else ""
                if not wait or not wait_s:
                    raise Failed(f"not called: {no}{when}") from None
                if wait_s >= TOLD_FROM_S:
                    click.echo(f"waiting: {no}{when}; Ctrl-C ends it", err=True)
                await asyncio.sleep(wait_s + 0.01)
    finally:
        await daemon.watch.stop(_LINGER_S)
        await close_world(daemon.world)


async def _probe(
    uri: str, kind: str, transport: TransportName | None, file: str | None
) -> tuple[Evidence, Verdict]:
    if file is not None:
        config = loaded(file)
        path = _named(config, uri)
        if path is not None:
            return await _configured(config, path, kind)
        if kind == "call" or not _is_uri(uri):
            near = did_you_mean(uri, [each.key for each in config.all_paths])
            raise Failed(f"{uri!r} is no path of {file}{near}; write PSAP/PATH, or its URI")
    path = _path(uri, transport)
    if kind == "call" and not _is_loopback(path.uri):
        raise Failed(
            "a call needs --config and a commissioned path; without, only loopback is called"
        )
    config = _bare(path)
    return await one_attempt(config, Store(":memory:", Inline()), path, _check(kind))


def _named(config: Config, name: str) -> Path | None:
    """The first path of this key or URI, or the only one of a PSAP."""
    exact = [each for each in config.all_paths if name in (each.key, each.uri)]
    of_psap = [each for each in config.all_paths if name == each.psap.id]
    return exact[0] if exact else of_psap[0] if len(of_psap) == 1 else None


def _is_uri(text: str) -> bool:
    """Whether it may be a URI or an address, and no name out of a configuration."""
    return "/" not in text and any(sign in text for sign in ":.")


async def _configured(config: Config, path: Path, kind: str) -> tuple[Evidence, Verdict]:
    check = next(
        (
            check
            for check in config.checks
            if check.settings.kind == kind and path in config.watched(check)
        ),
        _check(kind),
    )
    store = store_to_change(config) if kind == "call" else Store(":memory:", Inline())
    try:
        return await one_attempt(config, store, path, check)
    finally:
        await store.close()


def _check(kind: str) -> Check:
    settings = _SETTINGS[kind]
    return Check("probe", 60.0, GIVE_UP_AFTER_S[settings.kind], settings)


def _path(uri: str, transport: TransportName | None) -> Path:
    """A path to a bare URI, from the address that this machine would use."""
    text = uri if uri.partition(":")[0].lower() in _SCHEMES else f"sip:{uri}"
    try:
        where = parse_uri(sip_uri(text))
        chosen = transport or transport_of(text)
    except ValueError as bad:
        hint = "; a path of a configuration needs --config FILE" if "/" in uri else ""
        raise click.BadParameter(f"{uri!r}: {bad}{hint}", param_hint="URI") from None
    if where.scheme.lower() == "sips" and chosen != "tls":
        raise click.BadParameter(
            "sips: goes over TLS alone (RFC 3261 26.2.2)", param_hint="--transport"
        )
    firewall = Firewall("none", (Source(source_towards(where.reaches)),))
    psap = Psap("probe", "", agreement=OWN_RESPONDER if _is_loopback(text) else None)
    return Path(psap, "probe", "here", firewall, text, chosen)


def _is_loopback(uri: str) -> bool:
    """Whether a request to it stays on this machine, whatever else the URI says."""
    try:
        return ipaddress.ip_address(parse_uri(uri).reaches).is_loopback
    except ValueError:
        return False


def _bare(path: Path) -> Config:
    """A configuration of one path, for a probe without a file."""
    return replace(
        Config.empty(),
        identity=Identity("sip:psapwatch-probe@invalid"),
        firewalls=(path.firewall,),
        psaps=(path.psap,),
        paths=(path,),
    )
