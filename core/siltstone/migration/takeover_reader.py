"""The process that opens a foreign Chroma directory: ``python -m siltstone.migration.takeover_reader < request``.

Damaged index files crash Chroma instead of raising: what ends the reader must be a verdict over the directory, and not
the end of whoever asked. A request is `TakeoverRequest` as JSON; the answer is `Prepared`, or ``{"error", "message",
"remedy"}``.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from siltstone import errors
from siltstone.compaction import rebuild
from siltstone.compaction.messages import Message
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.validate import validate_rows
from siltstone.deltas.vetting import CRASHES, child_environment
from siltstone.errors import InvalidInput, SettingsMismatch, SiltstoneError, SnapshotDamaged, StoreUnavailable
from siltstone.settings import CollectionSettings
from siltstone.snapshots.chroma import SQLITE_FILE, ChromaStore, open_chroma, persistent_client, translated
from siltstone.stores.vectors import MAX_BATCH, CollectionSpec, Rows

_LOOK = "Open it with chromadb and look; what can be read can be written again as deltas."
_HEADER = struct.Struct("<i5q")  # hnswlib: version, offset, capacity, slots, bytes of a slot, ...


class TakeoverRequest(Message):
    """``folder``: a private copy. ``target``: a new folder, for an index that is built anew.

    ``source``: the collection's name in the directory; ``None``: its only one. ``build_anew``: in any case.
    """

    folder: Path
    target: Path
    collection: str
    source: str | None
    settings: CollectionSettings
    build_anew: bool


class Prepared(Message):
    """A directory that may be sealed: one collection, of the right name and settings, flushed, all rows looked at."""

    folder: Path
    source: str
    rows: int
    dead_slots: int
    built_anew: bool


def prepare(request: TakeoverRequest) -> Prepared:
    """Ask another process to do it. Raises what `prepare_here` does; `SnapshotDamaged` also where it crashed."""
    result = subprocess.run(  # noqa: S603 - this interpreter and this module
        [sys.executable, "-m", __name__],
        input=request.model_dump_json().encode(),
        env=child_environment(),
        capture_output=True,
        check=False,
    )
    if result.returncode == 0:
        answer = json.loads(result.stdout)
        if answer.get("error") == SnapshotDamaged.__name__:  # its words name the copy, and a stage's remedies
            what = answer["message"].removeprefix(f"{request.folder.name}: ")
            raise SnapshotDamaged(f"The directory is damaged: {what}", remedy=_LOOK)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"], remedy=answer["remedy"])
        return Prepared.model_validate(answer)
    if result.returncode in CRASHES:
        raise SnapshotDamaged("Reading the directory crashes Chroma: its index is damaged.", remedy=_LOOK)
    words = " ".join(result.stderr.decode("utf-8", "replace").split())
    if result.returncode > 0:  # Chroma's Rust part panics with what is no Exception
        raise SnapshotDamaged(f"The directory can't be read: {words[-300:]}.", remedy=_LOOK)
    raise StoreUnavailable(f"The reader of the directory was killed ({result.returncode}).", remedy="Free some memory.")


def prepare_here(request: TakeoverRequest) -> Prepared:
    """Check every row, then flush and rename in place, or build the index anew in ``target``.

    Raises `InvalidInput` for a missing or unclear collection and rows that a delta could not bring either,
    `SettingsMismatch`, `SnapshotDamaged`.
    """
    spec = CollectionSpec.of(request.collection, request.settings.fixed())
    source, others = _choose(request.folder, request.source)
    build_anew = request.build_anew or others
    with closing(open_chroma(request.folder, CollectionSpec(source, spec.dimension, spec.space, spec.hnsw))) as store:
        _check_settings(store.spec(), spec, request, build_anew)
        ids = store.ids()
        if not ids:
            raise InvalidInput(f"The collection {source!r} has no rows.", remedy="There is nothing to take over.")
        for start in range(0, len(ids), MAX_BATCH):
            _check_rows(store.get(ids[start : start + MAX_BATCH]), ids[start : start + MAX_BATCH], request)
        store.nearest(store.get(ids[:1]).embeddings)  # the graph too: here it may crash
        if build_anew:
            with closing(open_chroma(request.target, spec)) as new:
                while rebuild.copy_next(store, new, ids):
                    pass
            return Prepared(folder=request.target, source=source, rows=len(ids), dead_slots=0, built_anew=True)
        _rename(store, spec.name, request.folder)
    segment = _only_index(request.folder)
    dead = dead_slots(segment, len(ids)) if segment is not None else 0
    return Prepared(folder=request.folder, source=source, rows=len(ids), dead_slots=dead, built_anew=False)


def dead_slots(segment: Path, rows: int) -> int:
    """Slots of an index folder that no row uses; 0 where its header is of a format that is not known."""
    header, data = segment / "header.bin", segment / "data_level0.bin"
    if not header.is_file() or not data.is_file() or header.stat().st_size < _HEADER.size:
        return 0
    with header.open("rb") as file:
        version, _, _, slots, slot_bytes, _ = _HEADER.unpack(file.read(_HEADER.size))
    known = version == 1 and slots * slot_bytes == data.stat().st_size
    return max(0, slots - rows) if known else 0


def _choose(folder: Path, wanted: str | None) -> tuple[str, bool]:
    """The collection's name in the directory, and whether there are others."""
    with translated(folder, refused=SnapshotDamaged), closing(persistent_client(folder)) as client:
        names = sorted(found.name for found in client.list_collections())
    if wanted is None and len(names) == 1:
        return names[0], False
    if wanted in names:
        return str(wanted), len(names) > 1
    what = "has no collection" if not names else f"has the collections {', '.join(names[:10])}"
    raise InvalidInput(
        f"The directory {what}{f', none is {wanted!r}' if wanted and names else ''}.",
        remedy="Say which with --from." if names else "Name another directory.",
    )


