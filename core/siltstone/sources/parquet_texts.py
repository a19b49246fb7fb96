"""Texts as Parquet: one row per text. Ids may be whole numbers; dates and times become ISO 8601 text."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from siltstone.errors import BadSource
from siltstone.keys import check_collection
from siltstone.sources.files import Input
from siltstone.sources.problem import SourceProblem
from siltstone.sources.table import Columns, Row, texts_of
from siltstone.sources.text import Text

_ROWS = 64  # at a time: pyarrow holds several times as much
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)  # the last: of a column's name
_BUFFER = 2**20  # bytes; without one, pyarrow holds the whole column of a row group


def read_texts_parquet(source: Input, collection: str, columns: Columns) -> Iterator[Text | SourceProblem]:
    """Texts of a Parquet file, as a stream. A bad row is a `SourceProblem` and the others go on.

    Raises `BadSource` at once for a file that is not Parquet, or whose columns can't be used, and where its bytes are
    damaged; `InvalidInput` for a name that no collection can have.
    """
    check_collection(collection)
    if source.path is None:
        raise BadSource("Parquet can't be read from a stream.", remedy="Write it to a file first.")
    try:
        # No memory map, no read-ahead: both would hold what is not needed yet.
        file = pq.ParquetFile(source.path, buffer_size=_BUFFER, pre_buffer=False, memory_map=False)
        schema: Any = file.schema_arrow
        columns.check(schema.names, source.name)
        for field in schema:
            _check(field, columns, source)
    except _UNREADABLE as error:
        raise _unusable(source, error) from error
    return texts_of(_rows(file, source), columns, source.name, collection)


def _rows(file: Any, source: Input) -> Generator[Row | SourceProblem]:
    assert source.path is not None  # noqa: S101  # was looked at before
    per_row = source.path.stat().st_size / max(1, file.metadata.num_rows)
    number = 0
    try:
        with file:
            for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
                table = {
                    name: _readable(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }
                for index in range(batch.num_rows):
                    number += 1
                    yield _row(table, index, number, source)
                source.watch(int(per_row * batch.num_rows))
    except _UNREADABLE as error:
        raise _unusable(source, error) from error


def _row(table: dict[str, Any], index: int, number: int, source: Input) -> Row | SourceProblem:
    try:
        return Row({name: column[index].as_py() for name, column in table.items()}, row=number)
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start}"
        return SourceProblem(path=source.name, row=number, what=what, remedy="Write the file again, in UTF-8.")


def _readable(column: Any) -> Any:
    return pc.cast(column, pa.string()) if pa.types.is_temporal(column.type) else column


def _check(field: Any, columns: Columns, source: Input) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if field.name == columns.text:
        usable, wanted = _is_text(kind), "text"
    elif field.name == columns.id:
        usable, wanted = _is_text(kind) or pa.types.is_integer(kind), "text or whole numbers"
    else:
        inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
        usable, wanted = _is_value(kind) or _is_scalar(inner), "text, numbers, truth values, dates, or lists of them"
    if not usable:
        raise BadSource(
            f"{source.name}: the column {field.name!r} is {field.type}, not {wanted}.",
            remedy="Convert the column, or leave it out of the file.",
        )


def _is_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_scalar(kind: Any) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _is_value(kind: Any) -> bool:
    return _is_scalar(kind) or pa.types.is_null(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind)


def _unusable(source: Input, error: Exception) -> BadSource:
    return BadSource(
        f"{source.name} can't be read as Parquet ({' '.join(str(error).split())[:300]}).",
        remedy="Write it again; what was loaded of it stays.",
    )
