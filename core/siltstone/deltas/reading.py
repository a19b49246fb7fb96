"""From a listed delta to rows that may be merged: fetched as it was listed, decoded, validated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_FILE_BYTES, decode, encode
from siltstone.deltas.legacy_chroma import fetch_chroma
from siltstone.deltas.legacy_json import legacy_header
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
    fetched = fetch_delta(store, delta, settings, workspace)
    try:
        return read_fetched(fetched, settings)
    finally:
        fetched.path.unlink()


def fetch_delta(store: ObjectStore, delta: PendingDelta, settings: CollectionSettings, workspace: Path) -> FetchedDelta:
    """Bring a delta to ``workspace``, so that its size in rows is known and it can be read in any order.

    Raises as `read_delta`. It was read by another process, and may be read; what it says is not judged yet.
    """
    path = workspace / f"{ULID()}.parquet"  # an id that another writer chose is no file name
    if delta.layout == "chroma":
        rows = fetch_chroma(store, delta.prefix, delta.objects, collection=delta.collection, workspace=workspace)
        validate_rows(rows, delta.collection, settings)
        path.write_bytes(encode(rows, legacy_header(rows, delta.collection, settings)))
        return FetchedDelta(delta, path, len(rows))
    if delta.size > MAX_FILE_BYTES:
        raise BadDelta(
            f"The delta can't be used: {delta.size:,} bytes are more than {MAX_FILE_BYTES:,}.",
            remedy="Write it in several.",
        )
    packed = path if delta.layout == "parquet" else path.with_suffix(".json.gz")
    try:
        with room_for(packed):
            store.get_file(delta.key, packed, if_match=delta.etag)
        if packed != path:
            vetting.convert(packed, path, delta.collection, settings)
            packed.unlink()
        return FetchedDelta(delta, path, vetting.header(path).count)
    except BaseException:
        packed.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise


def read_fetched(fetched: FetchedDelta, settings: CollectionSettings) -> DeltaRows:
    """All rows of a delta on the local disk, validated. Raises `BadDelta`, `SchemaTooNew`."""
    header, rows = decode(fetched.path)
    validate_header(header, fetched.delta.collection, settings)
    validate_rows(rows, fetched.delta.collection, settings)
    return rows
