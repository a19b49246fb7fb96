"""A version's directory through Chroma, for reading."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from siltstone.errors import BadQuery
from siltstone.parallel import chunks
from siltstone.query.index import Hits, Vector
from siltstone.query.where import Where
from siltstone.query.where_document import WhereDocument
from siltstone.snapshots.chroma import persistent_client, translated
from siltstone.stores.vectors import CollectionSpec

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api.client import Client

_PAGE = 5_000  # sqlite takes 32,766 variables a statement; Chroma's own batches are 5,461


def open_index(folder: Path, spec: CollectionSpec) -> ChromaIndex:
    """Open a restored version. Its files were checked against the manifest; opening writes to chroma.sqlite3.

    ``embedding_function=None``: Chroma would load a model of another dimension otherwise. Raises `SnapshotDamaged`.
    """
    with translated(folder):
        client = persistent_client(folder)
        try:
            return ChromaIndex(folder, client, client.get_collection(spec.name, embedding_function=None), spec)
        except BaseException:
            client.close()
            raise


class ChromaIndex:
    """`siltstone.query.index.SnapshotIndex` over chromadb. Raises `BadQuery` for what Chroma itself refuses."""

    def __init__(self, folder: Path, client: Client, collection: Collection, spec: CollectionSpec) -> None:
        self._folder = folder
        self._client = client
        self._collection = collection
        self._spec = spec
        self._ids: list[str] | None = None  # of all rows, once somebody asked: a version never changes

    def count(self) -> int:
        with self._asked():
            return self._collection.count()

    def known(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for page in chunks(ids, _PAGE):
            with self._asked():
                found.update(self._collection.get(ids=page, include=[])["ids"])
        return found

    def select(
        self, where: Where | None, where_document: WhereDocument | None, *, limit: int | None = None
    ) -> list[str]:
        everything = where is None and where_document is None and limit is None
        if everything and self._ids is not None:
            return self._ids.copy()
        with self._asked():
            found = self._collection.get(
                where=cast(Any, where), where_document=cast(Any, where_document), limit=limit, include=[]
            )["ids"]
        if everything:
            self._ids = found.copy()
        return found

    def get(self, ids: Sequence[str], *, embeddings: bool) -> Hits:
        hits = Hits([], None, [], [], self._vectors([]) if embeddings else None)
        for page in chunks(ids, _PAGE):
            hits = hits.then(self._page(page, embeddings=embeddings))
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
        include = ["documents", "metadatas", "distances", *(["embeddings"] if embeddings else [])]
        found = self._nearest(vector, n, where, where_document, include)
        return Hits(
            found["ids"][0],
            np.asarray(found["distances"][0], np.float64),
            found["documents"][0],
            found["metadatas"][0],
            self._vectors(found["embeddings"][0]) if embeddings else None,
        )

    def rank(self, vector: Vector, n: int, where: Where | None, where_document: WhereDocument | None) -> list[str]:
        return self._nearest(vector, n, where, where_document, [])["ids"][0]

    def close(self) -> None:
        self._client.close()

    def _nearest(
        self, vector: Vector, n: int, where: Where | None, where_document: WhereDocument | None, include: list[str]
    ) -> dict[str, Any]:
        with self._asked():
            found = self._collection.query(
                query_embeddings=vector[None, :],
                n_results=n,
                where=cast(Any, where),
                where_document=cast(Any, where_document),
                include=cast(Any, include),
            )
        return cast("dict[str, Any]", found)

    def _page(self, ids: list[str], *, embeddings: bool) -> Hits:
        include = ["documents", "metadatas", *(["embeddings"] if embeddings else [])]
        with self._asked():
            found = self._collection.get(ids=ids, include=cast(Any, include))
        place = {row: number for number, row in enumerate(found["ids"])}  # Chroma answers in its own order
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

    @contextmanager
    def _asked(self) -> Generator[None]:
        with translated(self._folder, BadQuery):
            yield
