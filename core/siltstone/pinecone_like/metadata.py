"""Pinecone's metadata in a store whose rows also say where their vectors came from, and which can't hold all of it.

What the store holds as it is stays a field of its own, so filters find it. A field that it can't hold (an empty list, a
name that is empty or begins with ``#`` or ``chroma:``) or that bears the name of one of its own (``model``,
``delta_id`` ...) is kept as the migration keeps it, in JSON under ``pinecone_json``, and comes back from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from siltstone.errors import BadRecord
from siltstone.migration.convert import DOCUMENT_KEY, JSON_KEY, SPARSE_KEY
from siltstone.pinecone_like.shapes import SparseValues
from siltstone.records.metadata import PROVENANCE_KEYS

_INT64 = 2**63


def is_kept_aside(name: str) -> bool:
    """Whether a field of this name can't be one of the store's."""
    return not name or name in PROVENANCE_KEYS or name == JSON_KEY or name.startswith(("$", "#", "chroma:"))


def check(metadata: object, where: str) -> dict[str, Any]:
    """Values are texts, numbers, truth values or lists of texts; a null is left out, as Pinecone does.

    ``where`` says whose it is. Raises `BadRecord` naming the field.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise BadRecord(f"{where}: metadata is not a dictionary.", remedy="Give one, or none.")
    checked: dict[str, Any] = {}
    for name, value in cast("Mapping[Any, Any]", metadata).items():
        if not isinstance(name, str) or name.startswith("$"):
            raise BadRecord(f"{where}: {name!r:.60} is no name of a metadata field.", remedy="Rename it.")
        if value is not None:
            checked[name] = _value(value, f"{where}: metadata {name!r:.60}")
    return checked


def to_store(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What `check` returned, as the store holds it."""
    aside = {name: value for name, value in metadata.items() if is_kept_aside(name) or value == []}
    stored = {name: value for name, value in metadata.items() if name not in aside}
    if aside:
        stored[JSON_KEY] = json.dumps(aside, sort_keys=True)
    return stored


def from_store(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row's own metadata, as Pinecone would return it: every number has a fraction."""
    found = {name: _as_pinecone(value) for name, value in _own(stored).items()}
    found.pop(SPARSE_KEY, None)
    return found


def sparse_of(stored: Mapping[str, Any] | None) -> SparseValues | None:
    """What the migration kept of a row's sparse values."""
    found = _own(stored).get(SPARSE_KEY)
    return None if found is None else SparseValues(found["indices"], found["values"])


def document_of(metadata: Mapping[str, Any]) -> str | None:
    """The text that becomes the row's document, the same field that the migration takes."""
    found = metadata.get(DOCUMENT_KEY)
    return found if isinstance(found, str) else None


def changed(stored: Mapping[str, Any] | None, fields: Mapping[str, Any], *, same_vector: bool) -> dict[str, Any]:
    """A row's metadata with ``fields`` set, as the store holds it. A vector that stays keeps its origin."""
    origin = {name: value for name, value in (stored or {}).items() if name in PROVENANCE_KEYS - {"delta_id"}}
    return {**(origin if same_vector else {}), **to_store({**_own(stored), **fields})}


def _own(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """All that is the row's own, whole numbers as they are, sparse values among it."""
    held = {name: value for name, value in (stored or {}).items() if not is_kept_aside(name)}
    return {**held, **_aside((stored or {}).get(JSON_KEY, "{}"))}


def _aside(text: Any) -> dict[str, Any]:
    """What is under ``pinecone_json``; if somebody else wrote something else there, that is the row's own field."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError):
        found = None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {JSON_KEY: text}


def _value(value: object, where: str) -> Any:
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else float(value)
    if isinstance(value, list | tuple | set | frozenset):
        texts = list(cast("list[object]", value))
        if all(isinstance(each, str) for each in texts):
            return texts
    raise BadRecord(
        f"{where} is none of text, number, truth value, list of texts: {value!a:.60}.",
        remedy="Flatten it, or write it as text.",
    )


def _as_pinecone(value: Any) -> Any:
    return float(value) if type(value) is int else value
