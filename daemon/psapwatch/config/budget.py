"""The load that a schedule comes to, and whether it stays within the limits.

Counted are the messages that we send and the calls that we begin while all is well: an OPTIONS
attempt is one message, a walk one a step, a test call three (INVITE, ACK, BYE). Retransmissions
and the confirm burst of an outage are held to the same limits at run time. ``concurrent_calls`` is
the worst case, every call silent until it is given up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from psapwatch.config.shape import Config
from psapwatch.duration import print_duration
from psapwatch.endpoint import Check, Path, Psap

MESSAGES_OF_OPTIONS: Final = 1
MESSAGES_OF_CALL: Final = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """What goes through one firewall, or to one PSAP."""

    messages_per_second: float = 0.0
    calls_per_second: float = 0.0
    concurrent_calls: float = 0.0

    def __add__(self, other: Rate) -> Rate:
        return Rate(
            self.messages_per_second + other.messages_per_second,
            self.calls_per_second + other.calls_per_second,
            self.concurrent_calls + other.concurrent_calls,
        )


@dataclass(frozen=True, slots=True)
class Load:
    """The rates of a configuration, by firewall id and by PSAP id."""

    total: Rate
    firewalls: Mapping[str, Rate]
    psaps: Mapping[str, Rate]


def load_of(config: Config) -> Load:
    """Return the load that the schedule of ``config`` comes to."""
    firewalls = {firewall.id: Rate() for firewall in config.firewalls}
    psaps = {psap.id: Rate() for psap in config.psaps}
    total = Rate()
    shares = _call_shares(config)
    for check in config.checks:
        for path in config.watched(check):
            rate = _rate(check, path, shares)
            total += rate
            if check.on != "control":  # the control's way does not cross the firewall
                firewalls[path.firewall.id] += rate
            if check.on == "psaps":
                psaps[path.psap.id] += rate
    return Load(total, firewalls, psaps)


def _call_shares(config: Config) -> dict[str, float]:
    """Return by PSAP the part of the wanted calls that its agreement leaves to this vantage."""
    wanted: dict[str, float] = {}
    psaps: dict[str, Psap] = {}
    for check in config.checks:
        if check.is_call and check.on == "psaps":
            for path in config.watched(check):
                wanted[path.psap.id] = wanted.get(path.psap.id, 0.0) + 1 / check.every_s
                psaps[path.psap.id] = path.psap
    return {
        psap_id: min(1.0, 1 / (agreement.round_s * rate))
        for psap_id, rate in wanted.items()
        if (agreement := psaps[psap_id].agreement)
    }


def _rate(check: Check, path: Path, shares: Mapping[str, float]) -> Rate:
    attempts = 1 / check.every_s
    if not check.is_call:
        steps = getattr(check.settings, "hops", MESSAGES_OF_OPTIONS)
        return Rate(messages_per_second=steps * attempts)
    calls = attempts * shares.get(path.psap.id, 1.0)
    return Rate(MESSAGES_OF_CALL * calls, calls, calls * check.give_up_after_s)


def excesses(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield firewall id, limit and message for each limit that the schedule is above."""
    load = load_of(config)
    for firewall in config.firewalls:
        rate = load.firewalls[firewall.id]
        for limit in ("messages_per_second", "calls_per_second", "concurrent_calls"):
            planned, allowed = getattr(rate, limit), getattr(firewall.limits, limit)
            if planned > allowed:
                yield (
                    firewall.id,
                    limit,
                    f"the schedule comes to {planned:.4g}, above this limit of {allowed:g}",
                )


def print_load(config: Config) -> list[str]:
    """Return the lines that ``check-config`` prints for a good configuration."""
    load = load_of(config)
    counted = ("psaps", "paths", "firewalls", "checks")
    sizes = ", ".join(f"{len(getattr(config, name))} {name}" for name in counted)
    lines = [f"{config.file}: {sizes}", f"all: {_print_rate(load.total)}"]
    for firewall in config.firewalls:
        limits = firewall.limits
        lines.append(
            f"firewall {firewall.id}: {_print_rate(load.firewalls[firewall.id])} (limits "
            f"{limits.messages_per_second:g} messages/s, {limits.calls_per_second:g} calls/s, "
            f"{limits.concurrent_calls} calls at once)"
        )
    for psap in config.psaps:
        rate = load.psaps[psap.id]
        lines.append(f"psap {psap.id}: {_print_rate(rate)}{_print_interval(psap, rate)}")
    return [*lines, *_print_shared(config), *_print_large(config)]


def _print_shared(config: Config) -> Iterator[str]:
    """Say where several PSAPs are called under one URI: each has a floor of its own."""
    shares, called = _call_shares(config), dict[str, dict[str, float]]()
    for check in config.checks:
        for path in config.watched(check) if check.is_call and check.on == "psaps" else ():
            rates = called.setdefault(path.uri, {})
            rate = _rate(check, path, shares).calls_per_second
            rates[path.psap.id] = rates.get(path.psap.id, 0.0) + rate
    for uri, rates in called.items():
        if len(rates) > 1:
            often = f"a call every {1 / sum(rates.values()):.1f} s in all"
            yield f"{uri}: {len(rates)} psaps are called there, {often}"


def _print_large(config: Config) -> Iterator[str]:
    """Say what becomes, over UDP, of the calls that are too long for one datagram."""
    for check in config.checks:
        content = next(
            (name for name in ("location", "padding") if getattr(check.settings, name, False)), ""
        )
        udp = [path for path in config.watched(check) if path.transport == "udp"]
        if not content or not udp:
            continue
        becomes = (
            f"the {content} is left out over UDP, where RFC 3261 18.1.1 wants a stream"
            if check.on == "psaps"
            else f"the {content} goes over UDP as well, in fragments"
        )
        ways = f"{len(udp)} path{'s' if len(udp) > 1 else ''}"
        yield f"check {check.name} on {check.on}: {becomes} ({ways})"


def _print_rate(rate: Rate) -> str:
    return f"{rate.messages_per_second:.4g} messages/s, {rate.calls_per_second:.4g} calls/s"


def _print_interval(psap: Psap, rate: Rate) -> str:
    if not psap.agreement:
        return " (OPTIONS only: no consent to test calls)"
    if not rate.calls_per_second:
        return " (no check calls it)"
    return f" (one call every {print_duration(round(1 / rate.calls_per_second))})"
