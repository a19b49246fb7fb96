"""A delta that is itself a Chroma directory: ``delta/{uuid}/chroma.sqlite3`` and index folders.

It is read in a process of its own, held to memory and time: damaged index files crash Chroma instead of raising, a view
in the place of a table never ends, and what ends a reader must be a verdict over one delta and not the end of a run.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ulid import ULID

from siltstone import keys
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.chroma_reader import BAD_DELTA
from siltstone.deltas.codec import decode
from siltstone.deltas.listing import CHROMA_FILE, folder_etag
from siltstone.deltas.validate import validate_rows
from siltstone.deltas.vetting import CRASHES, child_environment
from siltstone.errors import BadDelta, BadSettings, StoreUnavailable
from siltstone.keys import MAX_DEPTH, MAX_NAME_BYTES
from siltstone.settings import CollectionBook
from siltstone.snapshots.files import copy_folder, files_in, room_for, sha256_of
from siltstone.stores.objects import ObjectInfo, ObjectStore

MAX_FOLDER_BYTES = 2 * 2**30
PATIENCE = 1.0  # times what is allowed of processor time


def fetch_chroma(
    store: ObjectStore, prefix: str, objects: Sequence[ObjectInfo], *, collection: str, workspace: Path
) -> DeltaRows:
    """Fetch the directory under ``prefix`` as its objects were listed, and read its rows as upserts.

    Raises `BadDelta`, `DiskFull`, `PreconditionFailed` or `ObjectNotFound` if it changed since it was listed.
    """
    folder = workspace / str(ULID())
    if sum(found.size for found in objects) > MAX_FOLDER_BYTES:
        raise _bad(f"its files take more than {MAX_FOLDER_BYTES:,} bytes")
    with room_for(folder):
        for found, path in zip(objects, _inside([found.key.removeprefix(prefix) for found in objects]), strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            store.get_file(found.key, folder / path, if_match=found.etag)
        rows = _read(folder, collection)
    shutil.rmtree(folder)
    return rows


def write_chroma_delta(
    directory: Path, collection: str, *, store: ObjectStore, settings: CollectionBook, workspace: Path
) -> tuple[str, str]:
    """Upload a closed Chroma directory as a delta of upserts; return its key and ETag. It is read and checked first.

    The layout names no collection: it must be the setting ``legacy_delta_collection``, or `BadSettings`. The sqlite
    file goes last, so an upload that stops is no delta. Raises `BadDelta`.
    """
    if collection != settings.legacy_delta_collection:
        raise BadSettings(
            f"A Chroma directory would be read as a delta of {settings.legacy_delta_collection!r}, not {collection!r}.",
            remedy="Set 'legacy_delta_collection' in cdk.json, or write the rows with write_delta.",
        )
    copy = workspace / str(ULID())  # reading changes the files
    copy_folder(directory, copy)
    try:
        validate_rows(_read(copy, collection), collection, settings.resolve(collection))
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    prefix = f"{keys.LEGACY_CHROMA_DELTAS}{ULID()}/"
    for path in sorted(files_in(directory), key=lambda path: path == CHROMA_FILE):
        store.put_file(prefix + path, directory / path, sha256=sha256_of(directory / path))
    return prefix + CHROMA_FILE, folder_etag(store.list(prefix))


def _read(folder: Path, collection: str) -> DeltaRows:
    """Rows of a private directory (reading writes into it)."""
    target = folder.with_suffix(".parquet")
    result = subprocess.run(  # noqa: S603 - this interpreter, this module, and two paths of our own
        [sys.executable, "-m", "siltstone.deltas.chroma_reader", str(folder), str(target), collection, str(PATIENCE)],
        env=child_environment(),
        capture_output=True,
        check=False,
    )
    try:
        words = " ".join(result.stderr.decode("utf-8", "replace").split())
        if result.returncode in CRASHES:
            raise _bad(f"reading it ended Chroma with {signal.Signals(-result.returncode).name}")
        if result.returncode == BAD_DELTA:
            raise _bad(words[-300:])
        if result.returncode != 0:  # killed for memory, or the reader itself is broken: no verdict over the delta
            raise StoreUnavailable(f"The reader of Chroma directories ended with {result.returncode}: {words[-300:]}")
        return decode(target.read_bytes())[1]
    finally:
        target.unlink(missing_ok=True)


def _inside(names: list[str]) -> list[PurePosixPath]:
    """``names`` as paths in the directory. Raises `BadDelta` for one that leads out of it or that no disk can hold."""
    paths = [PurePosixPath(name) for name in names]
    for name, path in zip(names, paths, strict=True):
        if (
            not path.parts
            or str(path) != name
            or path.is_absolute()
            or ".." in path.parts
            or "\\" in name
            or not name.isprintable()
        ):
            raise _bad(f"the object {name!r:.120} leaves its folder")
        if len(path.parts) > MAX_DEPTH or max(len(part.encode()) for part in path.parts) > MAX_NAME_BYTES:
            raise _bad(f"the object {name!r:.120} has too long a name")
    both = set(paths).intersection(parent for path in paths for parent in path.parents)
    if both:
        raise _bad(f"the object {str(min(both))!r:.120} is a file and a folder")
    return paths


def _bad(reason: str) -> BadDelta:
    return BadDelta(
        f"The delta can't be used: {reason}.", remedy="Mend its producer; a quarantined delta can be replayed."
    )
