"""Every shape in which Pinecone's client takes vectors, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from siltstone.errors import BadRecord
from siltstone.pinecone_like import metadata as own

_KEYS = ("id", "values", "sparse_values", "metadata")


@dataclass(frozen=True)
class Columns:
    """Parallel; ``vectors``: float32 (n, dimension), ``metadatas`` as the store holds them. No id twice."""

    ids: list[str]
    vectors: NDArray[np.float32]
    metadatas: list[dict[str, Any]]
    documents: list[str | None]


def columns(vectors: Iterable[Any]) -> Columns:
    """Of dictionaries, tuples ``(id, values)`` or ``(id, values, metadata)``, and objects such as a ``Vector``.

    Of two with one id the last counts. Raises `BadRecord` naming the place and the id.
    """
    found: dict[str, tuple[NDArray[np.float32], dict[str, Any]]] = {}
    for place, vector in enumerate(vectors):
        row_id, values, metadata = _parts(vector, place)
        where = f"vectors[{place}], id {row_id!r:.120}"
        found.pop(row_id, None)
        found[row_id] = dense(values, where), own.to_store(own.check(metadata, where))
    if not found:
        raise BadRecord("vectors is empty: there is nothing to write.")
    lengths = {len(values) for values, _ in found.values()}
    if len(lengths) > 1:
        raise BadRecord(f"The vectors have {', '.join(map(str, sorted(lengths)))} values.", remedy="One index has one.")
    metadatas = [each for _, each in found.values()]
    return Columns(
        list(found),
        np.stack([values for values, _ in found.values()]),
        metadatas,
        [own.document_of(each) for each in metadatas],
    )


def dense(values: Any, where: str) -> NDArray[np.float32]:
    """One vector. Raises `BadRecord`."""
    try:
        with np.errstate(over="ignore"):  # infinite then, which is refused by the row's name
            vector = np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise BadRecord(f"{where}: values are not numbers.", remedy="Give a list of numbers.") from error
    if vector.ndim != 1 or not len(vector):
        raise BadRecord(f"{where}: values are not a list of numbers.", remedy="Give a list of numbers.")
    return vector


def as_values(vector: NDArray[np.float32] | None) -> list[float]:
    """The shortest numbers that are these 32 bits, as Pinecone's API writes them."""
    return [] if vector is None else [float(str(each)) for each in vector]


def refuse_sparse(sparse: object, where: str) -> None:
    """Raises `BadRecord`: what can't be kept is not dropped in silence."""
    if sparse is not None:
        raise BadRecord(f"{where}: sparse values can't be kept here.", remedy="Write the dense values alone.")


def _parts(vector: Any, place: int) -> tuple[str, Any, Any]:
    where = f"vectors[{place}]"
    if isinstance(vector, tuple):
        parts = cast("tuple[Any, ...]", vector)
        if len(parts) not in (2, 3):
            raise BadRecord(f"{where}: a tuple of {len(parts)}.", remedy="Give (id, values) or (id, values, metadata).")
        row_id, values, sparse, metadata = parts[0], parts[1], None, parts[2] if len(parts) == 3 else None
    elif isinstance(vector, Mapping):
        given = cast("Mapping[str, Any]", vector)
        unknown = [key for key in given if key not in _KEYS]
        if unknown:
            raise BadRecord(f"{where}: there is no {unknown[0]!r:.60}.", remedy=f"A vector has {', '.join(_KEYS)}.")
        row_id, values, sparse, metadata = (given.get(key) for key in _KEYS)
    else:
        if not hasattr(vector, "id") or not hasattr(vector, "values"):
            raise BadRecord(f"{where} is a {type(vector).__name__}.", remedy="Give a dictionary, a tuple or a Vector.")
        row_id, values, sparse, metadata = (getattr(vector, key, None) for key in _KEYS)
    if not isinstance(row_id, str) or not row_id:
        raise BadRecord(f"{where} has no id.", remedy="An id is a text.")
    refuse_sparse(sparse, f"{where}, id {row_id!r:.120}")
    return row_id, values, metadata
