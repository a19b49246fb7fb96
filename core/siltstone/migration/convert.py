"""A vector of Pinecone as a row that Chroma keeps exactly, whatever its metadata.

Pinecone holds what Chroma refuses or changes: nulls, lists of several types or of none, objects within objects, whole
numbers beyond 64 bits, sparse values. All of it goes, unchanged, into one JSON object under the metadata key
``pinecone_json``: metadata under its own keys, sparse values under ``$sparse_values``. Filters don't see what is in
there; `original` puts it together again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.validate import validate_rows
from siltstone.errors import BadDelta
from siltstone.migration.source import SourceVector
from siltstone.records.metadata import PROVENANCE_KEYS, check_metadata
from siltstone.settings import CollectionSettings

JSON_KEY = "pinecone_json"
SPARSE_KEY = "$sparse_values"  # no metadata key of Pinecone begins with a dollar
DOCUMENT_KEY = "text"

_LONGEST_ID = "x" * 200  # of a delta: what the writer adds must fit, too


@dataclass(frozen=True)
class Converted:
    """``rows``: those that the collection can hold. ``left_out``: id to reason. ``json_keys``: metadata key to rows."""

    rows: DeltaRows
    left_out: dict[str, str]
    json_keys: Counter[str]
    sparse: int
    as_json: int


def convert(
    vectors: Sequence[SourceVector], settings: CollectionSettings, *, document_key: str | None = DOCUMENT_KEY
) -> Converted:
    """Rows in the order of ``vectors``. ``document_key``: of the metadata whose text becomes the document; it stays."""
    left_out: dict[str, str] = {}
    usable: list[SourceVector] = []
    for vector in vectors:
        if len(vector.values) == settings.dimension:
            usable.append(vector)
        elif not len(vector.values):
            left_out[vector.id] = "it has no dense vector, only sparse values"
        else:
            left_out[vector.id] = f"its vector has {len(vector.values)} dimensions, not {settings.dimension}"
    held, kept = zip(*[_split(vector) for vector in usable], strict=True) if usable else ((), ())
    rows = DeltaRows.upserts(
        [vector.id for vector in usable],
        np.stack([vector.values for vector in usable]) if usable else np.zeros((0, settings.dimension), np.float32),
        [_document(vector.metadata, document_key) for vector in usable],
        [{**fields, JSON_KEY: _json(others)} if others else fields for fields, others in zip(held, kept, strict=True)],
    )
    refused = _refused(rows, settings)
    left_out |= refused
    places = [place for place, row_id in enumerate(rows.ids) if row_id not in refused]
    return Converted(
        rows.take(np.asarray(places, np.intp)) if refused else rows,
        left_out,
        Counter(key for place in places for key in kept[place] if key != SPARSE_KEY),
        sum(SPARSE_KEY in kept[place] for place in places),
        sum(bool(kept[place].keys() - {SPARSE_KEY}) for place in places),
    )


def original(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A migrated row's metadata as Pinecone had it, and its sparse values. The inverse of `convert`.

    What says where a vector came from is left out.
    """
    others: dict[str, Any] = json.loads(metadata[JSON_KEY]) if JSON_KEY in metadata else {}
    own = {key: value for key, value in metadata.items() if key not in PROVENANCE_KEYS and key != JSON_KEY}
    sparse = others.pop(SPARSE_KEY, None)
    return {**own, **others}, sparse


def _split(vector: SourceVector) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata that Chroma holds as it is, and the rest."""
    held: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for key, value in vector.metadata.items():
        (held if _holds(key, value) else kept)[key] = value
    if vector.sparse is not None:
        kept[SPARSE_KEY] = dict(vector.sparse)
    return held, kept


def _holds(key: str, value: object) -> bool:
    return value is not None and _holds_key(key) and (isinstance(value, str | bool) or _checked("value", value))


@lru_cache(maxsize=10_000)
def _holds_key(key: str) -> bool:
    # A key that says where a vector came from would be taken for the writer's, or hide it.
    return key != JSON_KEY and key not in PROVENANCE_KEYS and _checked(key, "")


def _checked(key: str, value: object) -> bool:
    try:
        check_metadata({key: value})
    except ValueError:
        return False
    return True


def _document(metadata: Mapping[str, Any], key: str | None) -> str | None:
    found = None if key is None else metadata.get(key)
    return found if isinstance(found, str) else None


def _json(others: Mapping[str, Any]) -> str:
    return json.dumps(others, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _refused(rows: DeltaRows, settings: CollectionSettings) -> dict[str, str]:
    """Rows that the writer would refuse, by halving: the whole page is looked at once, where all is well."""
    origin = {"model": settings.model, "input_format": settings.input_format, "delta_id": _LONGEST_ID}
    whole = replace(rows, metadatas=[{**origin, **metadata} for metadata in rows.metadatas])
    spread_later = settings.model_copy(update={"shards": 1})
    refused: dict[str, str] = {}

    def look(part: DeltaRows) -> None:
        if not len(part):
            return
        try:
            validate_rows(part, "", spread_later)
        except BadDelta as error:
            if len(part) == 1:
                refused[part.ids[0]] = error.message.rpartition(f"{part.ids[0]!r:.120}: ")[2].rstrip(".")
                return
            half = len(part) // 2
            look(part.slice(0, half))
            look(part.slice(half, len(part)))

    look(whole)
    return refused
