"""A delta comes back as it was written; everything else is a `BadDelta` with a reason, never a crash."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siltstone.deltas import codec
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import decode, encode, read_header
from siltstone.errors import BadDelta, SchemaTooNew

from tests.unit.deltas.house import DIMENSION, header, upserts

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
values = st.one_of(scalars, st.lists(texts, min_size=1, max_size=3), st.lists(st.integers(0, 9), min_size=1))
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def deltas(draw: st.DrawFn) -> DeltaRows:
    ids = draw(st.lists(texts, unique=True, max_size=8))
    dimension = draw(st.integers(1, 5))
    deletes = np.array(draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), np.bool_)
    numbers = draw(st.lists(floats, min_size=len(ids) * dimension, max_size=len(ids) * dimension))
    embeddings = np.array(numbers, np.float32).reshape(len(ids), dimension)
    embeddings[deletes] = 0
    documents = [None if delete else draw(st.none() | texts) for delete in deletes.tolist()]
    metadatas = [{} if delete else draw(st.dictionaries(texts, values, max_size=4)) for delete in deletes.tolist()]
    return DeltaRows(ids, deletes, embeddings, documents, metadatas)


@settings(max_examples=150, deadline=None)
@given(deltas())
def test_a_delta_comes_back_bit_for_bit(rows: DeltaRows) -> None:
    said = header(rows, batch_id="b-1")
    found_header, found = decode(encode(rows, said))
    assert found_header == said
    assert found.ids == rows.ids
    assert found.deletes.tolist() == rows.deletes.tolist()
    assert found.embeddings.dtype == np.float32
    assert found.embeddings.flags.c_contiguous
    assert found.embeddings.tobytes() == rows.embeddings.tobytes()
    assert (found.documents, found.metadatas) == (rows.documents, rows.metadatas)
    assert read_header(encode(rows, said)) == said


def test_a_delete_carries_nothing_and_a_null_is_left_out(tmp_path: Any) -> None:
    rows = upserts(["a", "b"], documents=["x", "y"], metadatas=[{"k": 1, "n": None}, {"k": 2}])
    rows.deletes[1] = True
    path = tmp_path / "delta.parquet"
    path.write_bytes(encode(rows, header(rows)))
    _, found = decode(path)
    assert found.documents == ["x", None]
    assert found.metadatas == [{"k": 1}, {}]
    assert found.embeddings[0].tolist() == rows.embeddings[0].tolist()
    assert not found.embeddings[1].any()


def test_metadata_is_json_with_sorted_keys_and_vectors_are_byte_stream_split_under_zstd() -> None:
    rows = upserts(["a"], metadatas=[{"b": 1, "a": 2}])
    file = pq.ParquetFile(pa.BufferReader(encode(rows, header(rows))))
    assert file.read().column("metadata").to_pylist() == ['{"a":2,"b":1}']
    vector = file.metadata.row_group(0).column(2)
    assert (vector.compression, "BYTE_STREAM_SPLIT" in vector.encodings) == ("ZSTD", True)


def parquet(changed: dict[str, Any], said: bytes | None = None, **options: Any) -> bytes:
    """A file like ours but for ``changed`` columns (``None``: left out)."""
    columns: dict[str, Any] = {
        "id": pa.array(["a", "b"]),
        "op": pa.array(["upsert", "upsert"]),
        "embedding": pa.array([[1.0] * DIMENSION] * 2, pa.list_(pa.field("element", pa.float32()), DIMENSION)),
        "document": pa.array([None, "x"], pa.string()),
        "metadata": pa.array(["{}", None], pa.string()),
        **changed,
    }
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    said = header(upserts(["a", "b"])).model_dump_json().encode() if said is None else said
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({b"siltstone": said}), sink, **options)
    return sink.getvalue().to_pybytes()


def said(**changes: Any) -> bytes:
    return json.dumps({**json.loads(header(upserts(["a", "b"])).model_dump_json()), **changes}).encode()


def test_a_file_of_another_writer_with_the_same_columns_is_read() -> None:
    _, rows = decode(parquet({}, compression="snappy", use_dictionary=True))
    assert (rows.ids, rows.documents, rows.metadatas) == (["a", "b"], [None, "x"], [{}, {}])


vector_type = pa.list_(pa.field("element", pa.float32()), DIMENSION)
doubles = pa.array([[1.0] * DIMENSION] * 2, pa.list_(pa.field("element", pa.float64()), DIMENSION))
holes = pa.array([[1.0] * DIMENSION, [None] * DIMENSION], vector_type)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not readable"),
        (b"PAR1", "not readable"),
        (b'{"ids": []}' * 20, "not readable"),
        (parquet({})[:-20], "not readable"),
        (parquet({})[:100], "not readable"),
        (parquet({}, said=b"null"), "no 'siltstone' header"),
        (parquet({}, said=b"{"), "not readable"),
        (parquet({}, said=b"[" * 100_000), "not readable"),
        (parquet({}, said=b"{}"), "'delta_id'"),
        (parquet({}, said=said(count=3)), "says 3 rows, it has 2"),
        (parquet({}, said=said(count=50_001)), "'count'"),
        (parquet({}, said=said(dimension=5)), "columns"),
        (parquet({}, said=said(dimension=2**31)), "'dimension'"),
        (parquet({"document": None}), "columns"),
        (parquet({"extra": pa.array([1, 2])}), "columns"),
        (parquet({"id": pa.array([1, 2])}), "columns"),
        (parquet({"embedding": doubles}), "columns"),
        (parquet({"embedding": pa.array([[1.0], [2.0]], pa.list_(pa.float32()))}), "columns"),
        (parquet({"embedding": holes}), "null among its numbers"),
        (parquet({"embedding": pa.array([[1.0] * DIMENSION, None], vector_type)}), "row 1 is an upsert without"),
        (parquet({"id": pa.array(["a", None])}), "row 1 has no id"),
        (parquet({"op": pa.array(["upsert", "update"])}), "row 1 has the operation 'update'"),
        (parquet({"op": pa.array([None, "delete"])}), "row 0 has the operation None"),
        (parquet({"metadata": pa.array(["{}", "[1]"])}), "row 1, id 'b': metadata is not an object"),
        (parquet({"metadata": pa.array(['{"a": NaN}', None])}), "row 0, id 'a': metadata is not JSON"),
        (parquet({"metadata": pa.array(['{"a": %s}' % ("[" * 100_000), None])}), "row 0, id 'a': metadata is not JSON"),
        (parquet({"metadata": pa.array(['{"a": %s}' % ("9" * 5_000), None])}), "row 0, id 'a': metadata is not JSON"),
    ],
)
def test_bytes_that_are_no_delta_are_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadDelta, match=re.escape(reason)):
        decode(body)


def test_invalid_utf8_is_refused() -> None:
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    with pytest.raises(BadDelta, match="not readable"):
        decode(parquet({"id": broken}))


def test_a_newer_releases_file_is_not_judged() -> None:
    with pytest.raises(SchemaTooNew, match="schema version 2"):
        decode(parquet({}, said=said(schema_version=2, new_field="x")))


def test_more_rows_than_a_delta_may_have_are_refused_from_the_footer() -> None:
    many = dict.fromkeys(["id", "op", "document", "metadata", "embedding"], pa.array(["a"] * 50_001))
    with pytest.raises(BadDelta, match="50,001 rows are more than 50,000"):
        decode(parquet(many))


def test_a_text_repeated_by_a_dictionary_is_refused_before_it_is_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_TEXT_BYTES", 2**20)
    bomb = parquet({"document": pa.array(["x" * 600_000] * 2)}, use_dictionary=True, compression="zstd")
    assert len(bomb) < 10_000
    with pytest.raises(BadDelta, match="its texts take 1,2"):
        decode(bomb)


def test_texts_and_vectors_that_declare_too_much_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codec, "MAX_TEXT_BYTES", 2**20)
    zeros = parquet({"document": pa.array(["x" * 2**21, None])}, use_dictionary=False, compression="zstd")
    with pytest.raises(BadDelta, match="it declares"):
        decode(zeros)
    monkeypatch.setattr(codec, "MAX_FILE_BYTES", 100)
    with pytest.raises(BadDelta, match="bytes are more than 100"):
        decode(zeros)


def small() -> tuple[DeltaRows, bytes, int]:
    """A delta, its bytes, and where its footer starts."""
    rows = upserts(["a", "b", "c"], documents=["x", None, "z"], metadatas=[{"k": 1}, {}, {"l": [1, 2]}])
    rows.deletes[1] = True
    rows.embeddings[1] = 0
    body = encode(rows, header(rows))
    return rows, body, len(body) - 8 - int.from_bytes(body[-8:-4], "little")


def judged(body: bytes) -> DeltaRows | None:
    """What was read, whole and well formed; ``None`` for a verdict. Anything else fails the test, or ends it."""
    try:
        said, rows = decode(body)
    except (BadDelta, SchemaTooNew):
        return None
    assert said.count == len(rows.ids) == len(rows.embeddings)
    assert rows.embeddings.shape == (said.count, said.dimension)
    return rows


def test_any_byte_of_the_footer_may_be_wrong() -> None:
    """Arrow has checks over a footer that end the process where they are reached outside of a read."""
    _, body, footer = small()
    refused = 0
    for place in range(footer, len(body)):
        for value in (0, 2, 35, body[place] ^ 1):
            refused += judged(body[:place] + bytes([value]) + body[place + 1 :]) is None
    assert refused > len(body) - footer


def test_mutated_bytes_are_refused_or_read_as_they_were() -> None:
    rows, body, footer = small()
    source = random.Random(7)
    refused, rounds = 0, 2_000
    for _ in range(rounds):
        damaged = bytearray(body)
        for _ in range(source.choice([1, 1, 2, 4, 16])):
            place = source.randrange(footer if source.random() < 0.5 else 0, len(body))
            damaged[place] = source.choice([0, 127, 255, damaged[place] ^ 1 << source.randrange(8)])
        if source.random() < 0.1:
            del damaged[source.randrange(len(damaged)) :]
        found = judged(bytes(damaged))
        if found is None:
            refused += 1
            continue
        assert found.ids == rows.ids
        assert found.embeddings.tobytes() == rows.embeddings.tobytes()
        assert (found.documents, found.metadatas) == (rows.documents, rows.metadatas)
    assert rounds // 2 < refused < rounds
