"""Opening a store: made, brought up to date, or refused with one clear sentence."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from psapwatch.store.opening import (
    APPLICATION_ID,
    Unusable,
    copy_of,
    open_reading,
    open_writing,
)
from psapwatch.store.runner import Inline, WriterThread
from psapwatch.store.schema import MIGRATIONS, Step, version_of
from psapwatch.store.store import Store, reading
from store.material import NOON, PASSED, attempt, call, incident, opened

RELEASED = Path(__file__).parent / "released"
NEXT: tuple[Step, ...] = (*MIGRATIONS, ("ALTER TABLE incidents ADD COLUMN place TEXT",))


def made(database: Path) -> Path:
    """Make a store with one incident and one open call."""

    async def scene() -> None:
        async with opened(database) as store:
            store.save_incident(incident())
            await store.open_call(call())

    asyncio.run(scene())
    return database


def test_a_new_store_is_for_its_owner_alone(database: Path) -> None:
    """File, log and index are readable by nobody else: they hold names and networks."""

    async def scene() -> None:
        async with opened(database) as store:
            await store.open_call(call())
            for file in database.parent.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file

    asyncio.run(scene())


def test_a_store_is_copied_before_its_first_step(database: Path) -> None:
    """A newer program adds its steps and leaves the old store beside it, whole."""
    connection = open_writing(made(database), NEXT)
    assert version_of(connection) == len(NEXT)
    assert connection.execute("SELECT id, place FROM incidents").fetchall() == [
        ("incident-1", None)
    ]
    connection.close()
    copy = open_reading(copy_of(database, len(MIGRATIONS)))
    assert version_of(copy) == len(MIGRATIONS)
    assert copy.execute("SELECT id FROM incidents").fetchall() == [("incident-1",)]
    copy.close()
    assert stat.S_IMODE(copy_of(database, len(MIGRATIONS)).stat().st_mode) == 0o600


def test_a_step_that_fails_changes_nothing(database: Path) -> None:
    """A step is whole or not at all, and the older program still opens the file."""
    broken = (*NEXT, ("CREATE TABLE half (a)", "CREATE TABLE half (a)"))
    with pytest.raises(Unusable, match="table half already exists"):
        open_writing(made(database), broken)
    connection = open_writing(database, NEXT)
    assert version_of(connection) == len(NEXT)
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
    connection.close()


def test_a_newer_store_is_refused(database: Path) -> None:
    """A store of a later version is neither written nor read, and the sentence says what to do."""
    open_writing(made(database), NEXT).close()
    before = database.read_bytes()
    for door in (open_writing, open_reading):
        said = rf"newer psapwatch .store version {len(NEXT)}, .* knows up to {len(MIGRATIONS)}"
        with pytest.raises(Unusable, match=said):
            door(database)
    assert database.read_bytes() == before


@pytest.mark.parametrize("script", sorted(RELEASED.glob("*.sql")), ids=lambda path: path.stem)
def test_every_released_store_opens(database: Path, script: Path) -> None:
    """A store as each released version left it is brought up to date with all it held."""
    connection = sqlite3.connect(database)
    connection.executescript(script.read_text(encoding="utf-8"))
    connection.close()

    async def scene() -> None:
        async with opened(database) as store:
            assert await store.incident("incident-1") == incident()
            assert await store.open_calls() == [call()]
            assert store.decisions.is_stopped("ma-boston")
            assert await store.attempt("attempt-1") == (attempt(), PASSED)
            assert len(store.pending("webhook/a")) == 1

    asyncio.run(scene())


def test_there_is_a_released_store_for_every_version() -> None:
    """Whoever adds a step adds the store that the version before it left."""
    assert {path.stem for path in RELEASED.glob("*.sql")} == {
        f"v{version}" for version in range(1, len(MIGRATIONS) + 1)
    }


def test_another_programs_database_is_not_touched(database: Path) -> None:
    """A SQLite file that is not ours is refused and stays as it was."""
    other = sqlite3.connect(database)
    other.execute("CREATE TABLE bookmarks (url)")
    other.commit()
    other.close()
    before = database.read_bytes()
    for door in (open_writing, open_reading):
        with pytest.raises(Unusable, match="another program"):
            door(database)
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        pytest.param(b"not a database at all, " * 50, "not a database; move it away", id="text"),
        pytest.param(None, "malformed; the store is damaged", id="damaged"),
    ],
)
def test_what_is_no_store_is_refused(database: Path, octets: bytes | None, words: str) -> None:
    """Junk and damage are told apart from a new file, and never overwritten."""
    if octets is None:
        octets = bytearray(made(database).read_bytes())  # type: ignore[assignment]
        octets[100:4_096] = b"\xa5" * 3_996  # type: ignore[index]
    database.write_bytes(octets)  # type: ignore[arg-type]
    for door in (open_writing, open_reading):
        with pytest.raises(Unusable, match=words):
            door(database)
    assert database.read_bytes() == octets


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A store in a folder that does not exist says so, and no folder is made."""
    with pytest.raises(Unusable, match=r"psapwatch.db: its folder .* exist; make it, or set"):
        Store(tmp_path / "nowhere" / "psapwatch.db", Inline())
    with pytest.raises(Unusable, match="there is no store; `psapwatch run` makes one"):
        reading(tmp_path / "psapwatch.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opens", [open_reading, open_writing])
