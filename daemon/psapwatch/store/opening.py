"""Opens a store for writing or for reading, and says in one sentence why it cannot (layer L4)."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final, final
from urllib.parse import quote

from psapwatch.store.schema import MIGRATIONS, Step, migrate, version_of

IN_MEMORY: Final = ":memory:"
"""The database of a simulated world: gone with its connection."""
APPLICATION_ID: Final = 0x50534150
"""``PSAP``: marks a file as ours, so that no other program's database is written to."""
BUSY_S: Final = 2.0
"""How long to wait for another process's lock; in the writer's thread, never in the loop."""
WAL_OCTETS_MAX: Final = 64 * 2**20
"""What the write-ahead log is cut back to after a checkpoint."""


class Unusable(Exception):
    """The store cannot be opened or read; the sentence names the file and what to do."""


@final
class Claim:
    """The daemon's own hold on a store, so that no second one ends its calls or pages for it.

    Commands write beside it; a killed daemon's claim ends with its process.
    """

    def __init__(self, database: Path) -> None:
        """Claim a store.

        Raises:
            Unusable: another daemon has it; the sentence names its process.
        """
        file = database.with_name(database.name + ".lock")
        try:
            self._opened = file.open("a+", encoding="ascii")
        except OSError as why:
            raise _unusable(database, why) from why
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            self._opened.seek(0)
            holder = self._opened.read(20).strip()
            self._opened.close()
            raise Unusable(f"{database}: another psapwatch (pid {holder}) has this store") from why
        self._opened.truncate(0)
        self._opened.write(str(os.getpid()))
        self._opened.flush()

    def release(self) -> None:
        """Let another daemon have it."""
        self._opened.close()


def open_writing(
    database: str | Path, migrations: tuple[Step, ...] = MIGRATIONS
) -> sqlite3.Connection:
    """Open for reading and writing, creating the file (mode 0600) or bringing it up to date.

    Raises:
        Unusable: no such folder, not permitted, not a store, damaged, locked, newer, disk full.
    """
    try:
        if database != IN_MEMORY:
            # 0600 before SQLite sees it: transcripts name people and networks. Its -wal and
            # -shm files take the same mode.
            os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = _connect(str(database), uri=False)
    except (OSError, sqlite3.Error) as why:
        raise _unusable(database, why) from why
    try:
        _refuse_foreign(connection, database, len(migrations))
        _prepare(connection, database)
        if 0 < version_of(connection) < len(migrations) and database != IN_MEMORY:
            _copy(connection, Path(database))
        if not version_of(connection):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(connection, migrations)
    except (OSError, sqlite3.Error) as why:
        connection.close()
        raise _unusable(database, why) from why
    except BaseException:
        connection.close()
        raise
    return connection


def open_reading(
    database: str | Path, migrations: tuple[Step, ...] = MIGRATIONS
) -> sqlite3.Connection:
    """Open for reading only, while a daemon writes to it or while none runs.

    Raises:
        Unusable: no such file, not permitted, not a store, damaged, older or newer.
    """
    path = Path(database)
    if path.is_dir():
        raise _unusable(database, IsADirectoryError())
    if not path.is_file():
        raise Unusable(f"{path}: there is no store; `psapwatch run` makes one")
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    log = path.with_name(path.name + "-wal")
    try:
        connection = _connect(address, uri=True)
        try:
            version_of(connection)
        except sqlite3.OperationalError:
            # Reading a WAL file makes a -shm beside it. In a folder that is not ours to write
            # to that fails; with nothing in the log the file alone is the whole truth.
            connection.close()
            if log.exists() and log.stat().st_size:
                raise
            connection = _connect(address + "&immutable=1", uri=True)
    except (OSError, sqlite3.Error) as why:
        raise _unusable(database, why) from why
    try:
        _refuse_foreign(connection, database, len(migrations))
        _refuse_older(connection, path, len(migrations))
    except sqlite3.Error as why:
        connection.close()
        raise _unusable(database, why) from why
    except Unusable:
        connection.close()
        raise
    return connection


def _connect(address: str, *, uri: bool) -> sqlite3.Connection:
    # The writer's thread uses a connection that the main thread opened and checked.
    return sqlite3.connect(
        address, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=uri
    )


def _refuse_foreign(connection: sqlite3.Connection, database: str | Path, known: int) -> None:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if tables and application != APPLICATION_ID:
        raise Unusable(f"{database}: a database of another program; name another store.path")
    version = version_of(connection)
    if version > known:
        raise Unusable(
            f"{database}: written by a newer psapwatch (store version {version}, this program"
            f" knows up to {known}); run that version, or name another store.path"
        )


def _refuse_older(connection: sqlite3.Connection, path: Path, known: int) -> None:
    version = version_of(connection)
    if version < known:
        raise Unusable(
            f"{path}: store version {version}, this program reads {known};"
            " the next `psapwatch run` brings it up to date"
        )


def _prepare(connection: sqlite3.Connection, database: str | Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode not in ("wal", "memory"):
        raise Unusable(f"{database}: no write-ahead log on this file system; use a local disk")
    # FULL: a call's ledger row must survive the host losing power, not only a killed daemon.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS_MAX}")
    connection.execute("PRAGMA temp_store = MEMORY")
    # A file that may only be read opens without complaint; taking the lock finds out now.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the store beside itself, whole or not at all, before its first step."""
    part = path.with_name(f"{path.name}.v{version_of(connection)}.part")
    part.unlink(missing_ok=True)
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        target = sqlite3.connect(part)
        try:
            connection.backup(target)
        finally:
            target.close()
        part.replace(copy_of(path, version_of(connection)))
    finally:
        part.unlink(missing_ok=True)


def copy_of(path: Path, version: int) -> Path:
    """Return where the copy of a store of ``version`` is kept."""
    return path.with_name(f"{path.name}.v{version}.bak")


def _unusable(database: str | Path, why: Exception) -> Unusable:
    folder = Path(database).absolute().parent
    if isinstance(why, FileNotFoundError) and not folder.exists():
        return Unusable(f"{database}: its folder does not exist; make it, or set store.path")
    if isinstance(why, IsADirectoryError):
        return Unusable(f"{database}: is a directory; name a file in it as store.path")
    if isinstance(why, OSError):
        return Unusable(f"{database}: {(why.strerror or str(why)).lower()}")
    hint = next((hint for word, hint in _HINTS if word in str(why)), "")
    return Unusable(f"{database}: {why}{hint}")


_HINTS: Final = (
    ("not a database", "; move it away, or name another store.path"),
    ("malformed", "; the store is damaged: move it away (its .bak, if any, is an older copy)"),
    ("locked", "; another program holds it"),
    ("readonly", "; it must be writable, and its folder too"),
    ("unable to open", "; read it as the daemon's user, or where its folder can be written"),
    ("disk is full", "; free some space"),
)
