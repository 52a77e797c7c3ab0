"""The documentation is executed: every block of shell that is not marked `no-run`, page by page.

Blocks run in order on a booted machine that has the addresses and answering points of the examples.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner

from components.machine import INSTALL, Machine
from components.waiting import until
from deploy.shipped import RUNBOOKS
from deploy.test_runbooks import resolved
from psapwatch.cli.main import cli
from source_tree import ROOT

pytestmark = pytest.mark.timeout(300)  # the first test of a run installs and boots

DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(DOCS.glob("*.md"))
EVERYWHERE: Final = (*PAGES, *sorted(RUNBOOKS.glob("*.md")), *sorted(ROOT.glob("*.md")))
LANGUAGES: Final = {"", "sh", "sh no-run", "sh install", "console", "yaml", "text", "json"}
SOON_S: Final = 30.0
ADDRESSES: Final = ("192.0.2.10", "192.0.2.11", "203.0.113.20", "203.0.113.21")
"""Of the examples: our two sources, an answering point, a responder of our own."""
PSAP: Final = "203.0.113.20"
ANSWERS: Final = f"""\
[Service]
Type=notify
ExecStart=/usr/local/bin/psapwatch respond --listen {PSAP}:5060 --name "Boston PD"
"""
"""The unit of the answering point; a transient one may outlive its end over a daemon-reload."""
NOT_A_FAILURE: Final = {"status", "probe"}
"""Commands whose exit code is their answer."""
FOLDER: Final = "/srv/docs"
CONFIG: Final = "/etc/psapwatch/psapwatch.yml"


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks, in order; those inside of lists too."""
    found, opened, indent, lines = [], None, "", list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"^( *)```(.*)$", line)
        if fence and opened is None:
            opened, indent, lines = (number, fence[2].strip()), fence[1], []
        elif fence and opened is not None:
            found.append(Block(page, *opened, "\n".join(lines)))
            opened = None
        else:
            lines.append(line.removeprefix(indent))
    assert opened is None, f"{page}: a block is not closed"
    return found


def executed(page: Path) -> list[Block]:
    """Return the blocks that a reader would type."""
    return [block for block in blocks(page) if block.language == "sh"]


def sample_configuration() -> str:
    """The configuration that the quick start has its reader write, with a faster schedule."""
    text = next(
        block.text for block in executed(DOCS / "quick-start.md") if "<<'END'" in block.text
    )
    written = text.partition("<<'END'\n")[2].partition("\nEND")[0]
    return f"{written}\n".replace(
        "every: 15s, give_up_after: 4s", "every: 1s, give_up_after: 500ms"
    )


@pytest.fixture
def lab(machine: Machine) -> Iterator[Machine]:
    """The machine with the examples' addresses and an answering point, and nothing configured."""
    for address in ADDRESSES:
        machine.run("ip", "address", "replace", f"{address}/32", "dev", "lo")
    names = {path: machine.run("cat", path).stdout for path in ("/etc/hosts", "/etc/resolv.conf")}
    try:
        machine.write("/etc/hosts", f"127.0.0.1 localhost\n{PSAP} psap1.example.gov\n")
        machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        machine.write("/run/systemd/system/psap1.service", ANSWERS)
        machine.run("systemctl", "daemon-reload")
        _clear(machine)
        answer_again(machine)
        yield machine
        _clear(machine)
    finally:  # whoever installs next needs the names
        for path, text in names.items():
            machine.write(path, text)


def _clear(machine: Machine) -> None:
    for unit in ("psapwatch", "psapwatch-responder", "psap1"):
        machine.run("systemctl", "disable", "--now", unit, check=False)
        machine.run("systemctl", "reset-failed", unit, check=False)
    machine.shell(f"rm -rf /etc/psapwatch/* /var/lib/private/psapwatch {FOLDER}")
    machine.run("install", "-d", "-m", "0700", "/etc/psapwatch/secrets")


def answer_again(machine: Machine) -> None:
    """Have the answering point of the examples answer."""
    machine.run("systemctl", "start", "psap1")


