"""One question to one collection: checked, embedded if it is text, asked of every shard, merged."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest
from siltstone.deltas.shards import physical, spread
from siltstone.errors import BadQuery, UnknownCollection
from siltstone.parallel import in_parallel
from siltstone.query.aliases import AliasReader
from siltstone.query.fixed import as_one
from siltstone.query.index import Hits, OpenIndex, Vector, no_hits
from siltstone.query.messages import QueryInput, QueryOutput, QueryResults
from siltstone.query.overlay import nearest
from siltstone.query.pending import PendingReader, Sight
from siltstone.query.reader import SnapshotReader
from siltstone.query.search import View
from siltstone.query.where import Where, normalize
from siltstone.query.where_document import WhereDocument, normalize_document
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.provider import EmbeddingProvider


@dataclass(frozen=True)
class Readers:
    """What a process that answers queries keeps between them. Safe for several threads; `close` it."""

    snapshots: SnapshotReader
    pending: PendingReader
    aliases: AliasReader

    def close(self) -> None:
        """Close every version and remove its files; who still reads finishes first."""
        self.snapshots.close()


def open_readers(stores: Stores, clock: Clock, workspace: Path, open_index: OpenIndex) -> Readers:
    """Readers with private folders in ``workspace``, which processes may share."""
    snapshots = SnapshotReader(stores.snapshots, clock, workspace, open_index)
    return Readers(
        snapshots,
        PendingReader(stores.deltas, snapshots, stores.settings, workspace),
        AliasReader(stores.snapshots, stores.settings, clock),
    )


@dataclass(frozen=True)
class Seen:
    """A collection as it is seen for one question. ``settings``: as published, where anything is."""

    views: list[View]  # one for each shard
    settings: CollectionSettings
    output: QueryOutput  # without an answer yet


def query(
    request: QueryInput,
    readers: Readers,
    book: CollectionBook,
    clock: Clock,
    provider: Callable[[], EmbeddingProvider],
) -> QueryOutput:
    """Answer ``request``. ``provider`` is only called for ``query_text``.

    Raises `BadQuery` (400), `UnknownCollection` and `UnknownVersion` (404), `StoreUnavailable` and
    `ProviderUnavailable` (try again), `BacklogTooLarge` and `SettingsMismatch`, and the errors of damage.
    """
    where, text = normalize(request.metadata_filter), normalize_document(request.where_document)
    collection = readers.aliases.collection_of(request.collection_name, fresh=request.consistency == "strong")
    request = request.model_copy(update={"collection_name": collection})
    settings = book.resolve(request.collection_name)
    shards = _shards(request, settings)
    with _see(request, shards, readers, settings, clock) as seen:
        if request.operation == "count":
            counts = in_parallel(lambda view: view.count(where, text), seen.views)
            return seen.output.model_copy(update={"count": sum(counts)})
        hits = (_nearest if request.operation == "query" else _get)(request, seen, where, text, provider)
        return seen.output.model_copy(update={"results": _results(hits, request)})


def _shards(request: QueryInput, settings: CollectionSettings) -> list[str]:
    """The physical collections to ask: a shard that is named itself is asked alone, as writers write to it alone."""
    name = request.collection_name
    shards = [name] if keys.split_shard(name)[1] is not None else physical(name, settings)
    if request.version is not None and len(shards) > 1:
        raise BadQuery(
            f"version: each of the {len(shards)} shards of {name} has versions of its own.",
            remedy=f"Ask one shard by its name, {shards[0]} and so on.",
        )
    return shards


@contextmanager
def _see(
    request: QueryInput, shards: Sequence[str], readers: Readers, settings: CollectionSettings, clock: Clock
) -> Generator[Seen]:
    strong = request.consistency == "strong"
    with ExitStack() as stack:

        def look(shard: str) -> Sight:
            if strong:
                return stack.enter_context(readers.pending.strong(shard, settings, clock))
            return Sight(stack.enter_context(readers.snapshots.reading(shard, version=request.version)))

        # Each shard is a round trip or three. What one thread has entered, the stack leaves, whichever thread fails.
        looks = in_parallel(look, shards)
        readings = [each.reading for each in looks if each.reading is not None]
        pending = sum(each.pending for each in looks)
        if not readings and not pending:
            raise UnknownCollection(
                f"The collection {request.collection_name!r} has no version yet"
                f"{'.' if strong else ', and a snapshot read looks at nothing else.'}",
                remedy="Embed and compact something first, or ask with consistency=strong.",
            )
        published = as_one(request.collection_name, settings, [reading.manifest for reading in readings])
        oldest = min((reading.manifest for reading in readings), key=_made, default=None)
        yield Seen(
            views=[
                View(each.reading and each.reading.index, each.overlay, published.space, published.dimension)
                for each in looks
            ],
            settings=published,
            output=QueryOutput(
                collection_name=request.collection_name,
                version=oldest and oldest.version,
                shard_versions={
                    shard: each.reading and each.reading.manifest.version
                    for shard, each in zip(shards, looks, strict=True)
                }
                if len(shards) > 1
                else None,
                version_age_seconds=max(0.0, clock.now() - _made(oldest)) if oldest else None,
                pending_deltas=pending if strong else None,
                unusable_deltas=sum(each.unusable for each in looks),
                stale="; ".join(reading.stale for reading in readings if reading.stale) or None,
                space=published.space,
            ),
        )


def _nearest(
    request: QueryInput,
    seen: Seen,
    where: Where | None,
    text: WhereDocument | None,
    provider: Callable[[], EmbeddingProvider],
) -> Hits:
    vector = _vector(request, seen.settings, provider)
    embeddings = "embeddings" in request.include
    found = in_parallel(
        lambda view: view.search(vector, request.n_results, where, text, embeddings=embeddings), seen.views
    )
    hits = no_hits(distances=True, embeddings=embeddings, dimension=seen.settings.dimension)
    for each in found:
        hits = hits.then(each)
    return nearest(hits, request.n_results)


def _get(
    request: QueryInput,
    seen: Seen,
    where: Where | None,
    text: WhereDocument | None,
    _provider: Callable[[], EmbeddingProvider],
) -> Hits:
    """Rows in the order of the ids asked for, or a page of all in the order of their ids: whatever is merged between
    two pages, and into whichever shard, the order is the same."""
    if request.ids is not None:
        ids, conditions = list(dict.fromkeys(request.ids)), (where, text)
        homes = spread(ids, len(seen.views)).tolist()
    else:
        passing = in_parallel(lambda view: view.select(where, text), seen.views)
        found = sorted((row_id, home) for home, each in enumerate(passing) for row_id in each)
        page = found[request.offset : request.offset + request.limit]
        ids, homes, conditions = [row_id for row_id, _ in page], [home for _, home in page], (None, None)
    embeddings = "embeddings" in request.include
    hits = no_hits(distances=False, embeddings=embeddings, dimension=seen.settings.dimension)
    for number, view in enumerate(seen.views):
        mine = [row_id for row_id, home in zip(ids, homes, strict=True) if home == number]
        hits = hits.then(view.get(mine, *conditions, embeddings=embeddings))
    place = {row_id: number for number, row_id in enumerate(hits.ids)}
    return hits.take([place[row_id] for row_id in ids if row_id in place])


def _vector(request: QueryInput, settings: CollectionSettings, provider: Callable[[], EmbeddingProvider]) -> Vector:
    """The question's vector, float32 (d,), by the collection's own model. Raises `BadQuery`."""
    if request.query_text is not None:
        return provider().embed([request.query_text], model=settings.model, dimension=settings.dimension).vectors[0]
    given = request.query_embedding or []
    if len(given) != settings.dimension:
        raise BadQuery(
            f"query_embedding has {len(given)} numbers; {request.collection_name} has {settings.dimension} dimensions.",
            remedy=f"Embed the question with {settings.model} at {settings.dimension} dimensions.",
        )
    # Chroma takes a NaN and answers nonsense.
    if not all(map(math.isfinite, given)):
        raise BadQuery("query_embedding has a NaN or an infinite number.", remedy="Send finite numbers.")
    # By the squared length in float32, which is what the index works with: it must neither overflow nor vanish.
    with np.errstate(over="ignore"):
        vector = np.asarray(given, np.float64).astype(np.float32)
        squared = float(vector @ vector)
    if not math.isfinite(squared):
        raise BadQuery("query_embedding is too long: its squared length overflows float32.", remedy="Scale it.")
    if settings.space == "cosine" and squared == 0:
        raise BadQuery("query_embedding is zero, and the space is cosine.", remedy="A direction needs a length.")
    return vector


def _made(manifest: Manifest) -> float:
    return datetime.strptime(manifest.created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def _results(hits: Hits, request: QueryInput) -> QueryResults:
    include = request.include
    distances = hits.distances if "distances" in include else None
    return QueryResults(
        ids=hits.ids,
        distances=None if distances is None else distances.tolist(),
        metadatas=hits.metadatas if "metadatas" in include else None,
        documents=hits.documents if "documents" in include else None,
        embeddings=None if hits.embeddings is None else hits.embeddings.tolist(),
    )
