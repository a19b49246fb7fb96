"""Sources in and out: a body on S3, an item in the table, and deletes for what is no longer there.

The order of the writes is what makes a crash harmless: body, item, deltas, item. After the first the plan reads the
new body and loads it; after the second the source is open, so the plan pays the deletes that are owed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from siltstone import keys
from siltstone.clock import Clock
from siltstone.errors import StoreUnavailable, UnknownSource
from siltstone.parallel import chunks, in_parallel
from siltstone.records.record import make_records
from siltstone.records.tokens import estimate_tokens
from siltstone.sources.deletes import is_known, pay_deletes
from siltstone.sources.source import Source
from siltstone.sources.state import Digests, deleted, digests, loaded, to_delete, to_embed
from siltstone.stores import Stores
from siltstone.stores.sources import SourceItem

_CHUNK = 100  # sources at a time: one batched read of the table
_RACES = 10


@dataclass
class Work:
    """What the sources of a load ask of one collection. ``tokens``: at most, of the ``records`` to embed.

    Records that a batch has already are not counted.
    """

    records: int = 0
    tokens: int = 0
    deletes: int = 0


@dataclass
class LoadReport:
    """What a load did. ``new``, ``changed``, ``unchanged`` count sources; ``delta_keys``: deltas of deletes."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    delta_keys: list[str] = field(default_factory=list[str])
    work: dict[str, Work] = field(default_factory=dict[str, Work])


@dataclass
class DeleteReport:
    """What a deletion did. ``deleted`` counts sources that had no tombstone yet.

    ``records``: deletes that were written, by logical collection; what was in flight gets one too, since it may be
    there already. ``owed``: rows of collections that no setting names, which nothing can be written to.
    """

    deleted: int = 0
    records: dict[str, int] = field(default_factory=dict[str, int])
    owed: dict[str, int] = field(default_factory=dict[str, int])
    delta_keys: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Wanted:
    """What should be in the store of one source: digests per collection, and tokens (at most) by record id."""

    digests: dict[str, Digests]
    tokens: dict[str, dict[str, int]]


def wanted_records(source: Source, stores: Stores) -> dict[str, Digests]:
    """Digests of the records that should be in the store, per collection."""
    return _wanted(source, stores).digests


def _wanted(source: Source, stores: Stores) -> Wanted:
    book = stores.settings
    wanted = Wanted({}, {})
    for name in source.collections(book):
        records = make_records(source, name, book.resolve(name))
        wanted.digests[name] = digests(records)
        wanted.tokens[name] = {record.record_id: estimate_tokens(record.input) for record in records}
    return wanted


def load_sources(
    sources: Iterable[Source],
    stores: Stores,
    clock: Clock,
    *,
    report: LoadReport | None = None,
    dry_run: bool = False,
) -> LoadReport:
    """Take sources in. The same content again does nothing.

    Changed content is to be embedded where a record is new or changed, and records that vanished are deleted at once.
    Of two sources with one id the later one counts. Raises `UnknownCollection` and `BadSource` before it writes
    anything of the hundred sources at hand; those before them are loaded, and loading all again is right.
    ``report`` is added to after each hundred, for who watches or interrupts; ``dry_run`` only reports.
    """
    report = LoadReport() if report is None else report
    for chunk in chunks(sources, _CHUNK):
        _load({source.source_id: source for source in chunk}, report, stores, clock, dry_run=dry_run)
    return report