def configured(machine: Machine) -> None:
    """Have the daemon run on the quick start's configuration, every path up."""
    machine.write(CONFIG, sample_configuration())
    machine.run("systemctl", "start", "psapwatch")
    ready = ("psapwatch", "status", "--all", "--json")
    until(lambda: '"state": "up"' in machine.run(*ready, check=False).stdout, SOON_S, "is up")


def after_an_outage(machine: Machine) -> None:
    """As ``configured``, with an incident that is open."""
    configured(machine)
    machine.run("systemctl", "stop", "psap1")
    listed = ("psapwatch", "incidents", "list", "--json")
    until(lambda: '"CallsBlocked"' in machine.run(*listed).stdout, SOON_S, "an incident is open")
    answer_again(machine)


def nothing(machine: Machine) -> None:
    """Neither prepare nor look for anything."""


BEFORE: Final[dict[str, Callable[[Machine], None]]] = {
    "quick-start": nothing,
    "operations": after_an_outage,
}
"""What a page's reader has already; a running daemon where nothing else is said."""


def watching_with_consent(machine: Machine) -> None:
    """Who followed the quick start has a service that watches, and calls that are allowed."""
    assert machine.run("systemctl", "is-enabled", "psapwatch").stdout.strip() == "enabled"
    answer = machine.run("psapwatch", "status", "--json", check=False).stdout
    assert [path["psap"] for path in json.loads(answer)["paths"]] == ["ma-boston"]
    again = ("psapwatch", "probe", "ma-boston/east", "--kind", "call", "--config", CONFIG)
    refused = machine.run(*again, check=False).stderr
    assert "called too recently" in refused  # and no longer: not commissioned


AFTER: Final[dict[str, Callable[[Machine], None]]] = {"quick-start": watching_with_consent}
"""What a page's reader has at its end, beyond commands that succeeded."""


def test_every_block_says_what_it_is() -> None:
    """Shell is `sh`, `sh install` or `sh no-run`: no command escapes by another name."""
    other = [
        str(each) for page in EVERYWHERE for each in blocks(page) if each.language not in LANGUAGES
    ]
    assert other == []
    unnamed = [
        str(each)
        for page in EVERYWHERE
        for each in blocks(page)
        if each.language in {"", "text"}
        and re.search(r"^(psapwatch|systemctl|make) \S", each.text, re.MULTILINE)
    ]
    assert unnamed == []


def spoken() -> list[tuple[str, list[str]]]:
    """Each command that a sentence or a table names: where, and its words.

    ``stop|resume`` are two commands, and so is what a pipe joins; a word in capitals or brackets
    stands for another.
    """
    found = []
    for page in EVERYWHERE:
        text = page.read_text(encoding="utf-8").replace("\\|", "|")
        said = re.findall(r"`(?:sudo )?(psapwatch [^`\n]+)`", text)
        for command in (each for line in said for each in line.split(" | ")):
            choices = [word.split("|") for word in shlex.split(command)[1:]]
            found += [(f"{page.name}: {command}", [*words]) for words in product(*choices)]
    return found


@pytest.mark.parametrize(
    ("where", "words"), spoken(), ids=[f"{where}-{words[-1]}" for where, words in spoken()]
)
def test_commands_that_are_spoken_of_exist(where: str, words: list[str]) -> None:
    """Every command and every option that a sentence names is one that the program has."""
    command = resolved(words)
    assert command is not cli or words == ["--version"], where
    options = {name for each in command.params for name in each.opts}
    asked = {word for word in words if word.startswith("-") and word != "-"}  # standard input
    assert asked <= options | {"--help"}, where
    if isinstance(command, click.Group):
        assert asked or command.invoke_without_command or not words, where


def test_targets_of_make_that_are_spoken_of_exist() -> None:
    """Every ``make TARGET`` that a page names, in a sentence or a block, is in the Makefile."""
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = {
        target
        for page in EVERYWHERE
        for words in (
            re.findall(r"`make ([\w-]+)", page.read_text("utf-8")),
            *(re.findall(r"^make ([\w-]+)", block.text, re.MULTILINE) for block in blocks(page)),
        )
        for target in words
    }
    assert named
    assert named <= set(targets)


