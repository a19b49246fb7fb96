"""What Pinecone holds arrives exactly, as metadata or as JSON, or is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from siltstone.migration.convert import JSON_KEY, convert, original
from siltstone.settings import CollectionSettings, Space

from tests.unit.migration.moving import vector
from tests.unit.query.house import DIMENSION

SETTINGS = CollectionSettings(dimension=DIMENSION)
KEPT: dict[str, Any] = {
    "null": None,
    "empty list": [],
    "mixed list": ["a", 1, True],
    "whole and broken numbers": [1, 2.5],
    "nested": {"x": {"y": [1]}},
    "list in a list": [[1], [2]],
    "more than 64 bits": 2**64,
    "chroma:document": "reserved",
    "#hash": "reserved",
    "": "no name",
    "delta_id": "says where a vector came from",
    JSON_KEY: "its own name",
}
HELD: dict[str, Any] = {
    "text": "a text",
    "whole": 3,
    "broken": 0.1,
    "yes": True,
    "labels": ["a", "b"],
    "numbers": [1.5, 2.5],
    "unicode": "レシート ß",
    "zero": "\0",
}


def converted(metadata: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = convert([vector("one", metadata=metadata, **more)], SETTINGS)
    assert not found.left_out
    return found.rows.metadatas[0]


@pytest.mark.parametrize("key", KEPT)
def test_what_chroma_can_not_hold_is_kept_as_json_under_one_key(key: str) -> None:
    found = convert([vector("one", metadata={**HELD, key: KEPT[key]})], SETTINGS)
    (metadata,) = found.rows.metadatas
    assert {name: value for name, value in metadata.items() if name != JSON_KEY} == HELD
    assert json.loads(metadata[JSON_KEY]) == {key: KEPT[key]}
    assert (dict(found.json_keys), found.as_json, found.sparse) == ({key: 1}, 1, 0)
    assert original(metadata) == ({**HELD, key: KEPT[key]}, None)


def test_what_chroma_holds_stays_as_it_is() -> None:
    assert converted(HELD) == HELD
    assert original(HELD) == (HELD, None)


def test_sparse_values_are_kept_beside_the_metadata_and_counted() -> None:
    sparse = {"indices": [3, 4_000_000_000], "values": [0.5, 1.25]}
    found = convert([vector("one", metadata=HELD, sparse=sparse)], SETTINGS)
    assert (found.sparse, found.as_json, dict(found.json_keys)) == (1, 0, {})
    assert original(found.rows.metadatas[0]) == (HELD, sparse)


def test_the_text_becomes_the_document_and_stays_in_the_metadata() -> None:
    rows = [
        vector("a", metadata={"text": "T", "body": "B"}),
        vector("b", metadata={"text": 3}),
        vector("c", metadata={}),
    ]
    assert convert(rows, SETTINGS).rows.documents == ["T", None, None]
    assert convert(rows, SETTINGS, document_key="body").rows.documents == ["B", None, None]
    assert convert(rows, SETTINGS, document_key=None).rows.documents == [None, None, None]
    assert convert(rows, SETTINGS).rows.metadatas[0] == {"text": "T", "body": "B"}


@pytest.mark.parametrize(
    ("values", "space", "reason"),
    [
        ([], "cosine", "only sparse values"),
        ([1.0] * (DIMENSION - 1), "cosine", f"has {DIMENSION - 1} dimensions, not {DIMENSION}"),
        ([0.0] * DIMENSION, "cosine", "a zero vector has no direction"),
        ([3e38] * DIMENSION, "l2", "overflows"),
        ([float("nan")] * DIMENSION, "ip", "NaN"),
    ],
)
def test_a_vector_that_the_collection_can_not_hold_is_named_and_the_others_go_on(
    values: list[float], space: Space, reason: str
) -> None:
    bad = [vector(f"bad{number}", values=np.asarray(values, np.float32)) for number in range(3)]
    good = [vector(f"good{number}") for number in range(9)]
    mixed = [good[0], bad[0], *good[1:5], bad[1], *good[5:], bad[2]]
    found = convert(mixed, SETTINGS.model_copy(update={"space": space}))
    assert found.rows.ids == [row.id for row in good]
    assert np.array_equal(found.rows.embeddings, np.stack([row.values for row in good]))
    assert set(found.left_out) == {"bad0", "bad1", "bad2"}
    assert all(reason in why for why in found.left_out.values())


def test_what_the_writer_adds_fits_beside_the_largest_metadata() -> None:
    found = convert(
        [vector("fits", metadata={"a": "x" * 40_000}), vector("large", metadata={"a": ["x" * 700] * 100})], SETTINGS
    )
    assert found.rows.ids == ["fits"]
    assert "more than" in found.left_out["large"]


def test_nothing_at_all_is_no_error() -> None:
    found = convert([], SETTINGS)
    assert len(found.rows) == 0
    assert found.left_out == {}
