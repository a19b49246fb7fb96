"""What a delta says, judged before it is written and again before it is merged.

Limits: an id has 1 to 1,024 bytes of UTF-8, a document at most 1 MiB, a row's metadata at most 64 KiB of JSON.
Refused besides: everything that Chroma 1.5.9 was measured to refuse, to change without a word (``NaN``, infinity and
integers beyond 64 bits; keys that start with ``chroma:``), or to break over for good (a ``NaN`` in a list makes the
directory's log unreadable). An empty document and empty metadata are kept as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from siltstone import keys
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_ROWS, DeltaHeader
from siltstone.deltas.shards import spread
from siltstone.errors import BadDelta
from siltstone.settings import CollectionSettings, Space

MAX_ID_BYTES = 1_024
MAX_DOCUMENT_BYTES = 2**20
MAX_METADATA_BYTES = 64 * 2**10
_INT64 = 2**63


def validate_header(header: DeltaHeader, collection: str, settings: CollectionSettings) -> None:
    """Is this delta for ``collection`` (a shard's own name), its model and dimension? Raises `BadDelta`."""
    for name, found, expected in (
        ("collection", header.collection, collection),
        ("model", header.model, settings.model),
        ("dimension", header.dimension, settings.dimension),
    ):
        if found != expected:
            _refuse(f"its {name} is {found!r}, not {expected!r}")


def validate_rows(rows: DeltaRows, collection: str, settings: CollectionSettings) -> None:
    """Can every row be merged into ``collection`` exactly as it is? Raises `BadDelta` naming row, id and reason."""
    if not 1 <= len(rows) <= MAX_ROWS:
        _refuse(f"it has {len(rows):,} rows, not 1 to {MAX_ROWS:,}")
    if rows.dimension != settings.dimension:
        _refuse(f"its dimension is {rows.dimension}, not {settings.dimension}")
    check_ids(rows.ids)
    _check_shard(rows.ids, collection, settings)
    _check_vectors(rows, settings.space)
    for place, (document, metadata) in enumerate(zip(rows.documents, rows.metadatas, strict=True)):
        reason = (document is not None and _document_fault(document)) or _metadata_fault(metadata)
        if reason:
            _refuse_row(rows.ids, place, reason)


def check_ids(ids: Sequence[str]) -> None:
    """Texts of a usable length, none twice. Raises `BadDelta`."""
    seen: set[str] = set()
    for place, row_id in enumerate(ids):
        size = _utf8_size(row_id)
        if size is None or not 1 <= size <= MAX_ID_BYTES:
            _refuse_row(ids, place, f"an id is 1 to {MAX_ID_BYTES:,} bytes of UTF-8")
        if row_id in seen:
            _refuse_row(ids, place, "the id is repeated")
        seen.add(row_id)


def _check_shard(ids: Sequence[str], collection: str, settings: CollectionSettings) -> None:
    if settings.shards == 1:
        return
    _, shard = keys.split_shard(collection)
    if shard is None:
        _refuse(f"{collection} has {settings.shards} shards, and this is none of them; a replay spreads it")
    strangers = np.flatnonzero(spread(ids, settings.shards) != shard)
    if strangers.size:
        _refuse_row(ids, int(strangers[0]), f"the id belongs to another shard than {shard}")


def _check_vectors(rows: DeltaRows, space: Space) -> None:
    """By the squared length in float32, which is what the index works with: it must neither overflow nor vanish."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: NDArray[np.float32] = np.einsum("ij,ij->i", rows.embeddings, rows.embeddings)
    wrong = ~np.isfinite(lengths)
    if space == "cosine":
        wrong |= lengths == 0
    places = np.flatnonzero(wrong & ~rows.deletes)
    if places.size:
        place = int(places[0])
        vector = rows.embeddings[place]
        if np.isnan(vector).any():
            reason = "the vector has a NaN"
        elif np.isinf(vector).any():
            reason = "the vector has an infinite number"
        elif lengths[place] == 0:
            reason = "a zero vector has no direction, and the space is cosine"
        else:
            reason = "the vector's squared length overflows float32"
        _refuse_row(rows.ids, place, reason)


def _document_fault(document: object) -> str:
    size = _utf8_size(document)
    if size is None:
        return "the document is not text"
    return f"the document has more than {MAX_DOCUMENT_BYTES:,} bytes" if size > MAX_DOCUMENT_BYTES else ""


def _metadata_fault(metadata: dict[str, Any]) -> str:
    """Why Chroma would refuse or change this, or an empty string."""
    total = 0
    for key, value in metadata.items():
        size = _utf8_size(key)
        if not size or key[0] in "#$" or key.startswith("chroma:"):
            return f"metadata key {key!r:.80} is reserved or no text"
        values: list[Any] = value if isinstance(value, list) else [value]
        if not values or len({type(each) for each in values}) > 1:
            return f"metadata {key!r:.80}: a list needs at least one value, and all of one type"
        for each in values:
            fault = _value_fault(each, nullable=value is None)
            if fault:
                return f"metadata {key!r:.80}: {fault}"
            total += len(each) if isinstance(each, str) else 8
        total += size
    return f"metadata has more than {MAX_METADATA_BYTES:,} bytes" if total > MAX_METADATA_BYTES else ""


def _value_fault(value: object, *, nullable: bool) -> str:
    if isinstance(value, str):
        return "" if value.isascii() or _utf8_size(value) is not None else "the text is not valid Unicode"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} would be dropped"
    if isinstance(value, int):  # bool too
        return "" if -_INT64 <= value < _INT64 else "an integer beyond 64 bits would become a float"
    return "" if value is None and nullable else f"{type(value).__name__} is none of str, int, float, bool"


def _utf8_size(text: object) -> int | None:
    """Bytes of UTF-8; ``None`` for what has none: a lone surrogate, or no text at all."""
    if not isinstance(text, str):
        return None
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


def _refuse_row(ids: Sequence[str], place: int, reason: str) -> NoReturn:
    _refuse(f"row {place}, id {ids[place]!r:.120}: {reason}")


def _refuse(reason: str) -> NoReturn:
    raise BadDelta(
        f"The delta can't be used: {reason}.", remedy="Mend its producer; a quarantined delta can be replayed."
    )
