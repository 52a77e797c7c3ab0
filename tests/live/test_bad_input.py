"""Bad input of every kind: one clear line and an exit code, or a counted observation; no traceback.

The wording of configuration errors has its own tests (``tests/config``); here the real program is
run, with files, ports, stores and far ends that are wrong.
"""

from __future__ import annotations

import shlex
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from components.certificates import Authority
from components.commands import Done, run_all
from components.daemon import Daemon
from components.ports import free_port
from components.spoiled import spoiled_answers
from components.watching import OPTIONS, outcomes, watching
from psapwatch.sip.answering_script import MANGLES

USAGE: Final = 64
SAID_MAX: Final = 3
"""Lines that a refusal may take: what is wrong, and how many errors there are."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command, its exit code, and words that its one clear line holds."""

    command: str
    code: int
    words: str


@pytest.fixture
def scrapyard(tmp_path: Path) -> Path:
    """A folder of broken things, and one good configuration."""
    authority = Authority(tmp_path)
    first, second = authority.issue("first"), authority.issue("second")
    first.cert_file.rename(tmp_path / "first.crt")
    second.key_file.rename(tmp_path / "second.key")
    good = watching({"ma-boston": "sip:psap@127.0.0.1:9;transport=udp"})
    good = good.replace("FOLDER", str(tmp_path))
    source = "  - address: 127.0.0.1\n"
    files = {
        "good.yml": good,
        "second.yml": good.replace("psapwatch.db", "second.db"),
        "syntax.yml": "vantage: [\n",
        "empty.yml": "",
        "unknown.yml": good.replace("psaps:", "psapz:"),
        "no-ca.yml": good.replace("sources:", "tls: {ca_file: gone.pem}\n    sources:"),
        "bad-ca.yml": good.replace("sources:", "tls: {ca_file: junk.db}\n    sources:"),
        "bad-pair.yml": good + "web: {tls: {cert_file: first.crt, key_file: second.key}}\n",
        "bad-users.yml": good + "web: {users_file: junk.db}\n",
        "junk.db": "no database, no certificate, nobody's name\n",
    }
    assert source.strip() in good
    for store in ("junk.db", "newer.db", "other.db", "no/folder.db", "."):
        name = f"store-{store.replace('/', '-').strip('.') or 'folder'}.yml"
        files[name] = good.replace(f"{tmp_path}/psapwatch.db", f"{tmp_path}/{store}")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    for name, pragma in (("newer.db", "application_id = 0x50534150"), ("other.db", "cache_size")):
        with closing(sqlite3.connect(tmp_path / name)) as database:
            database.execute(f"PRAGMA {pragma}")
            database.execute("PRAGMA user_version = 9999")
            database.execute("CREATE TABLE theirs (x)")
            database.commit()
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on, over UDP and TCP."""
    port = free_port()
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for one in (stream, datagrams):
            one.bind(("127.0.0.1", port))
        stream.listen()
        yield port


def assert_refused(rows: list[Refusal], folder: Path) -> None:
    """Run every command and see that each is refused as its row says."""
    done = run_all([shlex.split(row.command) for row in rows], folder)
    assert [why for row, one in zip(rows, done, strict=True) if (why := _fault(row, one))] == []


def _fault(row: Refusal, done: Done) -> str:
    """What is wrong with a refusal; ``""`` when nothing is."""
    said = done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("{", "Usage"))]
    is_right = (
        done.code == row.code
        and row.words in said
        and "Traceback" not in said
        and (row.code == USAGE or len(errors) <= SAID_MAX)
    )
    return "" if is_right else f"{row.command}: exit {done.code}: {said}"


def test_configurations_and_certificates(scrapyard: Path, taken: int) -> None:
    """``run`` and ``check-config`` name the file and what is wrong with it, or the busy port."""
    bad = {
        "missing.yml": "no configuration at missing.yml",
        "syntax.yml": "syntax.yml:2: (file): is not YAML",
        "empty.yml": "empty.yml:1: (file): is empty",
        "binary.yml": "binary.yml:1: (file): is not UTF-8",
        ".": ".:1: (file): cannot be read: Is a directory",
        "unknown.yml": "psapz: unknown key",
        "no-ca.yml": "firewalls.fw-east.tls: gone.pem cannot be read",
        "bad-ca.yml": "firewalls.fw-east.tls: junk.db holds no PEM certificate",
        "bad-pair.yml": "web.tls: second.key is not the key of the certificate in first.crt",
        "bad-users.yml": "web.users_file: junk.db: line 1: after the name write",
    }
    rows = [
        Refusal(f"{verb} --config {file}", 1, words)
        for file, words in bad.items()
        for verb in ("check-config", f"run --listen 127.0.0.1:{taken}")
    ]
    rows += [
        Refusal(f"run --config good.yml --listen 127.0.0.1:{taken}", 1, "address already in use"),
        Refusal("run --config second.yml --listen 192.0.2.1:80", 1, "cannot assign requested"),
        Refusal("run --config good.yml --listen nonsense", USAGE, "'nonsense' is no HOST:PORT"),
        Refusal("run --config good.yml --shard 3/2", USAGE, "write I/N with 1 <= I <= N"),
        Refusal("run --nonsense", USAGE, "No such option '--nonsense'"),
    ]
    assert_refused(rows, scrapyard)


def test_stores(scrapyard: Path) -> None:
    """A store that is missing, corrupt, newer or somebody else's is named, and left as it is."""
    before = {file: file.read_bytes() for file in scrapyard.glob("*.db")}
    bad = {
        "junk.db": "junk.db: file is not a database",
        "newer.db": "newer.db: written by a newer psapwatch (store version 9999",
        "other.db": "other.db: a database of another program",
        "no-folder.db": "folder.db: its folder does not exist",
        "folder": "is a directory",
    }
    unread = {"no-folder.db": "there is no store"}
    rows = [
        Refusal(f"{command} --config store-{store}.yml", 1, words)
        for store, said in bad.items()
        for command, words in {
            "run --listen 127.0.0.1:0": said,
            "incidents list": unread.get(store, said),
            "calls stop --why storm": said,
        }.items()
    ]
    assert_refused(rows, scrapyard)
    assert {file: file.read_bytes() for file in scrapyard.glob("*.db")} == before