def test_a_folder_is_no_store(opens: Callable[[Path], sqlite3.Connection], tmp_path: Path) -> None:
    """A path that is a folder is refused as what it is, also where it is only to be read."""
    with pytest.raises(Unusable, match="is a directory; name a file in it"):
        opens(tmp_path)


def test_a_locked_store_is_refused_in_the_end(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that another program holds is given up after a while, with its reason."""
    monkeypatch.setattr("psapwatch.store.opening.BUSY_S", 0.05)
    beside = sqlite3.connect(made(database), isolation_level=None)
    beside.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unusable, match="locked; another program holds it"):
        Store(database, Inline())
    beside.close()


def test_only_one_daemon_has_a_store(database: Path) -> None:
    """A second daemon is refused by the first one's process id; commands are not."""

    async def scene() -> None:
        async with opened(database, sole=True):
            with pytest.raises(Unusable, match=rf"another psapwatch .pid {os.getpid()}. has this"):
                Store(database, Inline(), sole=True)
            async with opened(database) as command:
                command.decisions.audit("ann", "look", "", NOON)
        async with opened(database, sole=True):
            pass

    asyncio.run(scene())


@pytest.mark.parametrize("run", [Inline, WriterThread])
def test_a_command_reads_while_the_daemon_writes(
    database: Path, run: type[Inline | WriterThread]
) -> None:
    """A reader sees what the daemon has committed, and changes nothing."""

    async def scene() -> None:
        async with opened(database, run()) as daemon:
            daemon.save_incident(incident())
            await daemon.flushed()
            reader = reading(database)
            assert await reader.incidents() == [incident()]
            daemon.save_incident(incident(2))
            await daemon.flushed()
            assert [each.id for each in await reader.incidents()] == ["incident-2", "incident-1"]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                await reader.acknowledge("incident-1", "ann", NOON)
            await reader.close()

    asyncio.run(scene())


def test_a_command_reads_while_no_daemon_runs(database: Path) -> None:
    """After the daemon has ended, its store is read as it left it, octet for octet."""
    before = made(database).read_bytes()

    async def scene() -> None:
        reader = reading(database)
        assert await reader.incidents() == [incident()]
        assert await reader.open_calls() == [call()]
        await reader.close()

    asyncio.run(scene())
    assert database.read_bytes() == before


def test_an_older_store_is_not_brought_up_to_date_by_a_reader(database: Path) -> None:
    """Only a program that may write takes steps; a reader says what will."""
    said = rf"store version {len(MIGRATIONS)}, this program reads {len(NEXT)}; the next"
    with pytest.raises(Unusable, match=said):
        open_reading(made(database), NEXT)


def test_the_file_says_whose_it_is(database: Path) -> None:
    """The file carries our application id and its version, for `file` and for us."""
    connection = sqlite3.connect(made(database))
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()
