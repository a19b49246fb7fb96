"""A delta as Parquet bytes. `decode` is a verdict over bytes that anybody may have written.

==============  ============================  ==============================================
column          type                          notes
==============  ============================  ==============================================
``id``          string
``op``          string                        ``upsert`` or ``delete``
``embedding``   fixed_size_list<float32>[d]   null for a delete; zstd over byte-stream split
``document``    string                        may be null
``metadata``    string                        JSON object, sorted keys; null for a delete
==============  ============================  ==============================================

The header is JSON under one key of the file's own metadata. Pages carry checksums, so that a damaged one is a verdict
and not another vector.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from siltstone.deltas.batch import DeltaRows, Metadata, without_nulls
from siltstone.errors import BadDelta, SchemaTooNew

SCHEMA_VERSION = 1
MAX_ROWS = 50_000  # an OpenAI batch has no more
MAX_DIMENSION = 4_096
MAX_FILE_BYTES = 1 * 2**30
MAX_TEXT_BYTES = 512 * 2**20  # ids, documents and metadata together, decoded
MAX_ROW_GROUPS = 100

_HEADER_KEY = b"siltstone"
_TEXTS = ["id", "op", "document", "metadata"]
_VECTOR_PATH = "embedding.list.element"
_TO_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class DeltaHeader(BaseModel):
    """What a delta says of itself. ``count``: rows, deletes among them. ``collection``: for a shard, the shard."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    delta_id: str
    collection: str
    count: int = Field(ge=0, le=MAX_ROWS)
    model: str
    dimension: int = Field(ge=1, le=MAX_DIMENSION)
    input_format: str
    batch_id: str | None = None
    created_at: str


class Columns(NamedTuple):
    """A delta's columns as they are in the file, n rows each; see `DeltaRows`. ``metadata``: JSON."""

    header: DeltaHeader
    ids: list[str]
    deletes: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    documents: list[str | None]
    metadata: list[str | None]


def encode(rows: DeltaRows, header: DeltaHeader) -> bytes:
    """The file's bytes. ``rows`` were validated: nothing is checked again here."""
    metadata = [
        None if delete else _TO_JSON.encode(row)
        for delete, row in zip(rows.deletes.tolist(), rows.metadatas, strict=True)
    ]
    table = pa.table(
        [
            pa.array(rows.ids, pa.string()),
            pa.array(["delete" if delete else "upsert" for delete in rows.deletes.tolist()], pa.string()),
            pa.FixedSizeListArray.from_arrays(
                pa.array(rows.embeddings.reshape(-1)), rows.dimension, mask=pa.array(rows.deletes)
            ),
            pa.array(rows.documents, pa.string(), mask=rows.deletes),
            pa.array(metadata, pa.string()),
        ],
        schema=_schema(rows.dimension).with_metadata({_HEADER_KEY: header.model_dump_json().encode()}),
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=["op"],  # pyright: ignore[reportArgumentType] - the stub knows only bool
        use_byte_stream_split=[_VECTOR_PATH],  # pyright: ignore[reportArgumentType]
        write_statistics=False,
        write_page_checksum=True,
        row_group_size=MAX_ROWS,
    )
    return sink.getvalue().to_pybytes()


def read_header(source: bytes | Path) -> DeltaHeader:
    """The header alone, from the footer. Raises `BadDelta`, `SchemaTooNew`."""
    with _verdict():
        return _header(_open(source))


def decode(source: bytes | Path) -> tuple[DeltaHeader, DeltaRows]:
    """Read a whole delta, from bytes or a private file. Its form is judged here; what it says, by ``validate``.

    Raises `BadDelta` with the reason for bytes that are no such file or are too large, and `SchemaTooNew` for a newer
    release's; `OSError` and `MemoryError` are no verdicts. Arrow ends the process over some damaged bytes, and a small
    file can ask for gigabytes: what others wrote goes through `siltstone.deltas.vetting` first.
    """
    with _verdict():
        header, ids, deletes, vectors, documents, metadata = read_columns(source)
        return header, DeltaRows(
            ids=ids,
            deletes=deletes,
            embeddings=vectors,
            documents=[
                None if delete else document for delete, document in zip(deletes.tolist(), documents, strict=True)
            ],
            metadatas=[
                {} if delete or text is None else parse_metadata(text, f"row {place}, id {ids[place]!r}")
                for place, (delete, text) in enumerate(zip(deletes.tolist(), metadata, strict=True))
            ],
        )


def read_columns(source: bytes | Path) -> Columns:
    """All that is Arrow's part in `decode`. Raises `BadDelta`, `SchemaTooNew`."""
    with _verdict():
        header = _header(_open(source))
        ids, operations, documents, metadata = _texts(source)
        deletes = _deletes(operations)
        if None in ids:
            _refuse(f"row {ids.index(None)} has no id")
        vectors = _vectors(_read(_open(source), "embedding"), deletes, header.dimension)
        if {len(ids), len(vectors)} != {header.count}:  # the footer's total and its row groups' may differ
            _refuse(f"its header says {header.count:,} rows, it holds {len(ids):,} and {len(vectors):,} vectors")
        return Columns(header, [row_id or "" for row_id in ids], deletes, vectors, documents, metadata)


def parse_metadata(text: str, where: str) -> Metadata:
    """A row's metadata from JSON, without its nulls. Raises `BadDelta` naming ``where``."""
    try:
        value = json.loads(text, parse_constant=_not_a_number)
    except (ValueError, RecursionError) as error:
        _refuse(f"{where}: metadata is not JSON ({str(error)[:100]})")
    if not isinstance(value, dict):
        _refuse(f"{where}: metadata is not an object")
    return without_nulls(value)


