"""Is everything there? Counts, every id with its checksums, and the nearest of a sample of queries in both.

Our side is read strongly, so that it may be asked before anything is compacted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siltstone.clients.transport import Transport
from siltstone.clock import Clock, iso
from siltstone.compaction.merge_rows import metadata_patch, same_vectors
from siltstone.errors import BacklogTooLarge
from siltstone.migration.convert import convert
from siltstone.migration.here import Here, Row
from siltstone.migration.job import Job
from siltstone.migration.overlap import Sample, overlap
from siltstone.migration.report import Difference, MigrationReport, NamespaceReport
from siltstone.migration.source import SourceIndex, SourceVector
from siltstone.query.messages import MAX_IDS
from siltstone.settings import Space

Progress = Callable[[str, int], None]
"""(namespace, rows compared)"""


def verify_migration(
    jobs: Sequence[Job],
    index: SourceIndex,
    transport: Transport,
    clock: Clock,
    *,
    queries: int = 20,
    min_found: float = 0.9,
    progress: Progress = lambda namespace, rows: None,
) -> MigrationReport:
    """Compare both sides. ``queries``: how many of each namespace's vectors are asked for their nearest; one of which
    less than ``min_found`` is found counts as a difference.

    Raises `BacklogTooLarge` where more is pending than a strong read holds (compact first), `IndexUnavailable`,
    `IndexRefused`.
    """
    began, start = clock.now(), clock.monotonic()
    found = [
        _verify(job, index, Here(transport, job.move.collection), progress, queries=queries, min_found=min_found)
        for job in jobs
    ]
    return MigrationReport(
        name=jobs[0].name if jobs else "",
        index=index.name,
        began_at=iso(began),
        seconds=round(clock.monotonic() - start, 3),
        namespaces=found,
    )


@dataclass
class _Comparison:
    """What was seen of one namespace so far."""

    seen: set[str] = field(default_factory=set[str])
    same: int = 0
    bitwise: int = 0
    missing: list[str] = field(default_factory=list[str])
    different: list[Difference] = field(default_factory=list[Difference])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    json_keys: Counter[str] = field(default_factory=Counter[str])
    sparse: int = 0

    def page(self, vectors: Sequence[SourceVector], job: Job, here: Here) -> set[str]:
        """Compare these; ids of those that are here."""
        self.seen.update(vector.id for vector in vectors)
        sent = convert(vectors, job.move.settings, document_key=job.document_key)
        self.left_out |= sent.left_out
        self.json_keys += sent.json_keys
        self.sparse += sent.sparse
        rows = sent.rows
        stored = here.rows(rows.ids)
        for place, row_id in enumerate(rows.ids):
            if row_id not in stored:
                self.missing.append(row_id)
                continue
            theirs = Row(rows.embeddings[place], rows.metadatas[place], rows.documents[place])
            found = _compare(row_id, theirs, stored[row_id], job.move.settings.space)
            if found.what:
                self.different.append(found)
            else:
                self.same += 1
                self.bitwise += found.vector_sha256[0] == found.vector_sha256[1]
        return set(stored)


def _verify(
    job: Job, index: SourceIndex, here: Here, progress: Progress, *, queries: int, min_found: float
) -> NamespaceReport:
    try:
        here.count()
    except BacklogTooLarge as error:
        raise BacklogTooLarge(
            f"More is pending than can be compared. {error.message}",
            remedy=f"Compact it first: siltstone compact start {job.move.collection}.",
        ) from error
    done, sample = _Comparison(), Sample(queries)
    cursor: str | None = None
    while True:
        page = job.walk.page(job.move.namespace, cursor, min(job.pages.rows, MAX_IDS))
        vectors = job.fetch(index, [row_id for row_id in dict.fromkeys(page.ids) if row_id not in done.seen])
        stored = done.page(vectors, job, here)
        sample.take(vector for vector in vectors if vector.id in stored)
        progress(job.move.namespace, len(done.seen))
        cursor = page.next
        if cursor is None:
            break
    count = here.count()
    expected = len(done.seen) - len(done.missing) - len(done.left_out)
    return NamespaceReport(
        namespace=job.move.namespace,
        collection=job.move.collection,
        said=job.move.vectors,
        seen=len(done.seen),
        here=count,
        same=done.same,
        bitwise=done.bitwise,
        missing_here=done.missing,
        only_here=here.others(done.seen - done.left_out.keys()) if count != expected else [],
        different=done.different,
        left_out=done.left_out,
        json_keys=dict(done.json_keys),
        sparse=done.sparse,
        overlap=overlap(sample.vectors(), job, index, here, min_found=min_found),
    )


def _compare(row_id: str, theirs: Row, ours: Row, space: Space) -> Difference:
    what: list[str] = []
    if not same_vectors(ours.vector[None, :], theirs.vector[None, :], space)[0]:
        what.append("vector")
    if metadata_patch(ours.metadata, theirs.metadata):
        what.append("metadata")
    if ours.document != theirs.document:
        what.append("document")
    return Difference(
        id=row_id,
        what=what,
        vector_sha256=(vector_checksum(theirs.vector), vector_checksum(ours.vector)),
        metadata_sha256=(metadata_checksum(theirs.metadata), metadata_checksum(ours.metadata)),
    )


def vector_checksum(vector: NDArray[np.float32]) -> str:
    """SHA-256 of the float32 numbers, little-endian, in hex."""
    return hashlib.sha256(np.ascontiguousarray(vector, "<f4").tobytes()).hexdigest()


def metadata_checksum(metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the JSON with sorted keys, in hex."""
    return hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode()).hexdigest()
