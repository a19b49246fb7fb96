"""A version's directory through Chroma, for reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from siltstone.query.index import Hits, Vector
from siltstone.query.where import Where
from siltstone.query.where_document import WhereDocument
from siltstone.snapshots.chroma import persistent_client
from siltstone.stores.vectors import CollectionSpec

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

_PAGE = 5_000  # sqlite takes 32,766 variables a statement; Chroma's own batches are 5,461


def open_index(folder: Path, spec: CollectionSpec) -> ChromaIndex:
    """Open a restored version. Its files were checked against the manifest; opening writes to chroma.sqlite3."""
    client = persistent_client(folder)
    try:
        return ChromaIndex(client, client.get_collection(spec.name, embedding_function=None), spec)
    except BaseException:
        client.close()
        raise


class ChromaIndex:
    """`siltstone.query.index.SnapshotIndex` over chromadb."""

    def __init__(self, client: ClientAPI, collection: Collection, spec: CollectionSpec) -> None:
        self._client = cast(Any, client)  # `close` is not in the interface that chromadb declares
        self._collection = collection
        self._spec = spec

    def count(self) -> int:
        return self._collection.count()

    def known(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(ids), _PAGE):
            found.update(self._collection.get(ids=list(ids[start : start + _PAGE]), include=[])["ids"])
        return found

    def select(
        self, where: Where | None, where_document: WhereDocument | None, *, limit: int | None = None
    ) -> list[str]:
        found = self._collection.get(
            where=cast(Any, where), where_document=cast(Any, where_document), limit=limit, include=[]
        )
        return found["ids"]

    def get(self, ids: Sequence[str], *, embeddings: bool) -> Hits:
        include: Any = ["documents", "metadatas", *(["embeddings"] if embeddings else [])]
        pages = [
            self._ordered(list(ids[start : start + _PAGE]), include, embeddings=embeddings)
            for start in range(0, max(len(ids), 1), _PAGE)
        ]
        hits = pages[0]
        for page in pages[1:]:
            hits = hits.then(page)
        return hits

    def search(
        self,
        vector: Vector,
        n: int,
        where: Where | None,
        where_document: WhereDocument | None,
        *,
        embeddings: bool,
    ) -> Hits:
        include: Any = ["documents", "metadatas", "distances", *(["embeddings"] if embeddings else [])]
        found = self._collection.query(
            query_embeddings=vector[None, :],
            n_results=n,
            where=cast(Any, where),
            where_document=cast(Any, where_document),
            include=include,
        )
        return Hits(
            found["ids"][0],
            np.asarray((found["distances"] or [[]])[0], np.float64),
            cast("list[str | None]", (found["documents"] or [[]])[0]),
            cast("list[dict[str, Any] | None]", (found["metadatas"] or [[]])[0]),
            self._vectors(cast("list[Any]", found["embeddings"])[0]) if embeddings else None,
        )

    def close(self) -> None:
        self._client.close()

    def _ordered(self, ids: list[str], include: Any, *, embeddings: bool) -> Hits:
        # An empty list of ids means "no condition" to Chroma: everything would come back.
        if not ids:
            return Hits([], None, [], [], self._vectors([]) if embeddings else None)
        found = self._collection.get(ids=ids, include=include)
        place = {row: number for number, row in enumerate(found["ids"])}
        hits = Hits(
            found["ids"],
            None,
            cast("list[str | None]", found["documents"]),
            cast("list[dict[str, Any] | None]", found["metadatas"]),
            self._vectors(found["embeddings"]) if embeddings else None,
        )
        return hits.take([place[row] for row in ids if row in place])

    def _vectors(self, values: Any) -> Vector:
        return np.asarray(values, np.float32).reshape(-1, self._spec.dimension)
