"""From a listed delta to rows that may be merged: fetched as it was listed, decoded, validated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_FILE_BYTES, DeltaHeader, decode, encode
from siltstone.deltas.legacy_chroma import fetch_chroma
from siltstone.deltas.legacy_json import decode_json
from siltstone.deltas.listing import PendingDelta
from siltstone.deltas.validate import validate_header, validate_rows
from siltstone.deltas.vetting import vetting
from siltstone.errors import BadDelta
from siltstone.settings import CollectionSettings
from siltstone.snapshots.files import room_for
from siltstone.stores.objects import ObjectStore


@dataclass(frozen=True)
class FetchedDelta:
    """A delta on the local disk, in today's layout whatever it was. ``rows``: as its header says."""

    delta: PendingDelta
    path: Path
    rows: int


def read_delta(store: ObjectStore, delta: PendingDelta, settings: CollectionSettings, workspace: Path) -> DeltaRows:
    """A pending delta's rows. ``workspace``: a private folder with room for it.

    Raises `BadDelta` and `SchemaTooNew`; `ObjectNotFound` or `PreconditionFailed` if it is not what was listed;
    `DiskFull`, `StoreUnavailable`.
    """
    if delta.layout == "parquet":
        fetched = fetch_delta(store, delta, settings, workspace)
        try:
            return read_fetched(fetched, settings)
        finally:
            fetched.path.unlink()
    if delta.layout == "chroma":
        rows = fetch_chroma(store, delta.prefix, delta.objects, collection=delta.collection, workspace=workspace)
    else:
        _check_size(delta)
        rows = decode_json(store.get(delta.key, if_match=delta.etag).body)
    validate_rows(rows, delta.collection, settings)
    return rows


def fetch_delta(store: ObjectStore, delta: PendingDelta, settings: CollectionSettings, workspace: Path) -> FetchedDelta:
    """Bring a delta to ``workspace``, so that its size in rows is known and it can be read in any order.

    Raises as `read_delta`. One of today's layout was read by another process, and may be read; it is not judged yet.
    """
    path = workspace / f"{ULID()}.parquet"  # an id that another writer chose is no file name
    if delta.layout == "parquet":
        _check_size(delta)
        try:
            with room_for(path):
                store.get_file(delta.key, path, if_match=delta.etag)
            return FetchedDelta(delta, path, vetting.header(path).count)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    rows = read_delta(store, delta, settings, workspace)
    header = DeltaHeader(
        delta_id=delta.delta_id,
        collection=delta.collection,
        count=len(rows),
        model=settings.model,
        dimension=rows.dimension,
        input_format=settings.input_format,
        created_at="",
    )
    path.write_bytes(encode(rows, header))
    return FetchedDelta(delta, path, len(rows))


def read_fetched(fetched: FetchedDelta, settings: CollectionSettings) -> DeltaRows:
    """All rows of a delta on the local disk, validated. Raises `BadDelta`, `SchemaTooNew`."""
    header, rows = decode(fetched.path)
    validate_header(header, fetched.delta.collection, settings)
    validate_rows(rows, fetched.delta.collection, settings)
    return rows


def _check_size(delta: PendingDelta) -> None:
    if delta.size > MAX_FILE_BYTES:
        raise BadDelta(
            f"The delta can't be used: {delta.size:,} bytes are more than {MAX_FILE_BYTES:,}.",
            remedy="Write it in several.",
        )
