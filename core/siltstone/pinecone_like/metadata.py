"""Pinecone's metadata in a store whose rows also say where their vectors came from, and which can't hold all of it.

What the store holds as it is stays a field of its own, so filters find it. A field that it can't hold (an empty list, a
name that is empty or begins with ``#`` or ``chroma:``) or that bears the name of one of its own (``model``,
``delta_id`` ...) is kept in JSON under `KEPT`, and comes back from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from siltstone.errors import BadRecord
from siltstone.records.metadata import PROVENANCE_KEYS

KEPT = "pinecone_metadata"
_INT64 = 2**63


def is_kept_aside(name: str) -> bool:
    """Whether a field of this name can't be one of the store's."""
    return not name or name in PROVENANCE_KEYS or name == KEPT or name.startswith(("#", "chroma:"))


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
        stored[KEPT] = json.dumps(aside, sort_keys=True)
    return stored


def from_store(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row's own metadata, as Pinecone would return it: every number has a fraction."""
    return {name: _as_pinecone(value) for name, value in merged(stored, {}).items()}


def merged(stored: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """The row's own metadata, whole numbers as they are, with the fields of ``new`` over it."""
    own = {name: value for name, value in (stored or {}).items() if not is_kept_aside(name)}
    return {**own, **_aside(stored or {}), **new}


def origin(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the row's vector came from, for a row that is written again with the same vector."""
    return {name: value for name, value in (stored or {}).items() if name in PROVENANCE_KEYS - {"delta_id"}}


def _aside(stored: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(stored.get(KEPT, "{}"))
    except (ValueError, TypeError):  # a field of somebody else that happens to have this name
        return {KEPT: stored[KEPT]}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {KEPT: stored[KEPT]}


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