def test_commands(scrapyard: Path, taken: int) -> None:
    """Unknown PSAPs, paths, incidents, causes and addresses are named; usage errors exit 64."""
    good = "--config good.yml"
    rows = [
        Refusal("", USAGE, "Usage: psapwatch"),
        Refusal("nonsense", USAGE, "No such command 'nonsense'"),
        Refusal("probe", USAGE, "Missing argument 'URI'"),
        Refusal("probe http://127.0.0.1/", USAGE, "not a SIP URI"),
        Refusal("probe urn:service:sos --kind call", USAGE, "not where it goes"),
        Refusal("probe sip:127.0.0.1 --transport pigeon", USAGE, "'pigeon' is not one of"),
        Refusal("probe sip:192.0.2.1 --kind call", 1, "only loopback is called"),
        Refusal(f"probe nowhere/x --kind call {good}", 1, "'nowhere/x' is no path of good.yml"),
        Refusal("probe sip:127.0.0.1 --config gone.yml", 1, "no configuration at gone.yml"),
        Refusal(f"probe sip:127.0.0.1:{free_port()}", 2, "connection_refused"),
        Refusal("probe sip:nobody.invalid", 2, "name_resolution"),
        Refusal(f"calls stop {good}", USAGE, "Missing option '--why'"),
        Refusal(f"calls stop {good} --psap nobody --why x", 1, "good.yml has no PSAP 'nobody'"),
        Refusal(f"calls commission {good} --psap nobody --with x", 1, "has no PSAP 'nobody'"),
        Refusal("status --url nonsense", USAGE, "is no http or https URL"),
        Refusal(f"status --url http://127.0.0.1:{free_port()}", 1, "no daemon answers at"),
        Refusal(f"incidents list {good}", 1, "there is no store"),
        Refusal("respond --listen nonsense", USAGE, "write HOST:PORT"),
        Refusal(f"respond --listen 127.0.0.1:{taken}", 1, f"cannot listen on 127.0.0.1:{taken}"),
        Refusal("respond --listen 127.0.0.1:1 --transport tls", USAGE, "needs --cert and --key"),
        Refusal(
            "respond --listen 127.0.0.1:1 --transport tls --cert first.crt --key second.key",
            1,
            "second.key is not the key of the certificate in first.crt",
        ),
        Refusal("explain nonsense", USAGE, "'nonsense' is no cause"),
        Refusal("replay nonsense", 1, "nonsense is neither a scenario"),
    ]
    assert_refused(rows, scrapyard)


def test_malformed_answers_are_counted(daemon: Callable[..., Daemon]) -> None:
    """Each way to spoil an answer is an observation with its cause, and never a fault of ours."""
    with spoiled_answers(
        {name.replace("_", "-"): spoil for name, spoil in MANGLES.items()}
    ) as uris:
        watch = daemon(
            watching(uris, options=OPTIONS | {"every": "2s", "give_up_after": "1s"}, call=None)
        )
        watch.wait_for(
            lambda: all(outcomes(watch, {"psap": name}) for name in uris), 15, "an attempt each"
        )
        found = {row["psap"]: row["checks"][0] for row in watch.json("/api/v1/status")["paths"]}
        seen = {name: _kinds(watch, row) for name, row in found.items()}
        assert watch.total("psapwatch_internal_errors_total") == 0
        assert watch.total("psapwatch_causes_total", {"cause": "prober_fault"}) == 0
    assert {name: (row["outcome"], row["cause"]) for name, row in found.items()} == {
        "none": ("pass", "none"),
        "compact": ("pass", "none"),
        "folded": ("pass", "none"),
        "short-content-length": ("pass", "none"),
        "lf-only": ("degraded", "malformed_response"),
        "no-cseq": ("degraded", "malformed_response"),
        "garbage": ("fail", "calls_blocked"),
        "truncated": ("fail", "calls_blocked"),
        "two-vias": ("fail", "alg_rewrite"),
        "wrong-branch": ("fail", "alg_rewrite"),
        "wrong-cseq": ("fail", "calls_blocked"),
        "wrong-sent-by": ("fail", "alg_rewrite"),
    }
    noted = {name: kinds & {"malformed", "discarded"} for name, kinds in seen.items()}
    for name, row in found.items():
        expected = {"pass": set(), "degraded": {"malformed"}, "fail": {"discarded"}}
        assert noted[name] == expected[row["outcome"]], name


def _kinds(watch: Daemon, row: dict[str, Any]) -> set[str]:
    """The kinds of observation of a check's last attempt."""
    attempt = watch.json(f"/api/v1/attempts/{row['last_failure'] or row['last_pass']}")
    return {kind for kind, _at_s, _facts in attempt["attempt"]["observations"]}
