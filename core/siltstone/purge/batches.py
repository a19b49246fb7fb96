"""The files of the batches that a source was in: ours, whole and in every object version, and the provider's.

A settled batch is read by nobody any more, so its files go whole, the other sources' lines in them too: what was sent
is made again from the sources, and what came back is in the deltas and versions. An open batch still needs them.
"""

from __future__ import annotations

from io import BytesIO

import pyarrow.parquet as pq

from siltstone import keys
from siltstone.embedding.batch_files import RECORDS
from siltstone.errors import ObjectNotFound, ProviderRefused, ProviderUnavailable
from siltstone.parallel import in_parallel
from siltstone.purge.subject import Subject
from siltstone.purge.work import Purge
from siltstone.stores.ledger import BatchItem
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.stores.provider import BatchInfo, EmbeddingProvider

PLAN_SECONDS = 2 * 3_600.0  # a plan that wrote files and has no ledger item by then is long dead
PROVIDER_SECONDS = 30 * 86_400.0  # for how long the provider says it may keep what was deleted
_CLOCKS_APART = 3_600.0  # seconds between our clock and the provider's
_AGAIN = "Run the purge again then."


def purge_batches(purge: Purge) -> set[str]:
    """Remove our files. Returns the batches whose record file says that the source is not in them."""
    store = purge.stores.deltas
    folders: dict[str, list[ObjectVersion]] = {}
    for entry in store.list_versions(keys.BATCHES):
        folders.setdefault(entry.key.split("/")[1], []).append(entry)
    ledger = purge.stores.ledger.read_many(folders)
    names = set(purge.subject.collections.values())
    todo = [name for name in folders if name not in ledger or ledger[name].collection in names]

    def look(batch_id: str) -> bool | None:
        return True if batch_id in purge.record.batches else _holds(purge.subject, store, folders[batch_id])

    found = dict(zip(todo, in_parallel(look, todo), strict=True))
    going: dict[str, float | None] = {}
    for batch_id, holds in found.items():
        if holds is None and any(not entry.is_delete_marker for entry in folders[batch_id]):
            purge.hold(
                "batch",
                f"{keys.BATCHES}{batch_id}/",
                "Its record file is gone, so nothing tells whose rows the other files hold.",
                "Look into it, and delete its object versions by hand.",
            )
        elif holds and not _is_needed(batch_id, ledger.get(batch_id), folders[batch_id], purge):
            going[batch_id] = None if batch_id in ledger else purge.clock.now()  # never submitted
    purge.note(lambda record: record.with_batches(going))
    for batch_id in going:
        purge.remove("batch", store, folders[batch_id])
    return {batch_id for batch_id, holds in found.items() if holds is False}


def purge_provider(purge: Purge, provider: EmbeddingProvider | None) -> None:
    """Delete the provider's input, output and error files of every settled batch that had the source."""
    todo = purge.stores.ledger.read_many(batch_id for batch_id, at in purge.record.batches.items() if at is None)
    done: dict[str, float | None] = {}
    why = "No provider was given."
    if provider is not None:
        try:
            listed = _listed(todo, provider) if todo else []
            for item in todo.values():
                if _delete_files(item, listed, provider, purge):
                    done[item.batch_id] = purge.clock.now()
        except (ProviderUnavailable, ProviderRefused) as error:
            why = f"The provider could not be asked: {error.message}"
        else:
            why = ""
    if why and todo.keys() - done.keys():
        purge.hold(
            "provider",
            f"files of {', '.join(sorted(todo.keys() - done.keys()))}",
            why,
            "Run the purge again with a key that may delete files.",
        )
    purge.note(lambda record: record.with_batches(done))
    batches = purge.record.batches
    last = max((at for at in batches.values() if at is not None), default=None)
    if last is not None and purge.clock.now() < last + PROVIDER_SECONDS:
        purge.hold(
            "provider",
            f"files of {', '.join(sorted(name for name, at in batches.items() if at is not None))}",
            "They are deleted; the provider says that it may keep what was deleted for up to 30 days.",
            "Nothing.",
            until=last + PROVIDER_SECONDS,
        )


def _holds(subject: Subject, store: ObjectStore, entries: list[ObjectVersion]) -> bool | None:
    """Whether the source is in the batch; ``None`` where that can't be told."""
    tables = [entry for entry in entries if not entry.is_delete_marker and entry.key.endswith(f"/{RECORDS}")]
    whole = False
    for entry in tables:
        try:
            body = store.get_version(entry.key, entry.version_id).body
        except ObjectNotFound:
            continue  # it expired just now
        whole |= entry.key == keys.batch_attempt(entry.key.split("/")[1], 1) + RECORDS  # later ones hold fewer rows
        table = pq.read_table(BytesIO(body), columns=["id", "source_id"])
        sources = table.column("source_id").to_pylist()
        if subject.source_id in sources:
            return True
        # An adopted batch's rows may belong to no source that was known then.
        strangers = [row for row, source in zip(table.column("id").to_pylist(), sources, strict=True) if source is None]
        if any(subject.owned(name, strangers) for name in subject.collections):
            return True
    return False if whole else None


def _is_needed(batch_id: str, item: BatchItem | None, entries: list[ObjectVersion], purge: Purge) -> bool:
    if item is not None and item.open:
        purge.hold(
            "batch",
            f"{keys.BATCHES}{batch_id}/",
            f"The batch is {item.status}: it needs its files, and the provider's, until it ends. The source's rows are "
            "left out of its delta.",
            f"Run the purge again once it has ended, within about a day; or end it: siltstone embed cancel {batch_id}",
        )
        return True
    newest = max(entry.last_modified for entry in entries)
    if item is None and purge.clock.now() < newest + PLAN_SECONDS:
        purge.hold(
            "batch",
            f"{keys.BATCHES}{batch_id}/",
            "The ledger does not know this batch: a plan may be about to write it.",
            _AGAIN,
            until=newest + PLAN_SECONDS,
        )
        return True
    return False


def _listed(ledger: dict[str, BatchItem], provider: EmbeddingProvider) -> list[BatchInfo]:
    """The provider's batches of ours: also a submission of which the ledger never heard again."""
    since = min(item.created_at for item in ledger.values()) - _CLOCKS_APART
    return [info for info in provider.list_batches(since=since) if info.metadata.get("batch_id") in ledger]


def _delete_files(item: BatchItem, listed: list[BatchInfo], provider: EmbeddingProvider, purge: Purge) -> bool:
    """``False``: one of its submissions is still running."""
    infos = {info.id: info for info in listed if info.metadata.get("batch_id") == item.batch_id}
    known = [item.openai_batch_id, *(attempt.openai_batch_id for attempt in item.attempts)]
    for openai_id in {name for name in known if name is not None} - infos.keys():
        try:
            infos[openai_id] = provider.get_batch(openai_id)
        except ProviderRefused as error:
            if "HTTP 404" not in error.message:  # else it has forgotten the batch, and its files with it
                raise
    files = {item.input_file_id}
    for info in infos.values():
        if info.running:
            purge.hold(
                "provider",
                info.id,
                f"The provider still works on it ({info.status}).",
                f"Wait until it has ended, or cancel it. {_AGAIN}",
            )
            return False
        files |= {info.input_file_id, info.output_file_id, info.error_file_id}
    for file_id in sorted(name for name in files if name):
        provider.delete_file(file_id)
        purge.removed["provider"] += 1
    return True
