"""One question to one collection: checked, embedded if it is text, asked of every shard, merged."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest
from siltstone.deltas.shards import physical, spread
from siltstone.errors import BadQuery, NothingWritten
from siltstone.parallel import in_parallel
from siltstone.query.aliases import AliasReader
from siltstone.query.fixed import as_one
from siltstone.query.index import Hits, OpenIndex, Vector, no_hits
from siltstone.query.messages import QueryInput, QueryOutput, QueryResults
from siltstone.query.overlay import nearest
from siltstone.query.pending import PendingReader, Sight
from siltstone.query.question import question_vectors
from siltstone.query.reader import SnapshotReader
from siltstone.query.search import View
from siltstone.query.where import Where, normalize
from siltstone.query.where_document import WhereDocument, normalize_document
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.provider import EmbeddingProvider

Filters = tuple[Where | None, WhereDocument | None]


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
    filters = filters_of(request)  # a wrong one costs no request
    collection = readers.aliases.collection_of(request.collection_name, fresh=request.consistency == "strong")
    request = request.model_copy(update={"collection_name": collection})
    settings = book.resolve(request.collection_name)
    shards = _shards(request, settings)
    with _see(request, shards, readers, settings, clock) as seen:
        return answer(request, seen, filters, provider)


def filters_of(request: QueryInput) -> Filters:
    """Both filters as they are answered. Raises `BadQuery` naming the place."""
    return normalize(request.metadata_filter), normalize_document(request.where_document)


def answer(request: QueryInput, seen: Seen, filters: Filters, provider: Callable[[], EmbeddingProvider]) -> QueryOutput:
    """Answer ``request`` from what is seen. Raises `BadQuery`, `ProviderUnavailable`, `ProviderRefused`."""
    if request.operation == "count":
        counts = in_parallel(lambda view: view.count(*filters), seen.views)
        return seen.output.model_copy(update={"count": sum(counts)})
    if request.operation == "get":
        return seen.output.model_copy(update={"results": _results(_get(request, seen, filters), request)})
    vectors = question_vectors(request, seen.settings, provider)
    found = [_results(_nearest(vector, request, seen, filters), request) for vector in vectors]
    several = request.query_texts is not None or request.query_embeddings is not None
    return seen.output.model_copy(update={"results_of_each": found} if several else {"results": found[0]})


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
            raise NothingWritten(
                f"The collection {request.collection_name!r} has no version yet"
                f"{'.' if strong else ', and a snapshot read looks at nothing else.'}",
                remedy="Embed and compact something first, or ask with consistency=strong.",
            )
        published = as_one(request.collection_name, settings, [reading.manifest for reading in readings])
        oldest = min((reading.manifest for reading in readings), key=made_at, default=None)
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
                version_age_seconds=max(0.0, clock.now() - made_at(oldest)) if oldest else None,
                pending_deltas=pending if strong else None,
                unusable_deltas=sum(each.unusable for each in looks),
                stale="; ".join(reading.stale for reading in readings if reading.stale) or None,
                space=published.space,
            ),
        )


def _nearest(vector: Vector, request: QueryInput, seen: Seen, filters: Filters) -> Hits:
    embeddings = "embeddings" in request.include
    found = in_parallel(
        lambda view: view.search(vector, request.n_results, *filters, embeddings=embeddings), seen.views
    )
    hits = no_hits(distances=True, embeddings=embeddings, dimension=seen.settings.dimension)
    for each in found:
        hits = hits.then(each)
    return nearest(hits, request.n_results)


def _get(request: QueryInput, seen: Seen, filters: Filters) -> Hits:
    """Rows in the order of the ids asked for, or a page of all in the order of their ids: whatever is merged between
    two pages, and into whichever shard, the order is the same."""
    if request.ids is not None:
        ids, conditions = list(dict.fromkeys(request.ids)), filters
        homes = spread(ids, len(seen.views)).tolist()
    else:
        passing = in_parallel(lambda view: view.select(*filters), seen.views)
        behind = request.after or ""  # no id is empty
        found = sorted((row_id, home) for home, each in enumerate(passing) for row_id in each if row_id > behind)
        page = found[request.offset : request.offset + request.limit]
        ids, homes, conditions = [row_id for row_id, _ in page], [home for _, home in page], (None, None)
    embeddings = "embeddings" in request.include
    hits = no_hits(distances=False, embeddings=embeddings, dimension=seen.settings.dimension)
    for number, view in enumerate(seen.views):
        mine = [row_id for row_id, home in zip(ids, homes, strict=True) if home == number]
        hits = hits.then(view.get(mine, *conditions, embeddings=embeddings))
    place = {row_id: number for number, row_id in enumerate(hits.ids)}
    return hits.take([place[row_id] for row_id in ids if row_id in place])


def made_at(manifest: Manifest) -> float:
    """When a version was made, epoch seconds."""
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