def _schema(dimension: int) -> pa.Schema:
    text = pa.string()
    vector = pa.list_(pa.field("element", pa.float32()), dimension)
    return pa.schema([("id", text), ("op", text), ("embedding", vector), ("document", text), ("metadata", text)])


def _open(source: bytes | Path, *, read_dictionary: list[str] | None = None) -> pq.ParquetFile:
    """Open, and compare what the footer declares with the limits before anything is read or allocated."""
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > MAX_FILE_BYTES:
        _refuse(f"{size:,} bytes are more than {MAX_FILE_BYTES:,}")
    file = pq.ParquetFile(
        pa.memory_map(str(source)) if isinstance(source, Path) else pa.BufferReader(source),
        read_dictionary=read_dictionary,
        page_checksum_verification=True,
        pre_buffer=False,  # the bytes are in memory already
        thrift_string_size_limit=2**20,
        thrift_container_size_limit=2**16,
    )
    footer = file.metadata
    if footer.num_rows > MAX_ROWS:
        _refuse(f"{footer.num_rows:,} rows are more than {MAX_ROWS:,}")
    if footer.num_row_groups > MAX_ROW_GROUPS:
        _refuse(f"{footer.num_row_groups:,} row groups are more than {MAX_ROW_GROUPS}")
    return file


def _header(file: pq.ParquetFile) -> DeltaHeader:
    footer, schema = file.metadata, file.schema_arrow
    raw = json.loads((footer.metadata or {}).get(_HEADER_KEY, b"null"))
    if not isinstance(raw, dict):
        _refuse("it is Parquet, but its metadata has no 'siltstone' header")
    version = raw.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SchemaTooNew(f"The delta has schema version {version}.", remedy="Upgrade this release.")
    header = DeltaHeader.model_validate(raw)
    if not schema.remove_metadata().equals(_schema(header.dimension)):
        _refuse(f"its columns are {str(schema.remove_metadata())[:300]!r}")
    if header.count != footer.num_rows:
        _refuse(f"its header says {header.count:,} rows, it has {footer.num_rows:,}")
    # By row group: asking for one of its columns runs a check that ends the process over a damaged footer.
    declared = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    most = 2 * header.count * header.dimension * 4 + MAX_TEXT_BYTES
    if declared > most:
        _refuse(f"it declares {declared:,} bytes, more than {most:,}")
    return header


def _texts(source: bytes | Path) -> list[list[str | None]]:
    """The text columns, one after the other: what one needs on the way is free again before the next."""
    # A text that a page repeats 50,000 times by a dictionary stays one text until its size has been looked at.
    file = _open(source, read_dictionary=_TEXTS)
    found: list[list[str | None]] = []
    total = 0
    for name in _TEXTS:
        column = _read(file, name)
        total += sum(map(_text_bytes, column.chunks))
        if total > MAX_TEXT_BYTES:
            _refuse(f"its texts take {total:,} bytes or more, over {MAX_TEXT_BYTES:,}")
        found.append(column.cast(pa.string()).to_pylist())
    return found


def _read(file: pq.ParquetFile, column: str) -> pa.ChunkedArray:
    # In this thread alone: that none can be started is no verdict, and columns at once take their memory at once.
    return file.read(columns=[column], use_threads=False).column(0)


def _text_bytes(chunk: pa.DictionaryArray) -> int:
    lengths = np.diff(np.frombuffer(chunk.dictionary.buffers()[1], np.int32)[: len(chunk.dictionary) + 1])
    places = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
    return int(lengths[places].sum(dtype=np.int64))


def _deletes(operations: list[str | None]) -> NDArray[np.bool_]:
    strange = set(operations) - {"upsert", "delete"}
    if strange:
        _refuse(f"row {min(map(operations.index, strange))} has the operation {sorted(map(repr, strange))[0][:80]}")
    return np.fromiter((operation == "delete" for operation in operations), np.bool_, len(operations))


def _vectors(column: pa.ChunkedArray, deletes: NDArray[np.bool_], dimension: int) -> NDArray[np.float32]:
    """float32 (n, dimension) with zeros for deletes; a vector that a delete may carry is dropped."""
    found = np.zeros((len(column), dimension), np.float32)
    start = 0
    for chunk in column.chunks:
        present = chunk.is_valid().to_numpy(zero_copy_only=False)
        values = chunk.flatten()
        if values.null_count:
            _refuse("a vector has a null among its numbers")
        found[start : start + len(chunk)][present] = values.to_numpy().reshape(-1, dimension)
        missing = np.flatnonzero(~present & ~deletes[start : start + len(chunk)])
        if missing.size:
            _refuse(f"row {start + int(missing[0])} is an upsert without a vector")
        start += len(chunk)
    found[deletes] = 0
    return found


@contextmanager
def _verdict() -> Generator[None]:
    """What fails over the bytes is their fault. What the system refuses (memory, a file) is no verdict: it raises."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _refuse(f"header field {'.'.join(map(str, first['loc']))!r}: {first['msg']}")
    except MemoryError:  # Arrow's is an ArrowException, too
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as e:
        if isinstance(e, OSError) and e.errno is not None:  # Arrow's own verdicts are OSErrors without a number
            raise
        _refuse(f"it is not readable Parquet ({type(e).__name__}: {' '.join(str(e).split())[:200]})")


def _not_a_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _refuse(reason: str) -> NoReturn:
    raise BadDelta(f"The delta can't be used: {reason}.", remedy="Write it again with siltstone.deltas.writer.")
