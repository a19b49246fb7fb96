"""Read a Chroma directory without writing into it: one that is mounted read-only, or that others read too.

Chroma writes to its sqlite file even when it only reads, so that one file is copied to a private place. The index
folders, which are most of the bytes, are only linked: reading leaves them alone once everything is flushed into them.
Where something is not, Chroma may flush while it reads, and the folders are copied too.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from siltstone.errors import SnapshotDamaged
from siltstone.snapshots.chroma import SQLITE_FILE
from siltstone.snapshots.files import copy_folder, room_for


def private_view(directory: Path, target: Path) -> None:
    """Make ``target`` (new) a directory that Chroma can open in place of ``directory``, which is only read.

    Raises `SnapshotDamaged` if a process is writing to ``directory`` or its sqlite file can't be read, `DiskFull`.
    """
    for unfinished in (f"{SQLITE_FILE}-journal", f"{SQLITE_FILE}-wal"):
        path = directory / unfinished
        if path.exists() and path.stat().st_size:
            raise SnapshotDamaged(
                f"{directory} is being written to, or its writer died.", remedy="Close its writer, or open it with it."
            )
    with room_for(target):
        target.mkdir(parents=True)
        shutil.copyfile(directory / SQLITE_FILE, target / SQLITE_FILE)
        flushed = _is_flushed(target / SQLITE_FILE)
        for folder in directory.iterdir():
            if not folder.is_dir():
                continue
            if flushed:
                (target / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
            else:
                copy_folder(folder, target / folder.name)


def _is_flushed(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as database:
            return int(database.execute("SELECT count(*) FROM embeddings_queue").fetchone()[0]) <= 1
    except sqlite3.Error as error:
        raise SnapshotDamaged(f"{path.name}: {error}.", remedy="Fetch the snapshot again.") from error
