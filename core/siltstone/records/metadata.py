"""What stands beside a vector: only values that Chroma keeps exactly as they were given."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

Scalar = str | int | float | bool
MetadataValue = Scalar | list[str] | list[int] | list[float] | list[bool]
Metadata = dict[str, MetadataValue]

METADATA_BYTES = 40_960  # as Pinecone has it; a delta of 50,000 such rows is still a file one can read
PROVENANCE_KEYS = frozenset({"model", "input_format", "input_sha256", "batch_id", "delta_id"})


def provenance(
    *, model: str, input_format: str, input_sha256: str, delta_id: str, batch_id: str | None = None
) -> dict[str, str]:
    """Where a vector came from, to be laid over a record's metadata. ``batch_id``: ``None`` if no batch made it."""
    fields = {"model": model, "input_format": input_format, "input_sha256": input_sha256, "delta_id": delta_id}
    return fields if batch_id is None else {**fields, "batch_id": batch_id}


def without_nulls(fields: Mapping[str, MetadataValue | None]) -> Metadata:
    """``fields`` without those that are unknown."""
    return {key: value for key, value in fields.items() if value is not None}


def check_metadata(raw: Mapping[str, object]) -> Metadata:
    """A text's own metadata, nulls left out. Raises `ValueError` naming the key that Chroma would refuse or change.

    Values are text, whole numbers of 64 bits, finite numbers, truth values, or lists of one of these; at most 40 KB of
    JSON. Chroma refuses keys that begin with ``$`` or ``#``, drops those that begin with ``chroma:``, turns larger
    whole numbers into floats, drops what is not finite, and one such number in a list leaves the collection unreadable
    for good, on disk too.
    """
    checked: dict[str, MetadataValue | None] = {}
    for key, value in raw.items():
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # JSON can't, a caller can
            raise ValueError(f"key {key!r} is not text")  # noqa: TRY004  # pydantic takes ValueError
        if not key or key.startswith(("$", "#", "chroma:")):
            raise ValueError(f"key {key[:80]!r} can't be kept: it is empty or begins with '$', '#' or 'chroma:'")
        if key in PROVENANCE_KEYS:
            raise ValueError(f"key {key!r} is Siltstone's own (it says where a vector came from); rename it")
        checked[key] = None if value is None else _check_value(key, value)
    metadata = without_nulls(checked)
    try:
        size = len(json.dumps(metadata, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair") from error
    if size > METADATA_BYTES:
        raise ValueError(f"is {size} bytes of JSON, over {METADATA_BYTES}")
    return metadata


def _check_value(key: str, value: object) -> MetadataValue:
    if isinstance(value, list):
        return _check_list(key, value)  # pyright: ignore[reportUnknownArgumentType]
    return _check_scalar(key, value)


def _check_list(key: str, values: list[object]) -> MetadataValue:
    scalars = [_check_scalar(key, value) for value in values]
    if len({type(scalar) for scalar in scalars}) != 1:
        raise ValueError(f"key {key[:80]!r} has a list that is empty or of more than one type")
    return scalars  # pyright: ignore[reportReturnType]  # one type, as was just seen


def _check_scalar(key: str, value: object) -> Scalar:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"key {key[:80]!r} has a whole number of more than 64 bits; write it as text")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"key {key[:80]!r} has a number that is not finite")
        return value + 0.0  # -0.0 becomes 0.0, as it would in Chroma
    raise ValueError(
        f"key {key[:80]!r} has a value of type {type(value).__name__}; use text, numbers, or lists of them"
    )
