"""The oldest layout: ``deltas/{uuid}/embeddings.json.gz``, parallel arrays in gzipped JSON. Read, never written."""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from siltstone.deltas.batch import DeltaRows, without_nulls
from siltstone.deltas.codec import MAX_DIMENSION, MAX_ROWS, DeltaHeader
from siltstone.errors import BadDelta
from siltstone.settings import CollectionSettings

MAX_JSON_BYTES = 2**30  # unpacked; about 30,000 rows of 1,536 numbers with 17 digits


def decode_json(body: bytes) -> DeltaRows:
    """Rows of ``{"ids", "embeddings", "metadatas", "documents"}``; other keys are ignored, the last two may be missing.

    Raises `BadDelta`, `MemoryError`. Memory: about four times the unpacked text where it holds vectors, and
    thirty times where it is empty lists: what others wrote goes through `siltstone.deltas.vetting`.
    """
    try:
        raw: Any = json.loads(_unpack(body), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        _refuse(f"it is not JSON ({str(error)[:100]})")
    if not isinstance(raw, dict):
        _refuse("it is not an object")
    ids = _column(raw, "ids", None)
    if not 1 <= len(ids) <= MAX_ROWS or not all(isinstance(row_id, str) for row_id in ids):
        _refuse(f"'ids' is not 1 to {MAX_ROWS:,} texts")
    embeddings = _vectors(_column(raw, "embeddings", len(ids)))
    documents = _column(raw, "documents", len(ids)) if raw.get("documents") is not None else [None] * len(ids)
    metadatas: list[Any] = [None] * len(ids)
    if raw.get("metadatas") is not None:
        metadatas = _column(raw, "metadatas", len(ids))
    for place, metadata in enumerate(metadatas):
        if metadata is not None and not isinstance(metadata, dict):
            _refuse(f"row {place}, id {ids[place]!r:.120}: metadata is not an object")
    return DeltaRows.upserts(ids, embeddings, documents, [without_nulls(metadata or {}) for metadata in metadatas])


def legacy_header(rows: DeltaRows, collection: str, settings: CollectionSettings) -> DeltaHeader:
    """What a delta in an older layout does not say of itself: it is taken for what the collection expects."""
    return DeltaHeader(
        delta_id="",
        collection=collection,
        count=len(rows),
        model=settings.model,
        dimension=rows.dimension,
        input_format=settings.input_format,
        created_at="",
    )


def unpacked_size(body: bytes) -> int:
    """Bytes of the text in ``body``, at most `MAX_JSON_BYTES`, without holding it."""
    unpacker = zlib.decompressobj(wbits=31)
    size, rest = 0, body
    try:
        while rest and not unpacker.eof and size < MAX_JSON_BYTES:
            size += len(unpacker.decompress(rest, 2**20))
            rest = unpacker.unconsumed_tail
    except zlib.error:
        pass  # whoever unpacks it will say so
    return size


def _unpack(body: bytes) -> bytes:
    """Unpack with a bound: a megabyte of gzip can hold a gigabyte of zeros."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(body, MAX_JSON_BYTES)
    except zlib.error as error:
        _refuse(f"it is not gzip ({error})")
    if unpacker.unconsumed_tail:
        _refuse(f"it unpacks to more than {MAX_JSON_BYTES:,} bytes")
    if not unpacker.eof:
        _refuse("it is cut short")
    return text


def _column(raw: dict[str, Any], name: str, length: int | None) -> list[Any]:
    column = raw.get(name)
    if not isinstance(column, list):
        _refuse(f"{name!r} is missing or not an array")
    if length is not None and len(column) != length:
        _refuse(f"{name!r} has {len(column):,} rows, 'ids' has {length:,}")
    return column


def _vectors(rows: list[Any]) -> NDArray[np.float32]:
    try:
        found = np.asarray(rows)
    except ValueError:
        _refuse("'embeddings' has rows of different lengths")
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not 1 <= found.shape[1] <= MAX_DIMENSION:
        _refuse("'embeddings' is not one array of numbers for each row")
    with np.errstate(over="ignore"):  # infinite then, which is refused with the row's name
        return found.astype(np.float32)


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _refuse(reason: str) -> NoReturn:
    raise BadDelta(
        f"The delta can't be used: {reason}.", remedy="Mend its producer; a quarantined delta can be replayed."
    )
