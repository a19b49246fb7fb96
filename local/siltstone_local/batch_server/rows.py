"""Runs rows of a batch: request rows in, result lines out."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from siltstone.stores.provider_memory import answered

from siltstone_local import embedder
from siltstone_local.batch_server.api_error import ApiError, provoked
from siltstone_local.batch_server.embeddings import Job, answer, check
from siltstone_local.batch_server.faults import BatchFaults, RowFate


@dataclass
class Ran:
    """What some rows became. ``output``, ``errors``: JSON lines of the two files."""

    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    tokens: int = 0


def run_rows(rows: list[dict[str, Any]], first: int, faults: BatchFaults) -> Ran:
    """Answer request rows; ``first``: how many rows of the batch ran before (row faults go by that number)."""
    ran = Ran()
    jobs: list[tuple[str, Job, RowFate]] = []
    for index, row in enumerate(rows, start=first):
        fate = faults.fate(index)
        try:
            job = check(row["body"])
            if fate == "refuse":
                raise provoked(faults.refused_status)
            jobs.append((row["custom_id"], job, fate))
        except ApiError as error:
            ran.failed += 1
            ran.errors.append(dump_row(answered(uuid.uuid4().hex, row["custom_id"], error.status, error.body)))
        if index < faults.unknown_rows and jobs:
            jobs.append((f"nobody-sent-this-{index}", jobs[-1][1], "answer"))
            ran.completed -= 1  # it is no row of this batch
    for (custom_id, job, fate), vectors in zip(jobs, _vectors([job for _, job, _ in jobs]), strict=True):
        ran.completed += 1
        ran.tokens += job.tokens
        ran.output += _lines(custom_id, job, vectors, fate)
    return ran


def _vectors(jobs: Iterable[Job]) -> list[NDArray[np.float32]]:
    """Each job's vectors (n, d), all texts of one dimension embedded together."""
    jobs = list(jobs)
    by_dimension: defaultdict[int, list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        by_dimension[job.dimension].append(index)
    found: dict[int, NDArray[np.float32]] = {}
    for dimension, indices in by_dimension.items():
        vectors = embedder.embed([text for index in indices for text in jobs[index].texts], dimension)
        at = 0
        for index in indices:
            size = len(jobs[index].texts)
            found[index] = vectors[at : at + size]
            at += size
    return [found[index] for index in range(len(jobs))]


def _lines(custom_id: str, job: Job, vectors: NDArray[np.float32], fate: RowFate) -> list[bytes]:
    if fate == "drop":
        return []
    if fate == "other_dimension":
        vectors = np.ascontiguousarray(vectors[:, :-1])
    elif fate == "zero":
        vectors = np.zeros_like(vectors)
    elif fate == "nan":
        vectors = vectors.copy()
        vectors[:, 0] = np.nan
    line = dump_row(answered(uuid.uuid4().hex, custom_id, 200, answer(job, vectors)))
    if fate == "garble":
        return [line[: len(line) // 2] + b"\n"]
    return [line, line] if fate == "repeat" else [line]


def dump_row(row: dict[str, Any]) -> bytes:
    """One JSON line; float32 arrays in their shortest exact decimals, NaN as null (JSON has no NaN)."""
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
