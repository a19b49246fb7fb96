"""What becomes of a source's item at each step: pure functions, so that every store and every retry agrees.

One rule keeps the store right whatever crashes or races: **whoever writes rows of a source saves its item afterwards,
on the version that was read before**. Where that save is refused, the source changed meanwhile, nobody knows which
write came last, and the rows are marked `strayed`: a later plan embeds or deletes them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from siltstone.records.record import Record
from siltstone.sources.canonical import canonical_json
from siltstone.stores.sources import Claim, CollectionState, SourceItem, SourceStatus

MAX_FAILURES = 3  # batches that failed as a whole, in a row, before a source waits for a person
CAUSE_LENGTH = 500

Digests = Mapping[str, str]
"""Record id -> digest."""


def digest(record: Record) -> str:
    """16 hex digits over all that is stored of a record: input, document and metadata.

    The input alone would not do: a merchant's name that was mended has to reach the filters too.
    """
    whole = [record.input_sha256, record.document, record.metadata]
    return hashlib.sha256(canonical_json(whole)).hexdigest()[:16]


def digests(records: Iterable[Record]) -> dict[str, str]:
    """Digest by record id."""
    return {record.record_id: digest(record) for record in records}


def to_embed(state: CollectionState, wanted: Digests) -> frozenset[str]:
    """Ids of the wanted records that are not certainly in the store as they should be. A refused one is not tried."""
    return frozenset(
        record_id
        for record_id, found in wanted.items()
        if state.refused.get(record_id) != found and (record_id in state.stray or state.settled.get(record_id) != found)
    )


def to_delete(state: CollectionState, wanted: Digests) -> frozenset[str]:
    """Ids of what may be in the store and should not be: records that vanished, or whose new content was refused."""
    return state.held - {record_id for record_id, found in wanted.items() if state.refused.get(record_id) != found}


def loaded(item: SourceItem, revision: str, wanted: Mapping[str, Digests]) -> SourceItem:
    """The source has this content now: whatever was in flight is released, and what changed is to be embedded."""
    states = {
        name: rested(released(item.collections.get(name, CollectionState())), records)
        for name, records in wanted.items()
    }
    changes = {"revision": revision, "deleted_at": None, "collections": {**item.collections, **states}}
    return item.model_copy(update=changes)


def rested(state: CollectionState, wanted: Digests) -> CollectionState:
    """A state that nobody has claimed, with the status that its rows give it."""
    refused = {record_id: found for record_id, found in state.refused.items() if wanted.get(record_id) == found}
    state = state.model_copy(update={"refused": refused})
    status = "NONE" if to_embed(state, wanted) or to_delete(state, wanted) else _at_rest(state)
    return _with(state, status, failures=0, cause=state.cause if status == "FAILED" else None)


def deleted(item: SourceItem, now: float) -> SourceItem:
    """The source with its tombstone. Its rows are still owed a delete."""
    states = {name: _with(released(state), "NONE", refused={}) for name, state in item.collections.items()}
    return item.model_copy(update={"deleted_at": item.deleted_at or now, "collections": states})


def forgotten(item: SourceItem) -> SourceItem:
    """A deleted source's item without what tells of its content: a hash of a short text is as good as the text."""
    states = {
        name: state if state.held else CollectionState(status=state.status) for name, state in item.collections.items()
    }
    return item.model_copy(update={"revision": "", "collections": states})


def released(state: CollectionState) -> CollectionState:
    """Without its claim. What was in flight may still arrive, so it is in doubt."""
    if state.claim is None:
        return state
    return _with(state, "NONE", claim=None, pending=frozenset(), stray=state.stray | state.pending)


def claimed(state: CollectionState, claim: Claim, records: frozenset[str]) -> CollectionState:
    """These records are in flight. A doubt about one of them that comes up from now on is a new one."""
    return _with(state, "PENDING", claim=claim, pending=records, stray=state.stray - records, cause=None)


def holds(item: SourceItem | None, collection: str, batch_id: str, revision: str) -> bool:
    """Whether the batch's claim on the source still stands, for the revision that was embedded."""
    if item is None or item.deleted_at is not None or item.revision != revision:
        return False
    state = item.collections.get(collection)
    return state is not None and state.claim is not None and state.claim.batch_id == batch_id


def settled(
    state: CollectionState,
    *,
    batch_id: str,
    embedded: Digests,
    refused: Digests,
    retry: frozenset[str],
    cause: str | None,
) -> CollectionState:
    """Durably written: ``embedded``. Certainly not there: ``refused``. Still in flight: ``retry``."""
    rows = {**state.settled, **embedded}
    for record_id in refused:
        rows.pop(record_id, None)
    state = state.model_copy(
        update={
            "batch_id": batch_id,
            "settled": rows,
            "refused": {**{key: found for key, found in state.refused.items() if key not in embedded}, **refused},
            "pending": state.pending - embedded.keys() - refused.keys(),
            "cause": cause[:CAUSE_LENGTH] if cause else state.cause,
        }
    )
    if retry:
        return state
    state = released(state)
    return _with(state, "NONE" if state.stray else _at_rest(state), failures=0)


def failed(state: CollectionState, cause: str) -> CollectionState:
    """The batch failed as a whole: a later plan takes the source again, but not for ever."""
    failures = state.failures + 1
    status: SourceStatus = "FAILED" if failures >= MAX_FAILURES else "NONE"
    return _with(released(state), status, failures=failures, cause=cause[:CAUSE_LENGTH])


def without(state: CollectionState, records: frozenset[str]) -> CollectionState:
    """These rows were durably deleted."""
    rows = {record_id: found for record_id, found in state.settled.items() if record_id not in records}
    return state.model_copy(update={"settled": rows, "stray": state.stray - records})


def strayed(state: CollectionState, records: frozenset[str]) -> CollectionState:
    """These rows were written by somebody whose knowledge of the source was out of date."""
    state = without(state, records)
    status = state.status if state.status == "PENDING" else "NONE"
    return _with(state, status, stray=state.stray | records)


def with_state(item: SourceItem, collection: str, state: CollectionState) -> SourceItem:
    """The item with one collection's state replaced."""
    return item.model_copy(update={"collections": {**item.collections, collection: state}})


def _at_rest(state: CollectionState) -> SourceStatus:
    return "FAILED" if state.refused else "SUCCESS"


def _with(state: CollectionState, status: SourceStatus, **changes: object) -> CollectionState:
    return state.model_copy(update={"status": status, **changes})
