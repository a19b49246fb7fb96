"""Vectors that somebody has already, from a file to deltas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from siltstone.deltas import operations_file
from siltstone.deltas.codec import decode
from siltstone.deltas.listing import list_pending
from siltstone.deltas.operations_file import produce_file
from siltstone.deltas.writer import WrittenDelta
from siltstone.errors import BadDelta, BadSource, SiltstoneError, UnknownCollection

from tests.unit.scrub.house import COLLECTION, House

UPSERT = {"id": "a", "embedding": [1.0, 0.5, 0.0, 0.25], "document": "tea", "metadata": {"n": 1, "gone": None}}
DELETE = {"id": "b", "op": "delete"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def lines(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def produced(house: House, path: Path, collection: str = COLLECTION) -> list[WrittenDelta]:
    return list(produce_file(path, collection, house.stores, house.clock))


def read(house: House, written: WrittenDelta) -> Any:
    return decode(house.deltas.get(written.delta_key).body)[1]


def test_lines_become_one_delta_with_upserts_and_deletes(house: House, tmp_path: Path) -> None:
    (written,) = produced(house, lines(tmp_path, UPSERT, DELETE))
    rows = read(house, written)
    assert (rows.ids, rows.deletes.tolist(), rows.documents) == (["a", "b"], [False, True], ["tea", None])
    assert rows.embeddings[0].tolist() == UPSERT["embedding"]
    assert rows.metadatas[0]["n"] == 1
    assert "gone" not in rows.metadatas[0]
    assert house.stores.hints.told  # type: ignore[attr-defined]


@pytest.mark.parametrize("metadata", [{"n": 1}, '{"n": 1}'], ids=["struct", "JSON"])
def test_parquet_says_the_same(house: House, tmp_path: Path, metadata: Any) -> None:
    path = tmp_path / "rows.parquet"
    rows = [{**UPSERT, "metadata": metadata, "op": "upsert"}, {**DELETE, "embedding": None, "metadata": None}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = read(house, *produced(house, path))
    assert (found.ids, found.deletes.tolist(), found.metadatas[0]["n"]) == (["a", "b"], [False, True], 1)


def test_a_large_file_becomes_several_deltas_in_its_order(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations_file, "DELTA_BYTES", 2 * 16)  # two vectors of four numbers
    rows = [{"id": "again", "embedding": [float(number + 1), 0, 0, 0]} for number in range(3)]
    others = [{"id": f"r{number}", "embedding": [0, 1, 0, 0]} for number in range(2)]
    written = produced(house, lines(tmp_path, rows[0], others[0], rows[1], others[1], rows[2]))
    assert [each.embedding_count for each in written] == [2, 2, 1]
    listed = list_pending(house.deltas, COLLECTION, house.stores.settings).deltas
    assert [delta.key for delta in listed] == [each.delta_key for each in written]
    assert read(house, written[-1]).embeddings.tolist() == [[3.0, 0.0, 0.0, 0.0]]


WRONG: list[tuple[Any, str]] = [
    ({"id": "x", "embedding": [1.0]}, r"line 2: an embedding of 1 numbers, where 4 are needed"),
    ({"id": "x"}, r"line 2: no embedding"),
    ({"id": "x", "op": "delete", "document": "d"}, r"line 2: a delete has an id and nothing else"),
    ({"id": "x", "op": "remove"}, r"line 2: op: Input should be 'upsert' or 'delete'"),
    ({"embedding": [1, 0, 0, 0]}, r"line 2: id: Field required"),
    ({**UPSERT, "id": "x", "vector": []}, r"line 2: vector: Extra inputs"),
    ('{"id": "x", "embedding": [1, 0, 0,', r"line 2: Invalid JSON"),
    ({"id": "x", "embedding": [0, 0, 0, 0]}, r"'x'.*zero"),
    ({"id": "x", "embedding": [1e39, 0, 0, 0]}, r"'x'"),
    ({"id": "a", "embedding": [1, 0, 0, 0]}, r"'a'.*repeated"),
    ({"id": "", "embedding": [1, 0, 0, 0]}, r"an id is 1 to"),
    ({"id": "x", "embedding": [1, 0, 0, 0], "metadata": {"deep": {"er": 1}}}, r"'x'.*deep"),
    ({"id": "x", "embedding": [1, 0, 0, 0], "metadata": "[" * 50_000}, r"line 2: metadata: .*nested too deeply"),
]


@pytest.mark.parametrize(("row", "words"), WRONG)
def test_what_is_wrong_is_named_and_nothing_is_written(house: House, tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(BadDelta, match=words):
        produced(house, lines(tmp_path, UPSERT, row))
    assert not list(house.deltas.list("deltas/"))


def test_a_late_fault_stops_the_early_deltas_too(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_file, "DELTA_BYTES", 16)
    with pytest.raises(BadDelta, match="line 3"):
        produced(house, lines(tmp_path, UPSERT, DELETE, {"id": "x"}))
    assert not list(house.deltas.list("deltas/"))


def test_files_that_are_none(house: House, tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty.jsonl").touch()
    cases: list[tuple[str, type[SiltstoneError]]] = [
        ("no.parquet", BadDelta),
        ("empty.jsonl", BadDelta),
        ("missing.jsonl", BadSource),
    ]
    for name, kind in cases:
        with pytest.raises(kind):
            produced(house, tmp_path / name)


@pytest.mark.parametrize("at", [1, -(2**63) + 1])
def test_a_time_that_python_has_no_object_for_is_refused_in_a_sentence(house: House, tmp_path: Path, at: int) -> None:
    times = pa.array([{"when": at}], pa.struct([("when", pa.timestamp("ns"))]))
    pq.write_table(pa.table({"id": ["a"], "embedding": [[1.0, 0, 0, 0]], "metadata": times}), tmp_path / "t.parquet")
    with pytest.raises(BadDelta, match=r"t\.parquet"):
        produced(house, tmp_path / "t.parquet")


def test_an_unknown_collection_is_said_before_the_file_is_read(house: House, tmp_path: Path) -> None:
    with pytest.raises(UnknownCollection):
        produced(house, tmp_path / "missing.jsonl", "nowhere")
