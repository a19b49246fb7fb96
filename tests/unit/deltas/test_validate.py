"""What a delta may say. Chroma itself is asked whether it keeps what is accepted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.shards import spread
from siltstone.deltas.validate import validate_header, validate_rows
from siltstone.errors import BadDelta

from tests.unit.deltas.house import header, settings, upserts, vectors

KEPT: list[dict[str, Any]] = [
    {"k": value}
    for value in (
        1,
        True,
        1.5,
        "x",
        "",
        "a\0b",
        "é\U0001f600",
        2**63 - 1,
        -(2**63),
        1e308,
        5e-324,
        [1, 2],
        [1.5],
        ["a", "a"],
        [True, False],
        [""],
    )
] + [{" ": 1}, {"a.b": 1}, {"K": 1, "k": 2}, {}]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"k": math.nan}, "nan would be dropped"),
    ({"k": math.inf}, "inf would be dropped"),
    ({"k": [1.0, math.nan]}, "nan would be dropped"),
    ({"k": 2**63}, "beyond 64 bits"),
    ({"k": -(2**63) - 1}, "beyond 64 bits"),
    ({"k": [2**63]}, "beyond 64 bits"),
    ({"k": []}, "at least one value"),
    ({"k": [1, 2.0]}, "all of one type"),
    ({"k": [1, True]}, "all of one type"),
    ({"k": ["a", None]}, "all of one type"),
    ({"k": [None]}, "NoneType is none of"),
    ({"k": [[1]]}, "list is none of"),
    ({"k": {"a": 1}}, "dict is none of"),
    ({"k": np.float32(1)}, "float32 is none of"),
    ({"k": "\ud800"}, "not valid Unicode"),
    ({"": 1}, "key"),
    ({"$and": 1}, "key '$and' is reserved"),
    ({"#type": 1}, "key '#type' is reserved"),
    ({"chroma:document": "x"}, "key 'chroma:document' is reserved"),
    ({"chroma:x": 1}, "key 'chroma:x' is reserved"),
    ({"k": "x" * 70_000}, "more than 65,536 bytes"),
]


@pytest.mark.parametrize(("metadata", "reason"), REFUSED)
def test_metadata_that_chroma_refuses_or_changes_is_refused_by_row_id_and_reason(
    metadata: dict[str, Any], reason: str
) -> None:
    rows = upserts(["a", "b"], metadatas=[{"fine": 1}, metadata])
    with pytest.raises(BadDelta) as error:
        validate_rows(rows, "texts", settings())
    assert "row 1, id 'b'" in error.value.message
    assert reason in error.value.message


def test_metadata_and_documents_that_are_accepted_are_kept_by_chroma(tmp_path: Path) -> None:
    documents = ["", "a\0b", None, *["text"] * (len(KEPT) - 3)]
    rows = upserts([f"r{place}" for place in range(len(KEPT))], documents=documents, metadatas=KEPT)
    validate_rows(rows, "texts", settings())
    collection = chromadb.PersistentClient(str(tmp_path)).create_collection("texts", embedding_function=None)
    metadatas: Any = [metadata or None for metadata in KEPT]
    for row_id, vector, document, metadata in zip(rows.ids, rows.embeddings, documents, metadatas, strict=True):
        collection.upsert([row_id], vector[None], [metadata], None if document is None else [document])
    found = collection.get(ids=rows.ids)
    order = np.argsort([rows.ids.index(row_id) for row_id in found["ids"]]).tolist()
    assert found["documents"] and found["metadatas"]
    assert [found["documents"][place] for place in order] == documents
    assert [found["metadatas"][place] for place in order] == metadatas


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (["a", ""], "row 1, id '': an id is 1 to 1,024 bytes"),
        (["a", "x" * 1_025], "an id is 1 to 1,024 bytes"),
        (["a", "é" * 513], "an id is 1 to 1,024 bytes"),
        (["a", "\ud800"], "an id is 1 to 1,024 bytes"),
        (["a", 7], "row 1, id 7: an id is 1 to 1,024 bytes"),
        (["a", "a"], "row 1, id 'a': the id is repeated"),
        ([], "0 rows, not 1 to 50,000"),
    ],
)
def test_ids_that_cannot_be_told_apart_are_refused(ids: list[Any], reason: str) -> None:
    with pytest.raises(BadDelta) as error:
        validate_rows(upserts(ids), "texts", settings())
    assert reason in error.value.message


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (math.nan, "has a NaN"),
        (math.inf, "has an infinite number"),
        (-math.inf, "has an infinite number"),
        (3e38, "overflows float32"),
        (0.0, "has no direction"),
        (1e-30, "has no direction"),
    ],
)
def test_vectors_that_have_no_distance_are_refused(number: float, reason: str) -> None:
    embeddings = vectors(3)
    embeddings[1] = number
    with pytest.raises(BadDelta, match=f"row 1, id 'b'.*{reason}"):
        validate_rows(DeltaRows.upserts(["a", "b", "c"], embeddings), "texts", settings())


def test_a_zero_vector_is_refused_under_cosine_alone_and_never_of_a_delete() -> None:
    zeros = DeltaRows.upserts(["a"], np.zeros((1, 4), np.float32))
    validate_rows(zeros, "texts", settings(space="l2"))
    validate_rows(DeltaRows.deletions(["a"], 4), "texts", settings())
    with pytest.raises(BadDelta, match="no direction"):
        validate_rows(zeros, "texts", settings())


def test_a_document_is_text_of_at_most_a_mebibyte() -> None:
    validate_rows(upserts(["a"], documents=["x" * 2**20]), "texts", settings())
    for document, reason in (("x" * (2**20 + 1), "more than 1,048,576"), ("\ud800", "not text"), (7, "not text")):
        with pytest.raises(BadDelta, match=f"row 0, id 'a': the document .*{reason}"):
            validate_rows(upserts(["a"], documents=[document]), "texts", settings())


@pytest.mark.parametrize("change", [{"collection": "words"}, {"model": "text-embedding-3-large"}, {"dimension": 5}])
def test_a_delta_for_another_collection_model_or_dimension_is_refused(change: dict[str, Any]) -> None:
    rows = upserts(["a"])
    validate_header(header(rows), "texts", settings())
    with pytest.raises(BadDelta, match=f"its {next(iter(change))} is"):
        validate_header(header(rows, **change), "texts", settings())


def test_rows_of_another_dimension_than_their_header_says_are_refused() -> None:
    with pytest.raises(BadDelta, match="its dimension is 4, not 5"):
        validate_rows(upserts(["a"]), "texts", settings(dimension=5))


def test_an_id_in_another_shard_than_its_own_would_live_twice_and_is_refused() -> None:
    ids = [f"id{place}" for place in range(40)]
    shard_of = spread(ids, 2)
    assert set(shard_of.tolist()) == {0, 1}
    mine = [row_id for row_id, shard in zip(ids, shard_of, strict=True) if shard == 1]
    validate_rows(upserts(mine), "texts.s01", settings(shards=2))
    with pytest.raises(BadDelta, match="another shard than 1"):
        validate_rows(upserts(ids), "texts.s01", settings(shards=2))
    with pytest.raises(BadDelta, match="has 2 shards, and this is none of them"):
        validate_rows(upserts(mine), "texts", settings(shards=2))
