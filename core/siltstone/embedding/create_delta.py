"""``CreateDelta``: match the provider's answers with what was sent and write one immutable delta.

The order is decision, delta, ledger, each of them once: a retry reads the decision that stands and writes the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.validate import validate_rows
from siltstone.deltas.writer import write_delta
from siltstone.embedding.answers import Answers
from siltstone.embedding.batch_files import ERRORS, OUTCOME, OUTPUT, BatchFiles, batch_files, group_by_source, take
from siltstone.embedding.messages import CreateDeltaInput, CreateDeltaOutput
from siltstone.embedding.outcome import Fate, Outcome, decide_once
from siltstone.embedding.prices import cost_usd
from siltstone.errors import BadDelta, IllegalTransition
from siltstone.parallel import chunks
from siltstone.settings import CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.ledger import Attempt, BatchItem
from siltstone.stores.provider import EmbeddingProvider

MAX_ATTEMPTS = 3
_CHUNK = 1_000  # sources looked at a time


def create_delta(
    request: CreateDeltaInput, stores: Stores, clock: Clock, provider: EmbeddingProvider, *, workspace: Path
) -> CreateDeltaOutput:
    """Decide what became of each row and write the embedded ones.

    Memory: the vectors twice and the delta's bytes, about 1 GB for 50,000 rows of 1,536. Disk: the output file.
    Raises `IllegalTransition` if the attempt is not submitted, or the provider has not finished it.
    """
    item = stores.ledger.read(request.batch_id)
    known = item.outcome(request.attempt)
    if known is not None:
        return _output(item, known)
    if item.attempt != request.attempt or item.status != "SUBMITTED" or item.openai_batch_id is None:
        raise IllegalTransition(
            f"Attempt {request.attempt} of batch {item.batch_id} has no answers: the ledger is at attempt "
            f"{item.attempt}, {item.status}.",
            remedy="Start the batch's execution again.",
        )
    stores.ledger.touch(item.batch_id, now=clock.now())
    with batch_files(stores.deltas, item.batch_id, item.attempt, workspace) as files:
        attempt = _create(item, files, stores, clock, provider)
    item = stores.ledger.save(item.moved("EMBEDDED", attempts=item.with_outcome(attempt)), now=clock.now())
    return _output(item, attempt)


def _create(item: BatchItem, files: BatchFiles, stores: Stores, clock: Clock, provider: EmbeddingProvider) -> Attempt:
    settings = stores.settings.resolve(item.collection)
    records = files.read_records(["id", "source_id", "revision"])
    answers = Answers(records.column("id").to_pylist(), settings)
    billed = _download(item, files, provider, answers)
    outcome = answers.outcome
    if item.attempt >= MAX_ATTEMPTS and item.cancel_requested_at is None:
        outcome.fates[outcome.places(Fate.TO_RETRY)] = Fate.REJECTED
    _reject_unusable(answers, files, settings)
    _look_at_sources(outcome, records, item.collection, stores)
    outcome.tokens = outcome.tokens if billed is None else billed
    outcome = decide_once(stores.deltas, files.key(OUTCOME), outcome)
    return Attempt(
        attempt=item.attempt,
        openai_batch_id=item.openai_batch_id,
        counts=outcome.counts,
        tokens=outcome.tokens,
        cost_usd=cost_usd(item.model, outcome.tokens, batch=True),
        delta_keys=_write(item, outcome, answers.vectors, files, stores=stores, clock=clock),
        unknown_rows=outcome.unknown_rows,
    )


def _download(item: BatchItem, files: BatchFiles, provider: EmbeddingProvider, answers: Answers) -> int | None:
    """Read the answers, keep them on S3 as they came, and return the billed tokens if the provider says them."""
    info = provider.get_batch(item.openai_batch_id or "")
    if info.running:
        raise IllegalTransition(f"The provider's batch {info.id} is {info.status}.", remedy="Poll it until it ended.")
    for name, file_id in ((OUTPUT, info.output_file_id), (ERRORS, info.error_file_id)):
        if file_id is not None:
            provider.download_file(file_id, files.path(name))
            files.upload(name)
            answers.read(files.path(name))
            files.path(name).unlink()
    return info.tokens


def _look_at_sources(outcome: Outcome, records: pa.Table, collection: str, stores: Stores) -> None:
    """Leave out the rows whose source is gone or has another revision by now.

    What is rejected may have an older content in the store, which no longer is the source's: it is deleted.
    """
    ids: list[str] = records.column("id").to_pylist()
    revisions: list[str] = records.column("revision").to_pylist()
    groups = group_by_source(records)
    owned = np.zeros(len(ids), np.bool_)
    for chunk in chunks(groups, _CHUNK):
        items = stores.sources.read_many(chunk)
        for source_id in chunk:
            places = groups[source_id]
            owned[places] = True
            item = items.get(source_id)
            if item is None or item.deleted_at is not None or item.revision != revisions[places[0]]:
                outcome.fates[places] = Fate.OUTDATED
            elif collection in item.collections:
                held = item.collections[collection].held
                outcome.deletes[places] = [ids[place] in held for place in places]
    for place in np.flatnonzero(~owned).tolist():
        outcome.fates[place] = Fate.REJECTED
        outcome.reasons[place] = "unknown_record: No source has this record."
    outcome.deletes &= outcome.fates == Fate.REJECTED


def _reject_unusable(answers: Answers, files: BatchFiles, settings: CollectionSettings) -> None:
    """Reject what no delta can hold. One such row must not cost the others, which are paid for."""
    outcome = answers.outcome
    places = outcome.places(Fate.EMBEDDED)
    whole = settings.model_copy(update={"shards": 1})
    rows = _upserts(answers.vectors, places, files)
    try:
        if len(places):
            validate_rows(rows, "any", whole)
    except BadDelta:
        for number, place in enumerate(places.tolist()):
            try:
                validate_rows(rows.slice(number, number + 1), "any", whole)
            except BadDelta as error:
                outcome.fates[place] = Fate.REJECTED
                outcome.reasons[place] = f"unusable_record: {error.message}"


def _write(
    item: BatchItem, outcome: Outcome, vectors: NDArray[np.float32], files: BatchFiles, *, stores: Stores, clock: Clock
) -> tuple[str, ...]:
    places = np.flatnonzero((outcome.fates == Fate.EMBEDDED) | outcome.deletes)
    if not len(places):
        return ()
    rows = _upserts(vectors, places, files)
    gone = outcome.deletes[places]
    rows.embeddings[gone] = 0
    for number in np.flatnonzero(gone).tolist():
        rows.documents[number], rows.metadatas[number] = None, {}
    written = write_delta(
        replace(rows, deletes=gone),
        collection=item.collection,
        stores=stores,
        clock=clock,
        delta_id=f"{item.batch_id}-{item.attempt}",
        batch_id=item.batch_id,
        model=item.model,
    )
    return written.delta_keys


def _upserts(vectors: NDArray[np.float32], places: NDArray[np.intp], files: BatchFiles) -> DeltaRows:
    records = take(files.read_records(["id", "document", "metadata", "input_sha256"]), places.tolist())
    hashes = records.column("input_sha256").to_pylist()
    metadatas: list[dict[str, Any]] = [json.loads(text) for text in records.column("metadata").to_pylist()]
    return DeltaRows.upserts(
        records.column("id").to_pylist(),
        vectors if len(places) == len(vectors) else vectors[places],
        records.column("document").to_pylist(),
        [{**metadata, "input_sha256": found} for metadata, found in zip(metadatas, hashes, strict=True)],
    )


def _output(item: BatchItem, attempt: Attempt) -> CreateDeltaOutput:
    return CreateDeltaOutput(
        batch_id=item.batch_id,
        collection=item.collection,
        attempt=attempt.attempt,
        delta_keys=list(attempt.delta_keys),
        **attempt.counts.model_dump(),
    )
