"""Operations in a file, on their way to deltas: vectors that somebody has already, and ids to delete.

=============  ===========================================================================================
JSONL          ``{"id", "embedding": [numbers], "document", "metadata": {...}}``, or ``{"id", "op": "delete"}``
Parquet        the same as columns; ``embedding`` a list of floats, ``metadata`` a struct or JSON text
=============  ===========================================================================================

Whatever is wrong is named with its line or row before the first delta is written: the file is read twice.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows, without_nulls
from siltstone.deltas.codec import MAX_DIMENSION, MAX_ROWS
from siltstone.deltas.produce import ProducerStores, tell
from siltstone.deltas.validate import validate_rows
from siltstone.deltas.writer import WrittenDelta, write_delta
from siltstone.errors import BadDelta
from siltstone.settings import CollectionSettings
from siltstone.sources.files import Input, read_lines
from siltstone.sources.problem import SourceProblem

DELTA_BYTES = 256 * 2**20  # of vectors: what one delta of a file holds in memory
_ROWS = 256  # of Parquet at a time


def _object(value: Any) -> Any:
    """A column of Parquet may hold JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class _Operation(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    op: Literal["upsert", "delete"] = "upsert"
    embedding: list[float] | None = Field(default=None, max_length=MAX_DIMENSION)
    document: str | None = None
    metadata: Annotated[dict[str, Any] | None, BeforeValidator(_object)] = None


def produce_file(path: Path, collection: str, stores: ProducerStores, clock: Clock) -> Iterator[WrittenDelta]:
    """Write a file's operations as deltas, in its order, one at a time; each is durable when it comes.

    An id may come again only in a later delta of the file. Raises `BadDelta` naming line and reason before anything is
    written, `BadSource` if the file can't be read, `UnknownCollection`.
    """
    settings = stores.settings.resolve(collection)
    for _ in read_operations(path, settings):
        pass
    for rows in read_operations(path, settings):
        written = write_delta(rows, collection=collection, stores=stores, clock=clock)
        tell(stores.hints, written)
        yield written


def read_operations(path: Path, settings: CollectionSettings) -> Iterator[DeltaRows]:
    """Batches that each fit into a delta, judged for a collection with these settings. Raises as `produce_file`."""
    source = Input.of(path)
    lines = _parquet(source) if path.suffix == ".parquet" else _jsonl(source)
    most = max(1, min(MAX_ROWS, DELTA_BYTES // (4 * settings.dimension)))
    whole = settings.model_copy(update={"shards": 1})  # which shard a row goes to is the writer's to say
    batch = _Batch(settings.dimension)
    empty = True
    for place, operation in lines:
        empty = False
        batch.add(place, operation)
        if len(batch.ids) == most:
            yield batch.rows(whole)
            batch = _Batch(settings.dimension)
    if empty:
        raise BadDelta(f"{path} has no operation in it.", remedy="Write one on each line.")
    if batch.ids:
        yield batch.rows(whole)


class _Batch:
    """Operations for one delta."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self.ids: list[str] = []
        self._deletes: list[bool] = []
        self._vectors: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self._documents: list[str | None] = []
        self._metadatas: list[dict[str, Any]] = []

    def add(self, place: str, operation: _Operation) -> None:
        """Raises `BadDelta` for a vector that is missing, too much, or of another dimension."""
        delete = operation.op == "delete"
        length = None if operation.embedding is None else len(operation.embedding)
        if delete and (length is not None or operation.document is not None or operation.metadata):
            raise BadDelta(f"{place}: a delete has an id and nothing else.")
        if not delete and length != self._dimension:
            found = "no embedding" if length is None else f"an embedding of {length} numbers"
            raise BadDelta(f"{place}: {found}, where {self._dimension} are needed.")
        with np.errstate(over="ignore"):  # infinite then, which is refused with the row's name
            self._vectors.append(np.asarray(operation.embedding or np.zeros(self._dimension), np.float32))
        self.ids.append(operation.id)
        self._deletes.append(delete)
        self._documents.append(operation.document)
        self._metadatas.append(without_nulls(operation.metadata or {}))

    def rows(self, settings: CollectionSettings) -> DeltaRows:
        """Raises `BadDelta` naming row, id and reason."""
        vectors = np.stack(self._vectors)
        rows = DeltaRows(self.ids, np.array(self._deletes, np.bool_), vectors, self._documents, self._metadatas)
        validate_rows(rows, "", settings)
        return rows


def _jsonl(source: Input) -> Generator[tuple[str, _Operation]]:
    for number, line in read_lines(source):
        place = f"{source.name}, line {number}"
        if isinstance(line, SourceProblem):
            raise BadDelta(f"{place}: {line.what}.", remedy=line.remedy)
        try:
            yield place, _Operation.model_validate_json(line)
        except ValidationError as error:
            raise _wrong(place, error) from error


def _parquet(source: Input) -> Generator[tuple[str, _Operation]]:
    number = 0
    try:
        with pq.ParquetFile(source.path, memory_map=False, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    place = f"{source.name}, row {number}"
                    try:
                        yield place, _Operation.model_validate({key: row[key] for key in row if row[key] is not None})
                    except ValidationError as error:
                        raise _wrong(place, error) from error
    # ValueError and OverflowError: of a time that Python has no object for, such as pandas' nanoseconds.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadDelta(f"{source.name} can't be read as Parquet ({' '.join(str(error).split())[:300]}).") from error


def _wrong(place: str, error: ValidationError) -> BadDelta:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return BadDelta(f"{place}: {field + ': ' if field else ''}{first['msg']}.", remedy="Nothing was written.")
