"""Chroma's own shapes, made of what a query answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from siltstone.errors import BadQuery
from siltstone.query.messages import QueryOutput, QueryResults

_KNOWN = ("metadatas", "documents", "distances", "embeddings")


class Found(dict[str, Any]):
    """What Chroma's ``query`` and ``get`` return, key by key; ``answered_from`` says besides what it was made from:
    version, its age, pending deltas, ``stale``, space.
    """

    def __init__(self, columns: dict[str, Any], answered_from: QueryOutput) -> None:
        super().__init__(columns)
        self.answered_from = answered_from.model_copy(update={"results": None, "results_of_each": None})


def check_include(include: Sequence[str], known: Sequence[str] = _KNOWN) -> list[str]:
    """Raises `BadQuery` for what a collection does not have, a text instead of a list among it."""
    wrong = [include] if isinstance(include, str) else [each for each in include if each not in known]
    if wrong:
        raise BadQuery(f"include: there is no {wrong[0]!r} here.", remedy=f"Use a list of {', '.join(known)}.")
    return list(include)


def query_found(results: Sequence[QueryResults], include: Sequence[str], answered_from: QueryOutput) -> Found:
    """As ``query`` returns it: for each query a list, best first; embeddings float32 (n, d)."""

    def column(name: str) -> list[Any] | None:
        return [getattr(each, name) for each in results] if name in include else None

    embeddings = [_array(each.embeddings) for each in results] if "embeddings" in include else None
    return Found(
        {
            "ids": [each.ids for each in results],
            "embeddings": embeddings,
            "documents": column("documents"),
            "uris": None,
            "included": list(include),
            "data": None,
            "metadatas": column("metadatas"),
            "distances": column("distances"),
        },
        answered_from,
    )


def get_found(pages: Sequence[QueryResults], include: Sequence[str], answered_from: QueryOutput) -> Found:
    """As ``get`` returns it: the rows of all pages; embeddings float32 (n, d)."""

    def column(name: str) -> list[Any] | None:
        return [row for page in pages for row in getattr(page, name)] if name in include else None

    embeddings = column("embeddings")
    return Found(
        {
            "ids": [row_id for page in pages for row_id in page.ids],
            "embeddings": None if embeddings is None else _array(embeddings),
            "documents": column("documents"),
            "uris": None,
            "included": list(include),
            "data": None,
            "metadatas": column("metadatas"),
        },
        answered_from,
    )


def _array(rows: list[list[float]] | None) -> Any:
    return np.asarray(rows or [], np.float32)