def _check_settings(own: CollectionSpec, spec: CollectionSpec, request: TakeoverRequest, build_anew: bool) -> None:
    if own.dimension not in {0, spec.dimension}:
        raise SettingsMismatch(
            f"{own.name} has dimension {own.dimension}; the stage's setting for {request.collection} is "
            f"{spec.dimension}.",
            remedy="Take it over under a collection whose settings fit, or correct them in cdk.json.",
        )
    if build_anew:
        return
    for what, found, wanted in [("space", own.space, spec.space), ("hnsw", own.hnsw, spec.hnsw)]:
        if found != wanted:
            raise SettingsMismatch(
                f"{own.name} has {what} {found}; the stage's setting for {request.collection} is {wanted}.",
                remedy="Correct the setting in cdk.json, or build the index anew with the stage's: --build-anew.",
            )


def _check_rows(rows: Rows, ids: list[str], request: TakeoverRequest) -> None:
    if len(rows) < len(ids):
        missing = sorted(set(ids) - set(rows.ids))
        raise SnapshotDamaged(f"{len(missing)} rows have no vector, such as {missing[0]!r:.120}.", remedy=_LOOK)
    try:
        page = DeltaRows.upserts(rows.ids, rows.embeddings, rows.documents, rows.metadatas)
        validate_rows(page, request.collection, request.settings)
    except errors.BadDelta as error:
        what = error.message.partition(": ")[2] or error.message
        raise InvalidInput(f"It can't be taken over: {what}", remedy="Mend or delete that row, then again.") from error


def _rename(store: ChromaStore, name: str, folder: Path) -> None:
    if store.collection.name != name:
        with translated(folder):
            store.collection.modify(name=name)


def _only_index(folder: Path) -> Path | None:
    """The index folder in use. Those of collections that were deleted once stay on the disk: they are removed."""
    with translated(folder), closing(sqlite3.connect(folder / SQLITE_FILE)) as database:
        used = {str(row[0]) for row in database.execute("SELECT id FROM segments WHERE scope = 'VECTOR'")}
    found: Path | None = None
    for each in folder.iterdir():
        if each.is_dir() and each.name in used:
            found = each
        elif each.is_dir():
            shutil.rmtree(each)
    return found


def main() -> None:
    """Answer the one request on the standard input."""
    request = TakeoverRequest.model_validate_json(sys.stdin.buffer.read())
    try:
        answer = prepare_here(request).model_dump_json()
    except SiltstoneError as error:
        answer = json.dumps({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
    sys.stdout.write(answer)


if __name__ == "__main__":
    main()
