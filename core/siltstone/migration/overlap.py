"""The nearest of a sample of queries, asked in both."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence

import numpy as np

from siltstone.migration.here import Here
from siltstone.migration.job import Job
from siltstone.migration.report import Overlap
from siltstone.migration.source import SourceIndex, SourceVector
from siltstone.query.overlay import distances

TOP = 10
_TIE = 1e-6  # relative: two sums of float32 in another order


class Sample:
    """The vectors whose ids have the smallest hashes: spread over all, and the same ones each time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[int, str, SourceVector]] = []  # a heap: the greatest hash first, negated

    def take(self, vectors: Iterable[SourceVector]) -> None:
        """Look at these, too."""
        for vector in vectors:
            place = -int.from_bytes(hashlib.sha256(vector.id.encode()).digest()[:8], "big")
            heapq.heappush(self._kept, (place, vector.id, vector))
            if len(self._kept) > self._size:
                heapq.heappop(self._kept)

    def vectors(self) -> list[SourceVector]:
        """Those that were kept, in the order of their ids."""
        return [vector for _, _, vector in sorted(self._kept, key=lambda each: each[1])]


def overlap(
    vectors: Sequence[SourceVector], job: Job, index: SourceIndex, here: Here, *, min_found: float
) -> Overlap | None:
    """Ask both for the `TOP` nearest to each of ``vectors``; ``None`` where there is nothing to ask."""
    shared: list[float] = []
    found: list[float] = []
    below: list[str] = []
    for vector in vectors:
        question = vector.values.tolist()
        theirs = index.query(job.move.namespace, question, TOP)
        if not theirs:
            continue
        mine, last = here.nearest(question, TOP)
        hits = len(set(theirs) & set(mine))
        rows = here.rows([row_id for row_id in theirs if row_id not in mine])
        ties = 0
        if rows and len(mine) == len(theirs):
            near = distances(np.stack([row[0] for row in rows.values()]), vector.values, job.move.settings.space)
            ties = int(np.count_nonzero(near >= last - _TIE * max(1.0, abs(last))))
        shared.append(hits / len(theirs))
        found.append((hits + ties) / len(theirs))
        if found[-1] < min_found:
            below.append(vector.id)
    if not found:
        return None
    return Overlap(
        queries=len(found),
        top=TOP,
        shared=float(np.mean(shared)),
        found=float(np.mean(found)),
        worst=min(found),
        below=below,
    )
