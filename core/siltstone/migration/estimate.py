"""What a migration would do, from the index's own counts and a sample of each namespace. Nothing is written.

The prices were written down by hand as of `AS_OF`, not fetched from Pinecone's or AWS's pages.
"""

from __future__ import annotations

import json
import math
from typing import Final

from siltstone.clock import Clock
from siltstone.compaction.messages import Message
from siltstone.migration.convert import convert
from siltstone.migration.job import Job
from siltstone.migration.source import LIST_LIMIT, SourceIndex

AS_OF: Final = "2025-10-01"
USD_PER_MILLION_READ_UNITS: Final = 16.0  # Pinecone serverless, standard plan
USD_PER_MILLION_PUTS: Final = 5.0  # S3
USD_PER_GB_MONTH: Final = 0.023  # S3

_FETCHED_PER_UNIT = 10  # records that one read unit pays for
_DELTA_SHARE = 0.9  # of the raw bytes: zstd over byte-stream split


class MoveEstimate(Message):
    """One namespace. Bytes are of the deltas. ``usd``: of the requests, on both sides; storage is beside it."""

    namespace: str
    collection: str
    vectors: int
    bytes: int
    deltas: int
    requests: int
    minutes: float
    usd: float
    usd_storage_month: float
    sampled: int  # rows that the following was seen in
    json_keys: dict[str, int]
    sparse: int
    left_out: dict[str, str]


def estimate(job: Job, index: SourceIndex, clock: Clock, *, rate: float | None = None) -> MoveEstimate:
    """Look at one page of ids and their vectors. ``rate``: requests a second at most. Raises as the copy would."""
    move, sizes = job.move, job.pages
    began = clock.monotonic()
    ids = list(dict.fromkeys(job.walk.page(move.namespace, None, min(sizes.rows, LIST_LIMIT)).ids))
    vectors = job.fetch(index, ids)
    took = clock.monotonic() - began
    found = convert(vectors, move.settings, document_key=job.document_key)
    texts = sum(
        len(row_id.encode()) + len((document or "").encode()) + len(json.dumps(metadata, ensure_ascii=False).encode())
        for row_id, document, metadata in zip(found.rows.ids, found.rows.documents, found.rows.metadatas, strict=True)
    )
    each = 4 * move.settings.dimension + texts / max(1, len(found.rows))
    size = int(move.vectors * each * _DELTA_SHARE)
    lists, fetches = math.ceil(move.vectors / LIST_LIMIT), math.ceil(move.vectors / sizes.fetch)
    requests = lists + fetches
    sampled_requests = 1 + math.ceil(len(ids) / sizes.fetch)
    seconds = requests * took / sampled_requests / min(sizes.workers, max(1, fetches))
    if rate:
        seconds = max(seconds, requests / rate)
    deltas = math.ceil(move.vectors / sizes.rows)
    units = lists + fetches * math.ceil(sizes.fetch / _FETCHED_PER_UNIT)
    dollars = (units * USD_PER_MILLION_READ_UNITS + deltas * USD_PER_MILLION_PUTS) / 1_000_000
    return MoveEstimate(
        namespace=move.namespace,
        collection=move.collection,
        vectors=move.vectors,
        bytes=size,
        deltas=deltas,
        requests=requests,
        minutes=round(seconds / 60, 2),
        usd=round(dollars, 4),
        usd_storage_month=round(size / 1e9 * USD_PER_GB_MONTH, 4),
        sampled=len(vectors),
        json_keys=dict(found.json_keys),
        sparse=found.sparse,
        left_out=found.left_out,
    )
