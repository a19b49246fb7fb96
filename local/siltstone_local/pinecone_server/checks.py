"""What a request may hold, by Pinecone's documented limits. Everything raises `ApiError`."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from siltstone_local.pinecone_server.api_error import ApiError
from siltstone_local.pinecone_server.indexes import IndexSpec
from siltstone_local.pinecone_server.store import DEFAULT_NAMESPACE, Vector

MAX_UPSERT_VECTORS = 1000
MAX_REQUEST_BYTES = 2 * 2**20
MAX_RESULT_BYTES = 4 * 2**20
MAX_METADATA_BYTES = 40 * 1024
MAX_IDS = 1000  # of a fetch or a delete
MAX_LIST = 100
MAX_TOP_K = 10_000
_MAX_NAME = 512  # characters of an id or a namespace
_MAX_SPARSE_VALUES = 2048
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def as_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request."""
    if len(body) > MAX_REQUEST_BYTES:
        found = f"Request size {len(body)} bytes exceeds the maximum supported size of {MAX_REQUEST_BYTES} bytes"
        raise ApiError(400, found)
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"Invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The request body must be a JSON object")
    return cast("dict[str, Any]", value)


def refuse_pods(spec: IndexSpec, operation: str) -> None:
    """Raise where ``spec`` is pod-based, which can't do ``operation``."""
    if spec.pod_based:
        raise ApiError(400, f"The {operation} operation is supported only for serverless indexes")


def namespace_of(name: object) -> str:
    """The name under which a namespace is kept: the nameless one has one too."""
    if name is None or name == "":
        return DEFAULT_NAMESPACE
    return _name("Namespace", name)


def id_of(value: object) -> str:
    return _name("Vector ID", value)


def ids_of(values: object) -> list[str]:
    if not isinstance(values, list) or not values:
        raise ApiError(400, "No IDs provided")
    if len(values) > MAX_IDS:
        raise ApiError(400, f"Too many IDs requested: found {len(values)}, the limit is {MAX_IDS}")
    return [id_of(value) for value in values]


def whole(field: str, value: object, largest: int) -> int:
    """A whole number of 1 to ``largest``, also as the text of a URL."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise ApiError(400, f"Invalid value for argument {field}: must be between 1 and {largest}")
    return value


def vectors_of(values: object, spec: IndexSpec) -> list[Vector]:
    """The vectors of an upsert. Of two with one id, the last is kept."""
    if not isinstance(values, list) or not values:
        raise ApiError(400, "No vectors provided")
    if len(values) > MAX_UPSERT_VECTORS:
        raise ApiError(400, f"Vector batch size {len(values)} exceeds the maximum of {MAX_UPSERT_VECTORS}")
    return [_vector(value, spec) for value in values]


def _vector(value: object, spec: IndexSpec) -> Vector:
    if not isinstance(value, dict):
        raise ApiError(400, "A vector must be a JSON object")
    given = cast("dict[str, Any]", value)
    id_ = id_of(given.get("id"))
    sparse = sparse_of(given.get("sparseValues"))
    dense = dense_of(given.get("values") or [], spec, of=id_, needed=spec.dimension is not None)
    if spec.dimension is None and sparse is None:
        raise ApiError(400, f"Sparse vector must contain at least one value. Vector ID '{id_}'")
    return Vector(id_, dense, sparse, metadata_of(given.get("metadata")))


def dense_of(values: object, spec: IndexSpec, *, of: str | None = None, needed: bool = True) -> NDArray[np.float32]:
    """``values`` as float32. ``of``: the id of the vector that is kept (a query may be all zeros)."""
    if not isinstance(values, list) or any(isinstance(x, bool) or not isinstance(x, int | float) for x in values):
        raise ApiError(400, "values must be a list of numbers")
    if not needed and not values:
        return np.empty(0, np.float32)
    if len(values) != (spec.dimension or 0):
        dimension = f"the dimension of the index {spec.dimension or 0}"
        raise ApiError(400, f"Vector dimension {len(values)} does not match {dimension}")
    if any(abs(x) > _FLOAT32_MAX for x in values):
        raise ApiError(400, "values must be numbers that a 32-bit floating point can hold")
    dense = np.asarray(values, np.float32)
    if of is not None and not dense.any():
        text = "Dense vectors must contain at least one non-zero value."
        raise ApiError(400, f"{text} Vector ID '{of}' contains only zeros.")
    return dense


def sparse_of(value: object) -> dict[str, list[Any]] | None:
    match value:
        case None:
            return None
        case {"indices": list(indices), "values": list(values)} if len(indices) == len(values):
            pass
        case _:
            raise ApiError(400, "Sparse values must have 'indices' and 'values' of the same length")
    if len(indices) > _MAX_SPARSE_VALUES:
        raise ApiError(400, f"Sparse vectors must contain at most {_MAX_SPARSE_VALUES} values, got {len(indices)}")
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < 2**32 for i in indices):
        raise ApiError(400, "Sparse indices must be unsigned 32-bit integers")
    if len(set(indices)) != len(indices):
        raise ApiError(400, "Sparse indices must be unique")
    if any(isinstance(v, bool) or not isinstance(v, int | float) or v == 0 for v in values):
        raise ApiError(400, "Sparse values must be numbers other than zero")
    if not indices:
        return None
    return {"indices": indices, "values": np.asarray(values, np.float32).tolist()}


def metadata_of(value: object) -> dict[str, Any] | None:
    """As it is kept: numbers are 64-bit floating point, keys with null are dropped, lists hold strings."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ApiError(400, "metadata must be a JSON object")
    kept: dict[str, Any] = {}
    for field, held in value.items():
        if field.startswith("$"):
            raise ApiError(400, f"Metadata keys must not start with '$', got '{field}'")
        match held:
            case None:
                continue
            case bool() | str():
                kept[field] = held
            case int() | float():
                kept[field] = float(held)
            case list() if all(isinstance(item, str) for item in held):
                kept[field] = held
            case _:
                shown = orjson.dumps(held).decode()
                shown = shown if len(shown) <= 16 else f"{shown[:16]}..."
                allowed = "Metadata value must be a string, number, boolean or list of strings"
                raise ApiError(400, f"{allowed}, got '{shown}' for field '{field}'")
    size = len(orjson.dumps(kept))
    if size > MAX_METADATA_BYTES:
        limit = f"the limit of {MAX_METADATA_BYTES} bytes per vector"
        raise ApiError(400, f"Metadata size is {size} bytes, which exceeds {limit}")
    return kept


def _name(what: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NAME:
        raise ApiError(400, f"{what} must be a string of 1 to {_MAX_NAME} characters")
    if not value.isascii() or "\0" in value:
        raise ApiError(400, f"{what} must be ASCII without NUL, but is {value!r}")
    return value
