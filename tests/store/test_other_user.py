"""A store in a folder where one may read but not write."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from psapwatch.store.opening import Unusable
from psapwatch.store.runner import Inline
from psapwatch.store.store import Store, reading
from store.material import call, incident, opened

NOBODY = 65_534


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder that any user can reach, unlike the test's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_a_reader(folder: Path) -> Iterator[None]:
    """Be somebody who may read the folder's files and write nothing."""
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_store_is_read_where_nothing_can_be_written(shelf: Path) -> None:
    """After the daemon has ended, a user who may only read its folder sees its incidents."""

    async def scene() -> None:
        async with opened(shelf / "psapwatch.db") as store:
            store.save_incident(incident())
        with as_a_reader(shelf):
            reader = reading(shelf / "psapwatch.db")
            assert await reader.incidents() == [incident()]
            await reader.close()

    asyncio.run(scene())


def test_a_log_that_cannot_be_read_is_no_silence(shelf: Path) -> None:
    """With changes still in the log, a reader who cannot use it is told whom to ask instead."""

    async def scene() -> None:
        async with opened(shelf / "psapwatch.db") as store:
            await store.open_call(call())
            (shelf / "psapwatch.db-wal").rename(shelf / "kept")
            (shelf / "psapwatch.db-shm").unlink()
        for file in ("psapwatch.db-wal", "psapwatch.db-shm"):
            (shelf / file).unlink(missing_ok=True)
        (shelf / "kept").rename(shelf / "psapwatch.db-wal")
        with (
            as_a_reader(shelf),
            pytest.raises(Unusable, match=r"unable to open .*; read it as the daemon's user"),
        ):
            reading(shelf / "psapwatch.db")

    asyncio.run(scene())


def test_a_store_that_cannot_be_written_is_refused(shelf: Path) -> None:
    """A daemon whose user may not write its store says so before it probes anything."""

    async def scene() -> None:
        async with opened(shelf / "psapwatch.db") as store:
            store.save_incident(incident())
        with as_a_reader(shelf):
            with pytest.raises(Unusable, match=r"psapwatch\.db: permission denied"):
                Store(shelf / "psapwatch.db", Inline())
            with pytest.raises(Unusable, match=r"another\.db: permission denied"):
                Store(shelf / "another.db", Inline())
            with pytest.raises(Unusable, match=r"psapwatch\.db: permission denied"):
                Store(shelf / "psapwatch.db", Inline(), sole=True)

    asyncio.run(scene())
