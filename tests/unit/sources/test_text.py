"""A text: its id, its metadata, its one collection."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import chromadb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from siltstone.errors import BadSource, UnknownCollection
from siltstone.records.metadata import check_metadata
from siltstone.settings import CollectionBook
from siltstone.sources.source import Source, source_from_body
from siltstone.sources.text import Text, text_source_id


def text(**other: Any) -> Text:
    fields = {"collection": "texts", "id": "note-1", "text": "Thermal paper fades.", **other}
    source = source_from_body("text", json.dumps(fields).encode())
    assert isinstance(source, Text)
    return source


def test_it_is_a_source_of_its_own_collection() -> None:
    source: Source = text()
    assert (source.kind, source.source_id) == ("text", "text.texts.note-1")
    assert source.collections(CollectionBook()) == ("texts",)
    assert source_from_body("text", source.to_body()) == source
    assert text(text="Thermal paper faded.").revision != source.revision == text().revision


def test_a_collection_that_no_setting_names_is_reported() -> None:
    with pytest.raises(UnknownCollection, match="receits"):
        text(collection="receits").collections(CollectionBook())


def test_a_collection_that_takes_receipts_refuses_it() -> None:
    with pytest.raises(BadSource, match="'lines' takes receipts"):
        text(collection="lines").collections(CollectionBook())


def test_nulls_are_left_out_of_its_metadata() -> None:
    assert text(metadata={"a": None, "b": [1, 2], "c": -0.0}).metadata == {"b": [1, 2], "c": 0.0}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("id", "", "id: is empty"),
        ("id", " note", "blank at one end"),
        ("id", "a\nb", "control character"),
        ("id", "a\x00b", "control character"),
        ("id", "x" * 513, "longer than 512 bytes"),
        ("id", "ü" * 257, "longer than 512 bytes"),
        ("id", "x" * 2**20, "longer than 512 bytes"),
        ("id", 7, "id"),
        ("id", "IMAGE#1", "lines and words of receipts"),
        ("text", "", "text: is empty"),
        ("text", " \n", "text: is empty"),
        ("text", "x" * 30_000, "has 30000 characters, over 8192 tokens"),
        ("text", ["a"], "text"),
        ("collection", "a", "collection"),
        ("collection", "../up", "collection"),
        ("metadata", [], "metadata"),
        ("metadata", {"a": {"b": 1}}, "'a' has a value of type dict"),
        ("metadata", {"a": [[1]]}, "'a' has a value of type list"),
        ("metadata", {"a": []}, "'a' has a list that is empty"),
        ("metadata", {"a": [1, 2.0]}, "more than one type"),
        ("metadata", {"a": [True, 1]}, "more than one type"),
        ("metadata", {"a": [None]}, "NoneType"),
        ("metadata", {"a": 2**63}, "more than 64 bits"),
        ("metadata", {"a": float("nan")}, "not finite"),
        ("metadata", {"a": float("inf")}, "not finite"),
        ("metadata", {"": 1}, "is empty or begins"),
        ("metadata", {"$and": 1}, "begins with '$'"),
        ("metadata", {"#x": 1}, "begins with"),
        ("metadata", {"chroma:document": "x"}, "begins with"),
        ("metadata", {"model": "X-100"}, "Siltstone's own"),
        ("metadata", {"a": "x" * 50_000}, "over 40960"),
        ("extra", 1, "extra"),
    ],
)
def test_a_bad_text_is_refused_by_naming_the_field(field: str, value: object, words: str) -> None:
    with pytest.raises(BadSource) as caught:
        text(**{field: value})
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600


SCALARS = (
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
)


@given(st.dictionaries(st.text(min_size=1), SCALARS | st.lists(st.integers(-9, 9), min_size=1) | st.none(), max_size=5))
def test_what_is_accepted_comes_back_from_the_body_unchanged(metadata: dict[str, Any]) -> None:
    try:
        accepted = check_metadata(metadata)
    except ValueError:
        return
    source = Text(collection="texts", id="x", text="y", metadata=metadata)
    again = source_from_body("text", source.to_body())
    assert isinstance(again, Text)
    assert again.metadata == accepted
    assert {key: type(value) for key, value in again.metadata.items()} == {
        key: type(value) for key, value in accepted.items()
    }


def test_chroma_keeps_every_kind_of_accepted_value_exactly(tmp_path: Path) -> None:
    metadata = check_metadata(
        {"s": "", "nul": "a\x00b", "i": 2**63 - 1, "low": -(2**63), "f": 0.1, "whole": 3.0, "t": True, "z": -0.0}
        | {"ls": ["a"], "li": [1, 2], "lf": [0.5, 2.0], "lb": [True, False], "ümlaut key": "ß"}
    )
    with chromadb.PersistentClient(tmp_path) as client:
        collection = client.create_collection("kept-exactly")
        collection.upsert(ids=["x"], embeddings=[[1.0, 0.0]], documents=["d"], metadatas=[dict(metadata)])
        found = collection.get(ids=["x"])["metadatas"]
    assert found is not None
    assert found[0] == metadata
    assert {key: type(value) for key, value in found[0].items()} == {
        key: type(value) for key, value in metadata.items()
    }


COLLECTIONS = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,30}[a-zA-Z0-9]", fullmatch=True)
IDS = st.text(min_size=1, max_size=20) | st.from_regex(r"[a-z0-9._-]{1,12}", fullmatch=True)


@given(COLLECTIONS, IDS, COLLECTIONS, IDS)
def test_source_ids_are_safe_and_never_shared(collection: str, text_id: str, other: str, other_id: str) -> None:
    first, second = text_source_id(collection, text_id), text_source_id(other, other_id)
    assert re.fullmatch(r"text\.[A-Za-z0-9._-]{1,190}", first)
    assert (first == second) == ((collection, text_id) == (other, other_id))


def test_source_ids_do_not_run_into_each_other() -> None:
    pairs = [("a-b", "c.d"), ("a-b.c", "d"), ("a", "b.c"), ("texts", "x/y"), ("texts", "x%2Fy"), ("texts", "..")]
    assert len({text_source_id(collection, text_id) for collection, text_id in pairs}) == len(pairs)


def test_a_text_never_has_the_source_id_of_a_receipt() -> None:
    image = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    assert text_source_id(image, "00001") != f"{image}.00001"


def test_the_longest_names_still_give_a_short_source_id() -> None:
    assert len(text_source_id("c" * 512, "x" * 512)) < 100
    assert len(text_source_id("c" * 80, "x" * 100)) < 190