def _load(todo: dict[str, Source], report: LoadReport, stores: Stores, clock: Clock, *, dry_run: bool) -> None:
    collections = {key: source.collections(stores.settings) for key, source in todo.items()}
    wanted: dict[str, Wanted] = {}
    owing: list[SourceItem] = []
    for _ in range(_RACES):
        items = stores.sources.read_many(todo)
        news: list[SourceItem] = []
        same: list[SourceItem] = []
        for source_id, source in todo.items():
            item = items.get(source_id)
            if item is not None and _is(item, source.revision, collections[source_id]):
                same.append(item)
                if item.open:
                    wanted[source_id] = _wanted(source, stores)
            else:
                wanted[source_id] = _wanted(source, stores)
                blank = SourceItem(source_id=source_id, kind=source.kind, revision=source.revision)
                news.append(loaded(item or blank, source.revision, wanted[source_id].digests))
        if dry_run:
            # An item's version says how often it was written, and these would be once more.
            saved, lost = (
                {item.source_id: item.model_copy(update={"version": item.version + 1}) for item in news},
                set[str](),
            )
        else:
            # Also the body of what is the same and still to be embedded: an earlier load may have been cut off, or the
            # body deleted by a deletion that this load overtook.
            unsure = [*news, *(item for item in same if item.open)]
            in_parallel(_put_body, [(todo[item.source_id], stores) for item in unsure])
            saved, lost = stores.sources.save_many(news, now=clock.now())
        report.unchanged += len(same)
        report.new += sum(item.version == 1 for item in saved.values())
        report.changed += sum(item.version > 1 for item in saved.values())
        owing += [item for item in (*same, *saved.values()) if item.open]
        todo = {source_id: source for source_id, source in todo.items() if source_id in lost}
        if not todo:
            break
    else:
        raise StoreUnavailable(f"{len(todo)} sources changed {_RACES} times while they were loaded.", remedy="Again.")
    for item in owing:
        _count(item, wanted[item.source_id], report.work)
    if not dry_run:
        _, written = pay_deletes([(item, wanted[item.source_id].digests) for item in owing], stores, clock)
        report.delta_keys += written


def _count(item: SourceItem, wanted: Wanted, work: dict[str, Work]) -> None:
    for name, records in wanted.digests.items():
        state, found = item.collections[name], work.setdefault(name, Work())
        embed = to_embed(state, records) - state.pending
        found.records += len(embed)
        found.tokens += sum(wanted.tokens[name][record_id] for record_id in embed)
        found.deletes += len(to_delete(state, records))


def delete_sources(source_ids: Iterable[str], stores: Stores, clock: Clock) -> DeleteReport:
    """Delete sources and all their records, also while a batch of theirs is open. Twice is as good as once.

    Raises `UnknownSource` before it writes anything of the hundred at hand.
    """
    report = DeleteReport()
    for chunk in chunks(source_ids, _CHUNK):
        _delete(chunk, report, stores, clock)
    return report


def _delete(todo: list[str], report: DeleteReport, stores: Stores, clock: Clock) -> None:
    gone: list[SourceItem] = []
    for _ in range(_RACES):
        items = stores.sources.read_many(todo)
        for source_id in todo:
            if source_id not in items:
                raise UnknownSource(
                    f"There is no source {source_id[:200]!r}.", remedy="See `siltstone sources status`."
                )
        gone += [item for item in items.values() if item.deleted_at is not None]
        fresh = [deleted(item, clock.now()) for item in items.values() if item.deleted_at is None]
        saved, lost = stores.sources.save_many(fresh, now=clock.now())
        report.deleted += len(saved)
        gone += saved.values()
        todo = sorted(lost)
        if not todo:
            break
    else:
        raise StoreUnavailable(f"{len(todo)} sources changed {_RACES} times while they were deleted.", remedy="Again.")
    stores.deltas.delete_many([keys.source(item.kind, item.source_id) for item in gone])
    _, written = pay_deletes([(item, unwanted(item)) for item in gone], stores, clock)
    report.delta_keys += written
    for item in gone:
        for name, state in item.collections.items():
            if state.held:
                counts = report.records if is_known(name, stores) else report.owed
                counts[name] = counts.get(name, 0) + len(state.held)


def unwanted(item: SourceItem) -> dict[str, Digests]:
    """What should be in the store of a deleted source: nothing, in any of its collections."""
    return {name: {} for name in item.collections}


def _is(item: SourceItem, revision: str, collections: tuple[str, ...]) -> bool:
    return item.deleted_at is None and item.revision == revision and item.collections.keys() >= set(collections)


def _put_body(job: tuple[Source, Stores]) -> None:
    source, stores = job
    stores.deltas.put(keys.source(source.kind, source.source_id), source.to_body())