def test_the_configuration_of_the_readme_is_accepted() -> None:
    """What a reader copies from the first page loads as it stands."""
    [config] = [block.text for block in blocks(ROOT / "README.md") if block.language == "yaml"]
    done = CliRunner().invoke(cli, ["check-config", "--config", "-"], input=config)
    assert done.exit_code == 0, done.output


def test_the_call_of_the_readme_is_placed(lab: Machine) -> None:
    """The command of the first page, and the messages that it shows, in their order."""
    [shown] = [block.text for block in blocks(ROOT / "README.md") if block.language == "console"]
    begun, command, expected = shown.removeprefix("$ ").split("\n", 2)
    unit = ("systemd-run", "--quiet", "--collect", "--unit=psap2", "--property=Type=notify")
    lab.run(*unit, *begun.removesuffix(" &").split())
    done = lab.shell(command.removeprefix("$ "))
    lab.run("systemctl", "stop", "psap2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert messages(done.stdout) == messages(expected)


def messages(ladder: str) -> list[str]:
    """The messages of a ladder, without what is different each time."""
    return re.findall(r"\|(?:---|<--) (\w+(?: (?:urn\S+|OK))?)", ladder)


def test_installation_is_what_the_machine_was_made_by() -> None:
    """Every `sh install` block is the command by which the tests' machine was installed."""
    wanted = [each for page in EVERYWHERE for each in blocks(page) if each.language == "sh install"]
    assert len(wanted) >= 2
    assert {each.text for each in wanted} == {INSTALL}


def test_links_lead_somewhere() -> None:
    """Every link of a page to a file, and to a heading of it, is to one that is there."""
    broken = []
    for page in EVERYWHERE:
        for link, heading in re.findall(
            r"\]\(([\w./-]+)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8")
        ):
            target = (page.parent / link).resolve()
            if not target.exists() or (heading and heading not in _headings(target)):
                broken.append(f"{page.name}: {link}#{heading}")
    assert broken == []


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_index_names_every_page() -> None:
    """A page that nobody finds is none."""
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8"))
    assert {page.name for page in PAGES} - {"README.md"} <= set(linked)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if executed(page)], ids=lambda page: page.stem
)
def test_commands_of_a_page_work(lab: Machine, page: Path) -> None:
    """Each block, typed in order, succeeds."""
    BEFORE.get(page.stem, configured)(lab)
    lab.run("mkdir", "-p", FOLDER)
    for block in executed(page):
        done = lab.shell(f"cd {FOLDER}\n{block.text}")
        said = f"{block} ended with {done.returncode}:\n{block.text}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{said}\n{lab.journal('psapwatch')[-3_000:]}"
    AFTER.get(page.stem, nothing)(lab)


def console() -> list[tuple[str, str]]:
    """Each command that a runbook has its reader type: page and command."""
    return [
        (page.stem, line.removeprefix("$ "))
        for page in sorted(RUNBOOKS.glob("*.md"))
        for block in blocks(page)
        if block.language == "console"
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


def test_commands_of_the_runbooks_work(lab: Machine) -> None:
    """Each command of a runbook, after an outage and with test calls stopped where it resumes."""
    after_an_outage(lab)
    found = json.loads(lab.run("psapwatch", "incidents", "list", "--json").stdout)
    assert len(console()) >= 5
    for page, command in console():
        if "calls resume" in command:
            lab.run(
                "psapwatch", "calls", "stop", "--psap", "ma-boston", "--why", "test", check=False
            )
        typed = re.sub(r"\bID\b", found[0]["id"], command)
        done = lab.shell(f"cd /etc/psapwatch\n{typed}")
        is_answer = command.split()[1] in NOT_A_FAILURE and done.returncode in {1, 2, 3}
        said = f"{page}: {command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert done.returncode == 0 or is_answer, said
        lab.run("psapwatch", "calls", "resume", "--psap", "ma-boston", "--why", "test", check=False)
