"""How long after a press on the demo's page its true alert can be read there.

    python tests/button_presses.py [--each 10] [--seed 1] [--kind invite] [--target town]

Starts ``psapwatch demo --endless`` on real sockets, presses each kind of button for everything
behind a firewall, for a county and for a town, by chance, one after another; prints seconds for
each press and a table. The exit code is 1 when any truth came later than promised, or not alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

import click

from components.daemon import PROGRAM
from components.inbox import fetch
from components.ports import free_port
from components.pressing import CAUSES, Press, Read, lift, press, wait_until_well, well_after
from components.process import Bench, Running
from psapwatch.demo.towns import COUNTIES, FIREWALLS, TOWNS
from psapwatch.simulator.chance import Random, seeded

PROMISED_S: Final = 15.0
LOOKED_FOR_S: Final = 60.0
"""So long is an alert that is late waited for, to know how late it is."""
HOLD_S: Final = 2.0
"""So long does a block last after its alert was read: a second alert would come then."""
TARGETS: Final = ("firewall", "county", "town")


def button(target: str, kind: str, counties: Sequence[str], chance: Random) -> Press:
    """One button of that sort; the county by chance first, so that small ones come as often."""
    county = chance.choice(counties)
    if target == "firewall":
        return Press(chance.choice(FIREWALLS), kind)
    if target == "county":
        return Press(COUNTIES[county], kind, county)
    town = chance.choice([town for town in TOWNS if town.county == county])
    return Press(town.firewall, kind, town.id)


def start(bench: Bench) -> tuple[Running, str]:
    """Start the demo; returns it and where its page is."""
    where = f"127.0.0.1:{free_port()}"
    demo = bench.start("demo", [str(PROGRAM), "demo", "--endless", "--listen", where])
    url = f"http://{where}"
    demo.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready", 20)
    wait_until_well(url)
    return demo, url


def line(button: Press, read: Read) -> str:
    """One press in words."""
    told, named, well = (
        "never" if each is None else f"{each:5.1f}"
        for each in (read.told_s, read.named_s, read.well_s)
    )
    others = f"; ALSO {', '.join(read.others)}" if read.others else ""
    return (
        f"{button.kind:8} {button.only or button.firewall:22} told {told}  named {named}  "
        f"well {well}  {read.cause}{others}"
    )


def table(found: Sequence[tuple[str, Press, Read]]) -> list[str]:
    """Median and worst of each kind and target."""
    rows = ["", f"{'kind':8} {'target':9} presses  median  worst  with others"]
    for kind in CAUSES:
        for target in TARGETS:
            reads = [read for of, asked, read in found if (of, asked.kind) == (target, kind)]
            if reads:
                seconds = [read.read_s for read in reads]
                others = sum(bool(read.others) for read in reads)
                rows.append(
                    f"{kind:8} {target:9} {len(reads):7}  {median(seconds):6.1f}  "
                    f"{max(seconds):5.1f}  {others}"
                )
    return rows


@click.command()
@click.option("--each", default=10, show_default=True, help="Presses of each kind and target.")
@click.option("--seed", default=1, show_default=True, help="Which towns, and in which order.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(CAUSES)))
@click.option("--target", "targets", multiple=True, type=click.Choice(TARGETS))
@click.option("--county", "counties", multiple=True, type=click.Choice(list(COUNTIES)))
def main(
    each: int,
    seed: int,
    kinds: tuple[str, ...],
    targets: tuple[str, ...],
    counties: tuple[str, ...],
) -> None:
    """Press, read, lift, and wait until all is well again."""
    chance = seeded(seed, "presses")
    presses = [
        (target, button(target, kind, counties or sorted(COUNTIES), chance))
        for target in targets or TARGETS
        for kind in kinds or CAUSES
        for _nth in range(each)
    ]
    chance.shuffle(presses)
    found: list[tuple[str, Press, Read]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        demo, url = start(Bench(Path(folder), stack))
        for target, asked in presses:
            try:
                read = press(url, asked, LOOKED_FOR_S, hold_s=HOLD_S)
                assert lift(url) == 1, "the firewall stopped nothing"
                read = well_after(url, read)
            except AssertionError as wrong:
                click.echo(f"{asked}: {wrong}\n{demo.output}")
                raise
            found.append((target, asked, read))
            click.echo(line(asked, read))
        code = demo.end()
    click.echo("\n".join(table(found)))
    late = [read for _target, _asked, read in found if read.read_s > PROMISED_S or read.others]
    click.echo(f"\n{len(found)} presses, {len(late)} late or not alone; the demo ended with {code}")
    sys.exit(1 if late or code else 0)


if __name__ == "__main__":
    main()
