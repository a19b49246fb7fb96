"""One question to one collection: checked, embedded if it is text, asked of every shard, merged."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest
from siltstone.deltas.shards import physical, spread
from siltstone.errors import BadQuery, UnknownCollection
from siltstone.query.index import Hits, Vector, no_hits
from siltstone.query.messages import QueryInput, QueryOutput, QueryResults
from siltstone.query.overlay import nearest
from siltstone.query.pending import PendingReader
from siltstone.query.reader import SnapshotReader
from siltstone.query.search import View
from siltstone.query.where import normalize
from siltstone.query.where_document import normalize_document
from siltstone.settings import CollectionBook, CollectionSettings, Space
from siltstone.stores.provider import EmbeddingProvider


@dataclass(frozen=True)
class Readers:
    """What a process that answers queries keeps between them."""

    snapshots: SnapshotReader
    pending: PendingReader


@dataclass(frozen=True)
class Answerable:
    """A collection as it is seen for one question: a view for each shard, and what they were made of."""

    views: list[View]
    manifest: Manifest | None  # of the oldest version among the shards
    pending: int | None
    unusable: int
    stale: str | None


def query(
    request: QueryInput,
    readers: Readers,
    book: CollectionBook,
    clock: Clock,
    provider: Callable[[], EmbeddingProvider],
) -> QueryOutput:
    """Answer ``request``. ``provider`` is only called for ``query_text``.

    Raises `BadQuery` (400), `UnknownCollection` and `UnknownVersion` (404), `StoreUnavailable` (503).
    """
    where, text = normalize(request.metadata_filter), normalize_document(request.where_document)
    settings = book.resolve(request.collection_name)
    embeddings = "embeddings" in request.include
    with _see(request, readers, settings, clock) as seen:
        space, dimension = seen.views[0].space, seen.views[0].dimension
        model = seen.manifest.settings.get("model", settings.model) if seen.manifest else settings.model
        output = _describe(request, seen, space, clock)
        if request.operation == "count":
            return output.model_copy(update={"count": sum(view.count(where, text) for view in seen.views)})
        hits = no_hits(distances=request.operation == "query", embeddings=embeddings, dimension=dimension)
        if request.operation == "query":
            vector = _vector(request, model, dimension, space, provider)
            for view in seen.views:
                hits = hits.then(view.search(vector, request.n_results, where, text, embeddings=embeddings))
            hits = nearest(hits, request.n_results)
        elif request.ids is not None:
            for view, ids in zip(seen.views, _by_shard(request.ids, len(seen.views)), strict=True):
                hits = hits.then(view.get_ids(ids, where, text, embeddings=embeddings))
            place = {row_id: number for number, row_id in enumerate(hits.ids)}
            hits = hits.take([place[row_id] for row_id in dict.fromkeys(request.ids) if row_id in place])
        else:
            wanted = request.offset + request.limit
            for view in seen.views:
                hits = hits.then(view.get(where, text, limit=wanted, offset=0, embeddings=embeddings))
            hits = hits.take(range(request.offset, min(wanted, len(hits.ids))))
        return output.model_copy(update={"results": _results(hits, request)})


@contextlib.contextmanager
def _see(request: QueryInput, readers: Readers, settings: CollectionSettings, clock: Clock) -> Generator[Answerable]:
    views: list[View] = []
    manifests: list[Manifest] = []
    pending = unusable = 0
    stale: str | None = None
    with contextlib.ExitStack() as stack:
        for shard in physical(request.collection_name, settings):
            overlay = None
            if request.consistency == "strong":
                strong = stack.enter_context(readers.pending.strong(shard, settings, clock))
                opened, overlay = strong.opened, strong.overlay
                pending, unusable = pending + strong.pending, unusable + strong.unusable
            else:
                opened = stack.enter_context(readers.snapshots.reading(shard, version=request.version))
            if opened is not None:
                manifests.append(opened.manifest)
                stale = stale or opened.stale
                fixed = opened.manifest.settings
                view = View(opened.index, overlay, fixed["space"], int(fixed["dimension"]))
            else:
                view = View(None, overlay, settings.space, settings.dimension)
            views.append(view)
        if not manifests and not pending:
            raise UnknownCollection(
                f"The collection {request.collection_name!r} has no version yet"
                f"{'.' if request.consistency == 'strong' else ', and a snapshot read looks at nothing else.'}",
                remedy="Embed and compact something first, or ask with consistency=strong.",
            )
        oldest = min(manifests, key=lambda manifest: manifest.created_at, default=None)
        strong_pending = pending if request.consistency == "strong" else None
        yield Answerable(views, oldest, strong_pending, unusable, stale)


def _vector(
    request: QueryInput, model: str, dimension: int, space: Space, provider: Callable[[], EmbeddingProvider]
) -> Vector:
    if request.query_text is not None:
        if not request.query_text.strip():
            raise BadQuery("query_text is empty.", remedy="Ask for something.")
        return provider().embed([request.query_text], model=model, dimension=dimension).vectors[0]
    given = request.query_embedding or []
    if len(given) != dimension:
        raise BadQuery(
            f"query_embedding has {len(given)} numbers; {request.collection_name} has {dimension} dimensions.",
            remedy=f"Embed the question with {model} at {dimension} dimensions.",
        )
    vector = np.asarray(given, np.float32)
    length = float(np.linalg.norm(vector))
    # Chroma takes a NaN and answers nonsense.
    if not math.isfinite(length):
        raise BadQuery("query_embedding has a NaN or an infinite number.", remedy="Send finite numbers.")
    if space == "cosine" and length == 0:
        raise BadQuery("query_embedding is zero, and the space is cosine.", remedy="A direction needs a length.")
    return vector


def _by_shard(ids: list[str], shards: int) -> list[list[str]]:
    homes = spread(ids, shards)
    return [[row_id for row_id, home in zip(ids, homes, strict=True) if home == shard] for shard in range(shards)]


def _describe(request: QueryInput, seen: Answerable, space: Space, clock: Clock) -> QueryOutput:
    age = None
    if seen.manifest is not None:
        created = datetime.strptime(seen.manifest.created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        age = max(0.0, clock.now() - created.timestamp())
    return QueryOutput(
        collection_name=request.collection_name,
        version=seen.manifest.version if seen.manifest else None,
        version_age_seconds=age,
        pending_deltas=seen.pending,
        unusable_deltas=seen.unusable,
        stale=seen.stale,
        space=space,
    )


def _results(hits: Hits, request: QueryInput) -> QueryResults:
    include = request.include
    wants_distances = "distances" in include and hits.distances is not None
    return QueryResults(
        ids=hits.ids,
        distances=hits.distances.tolist() if wants_distances and hits.distances is not None else None,
        metadatas=hits.metadatas if "metadatas" in include else None,
        documents=hits.documents if "documents" in include else None,
        embeddings=hits.embeddings.tolist() if hits.embeddings is not None else None,
    )
