"""Changes to rows that are there: each is read, changed, and written again as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siltstone.clients.collection import Collection
from siltstone.errors import NothingWritten
from siltstone.parallel import chunks
from siltstone.pinecone_like.filters import Node
from siltstone.pinecone_like.metadata import changed, document_of
from siltstone.pinecone_like.search import passing

_AT_ONCE = 1_000


def ids_passing(collection: Collection, node: Node) -> list[str]:
    """Ids of all rows that pass; none where nothing was ever written."""
    try:
        return [row.id for row in passing(collection, node)]
    except NothingWritten:
        return []


def change(
    collection: Collection, ids: Sequence[str], fields: Mapping[str, Any], vector: NDArray[np.float32] | None = None
) -> None:
    """Set ``fields`` of the metadata of rows, and their vector where one is given. An id without a row is no error."""
    for part in chunks(ids, _AT_ONCE):
        try:
            found = collection.get(ids=part, include=("embeddings", "metadatas", "documents"))
        except NothingWritten:
            return
        if not found["ids"]:
            continue
        text = document_of(fields)
        collection.upsert(
            found["ids"],
            found["embeddings"] if vector is None else np.tile(vector, (len(found["ids"]), 1)),
            [changed(stored, fields, same_vector=vector is None) for stored in found["metadatas"]],
            found["documents"] if text is None else [text] * len(found["ids"]),
        )
