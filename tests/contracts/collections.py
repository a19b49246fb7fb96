"""What a collection promises, whoever answers it: the same tests for plain Chroma and for every kind of client.

A class inherits a contract and has its fixtures: ``collection`` with `ROWS` merged into one version, for `Reading`;
``empty`` and ``strong``, of a client that may write, for `Writing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from siltstone import Client, Collection
from siltstone.errors import BadDelta, BadEvent, BadQuery, BadRecord, UnknownCollection, UnknownVersion

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    f"t{number:02d}": (f"{thing} number {number}", {"n": number, "thing": thing, "odd": bool(number % 2)})
    for number, thing in enumerate(("teapot", "bicycle", "apple", "lantern", "violin") * 5)
}
OWN = ("n", "thing", "odd")  # a client's rows say besides where their vectors came from


def fill(collection: Any) -> None:
    collection.upsert(
        ids=list(ROWS),
        documents=[document for document, _ in ROWS.values()],
        metadatas=[metadata for _, metadata in ROWS.values()],
    )


def own(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in OWN}


class ReadingContract:
    """Holds for plain Chroma too."""

    def test_each_query_gets_its_own_list_best_first(self, collection: Any) -> None:
        found = collection.query(query_texts=["teapot number 0", "violin number 4"], n_results=3)
        assert [ids[0] for ids in found["ids"]] == ["t00", "t04"]
        assert [len(column) for column in found["ids"]] == [3, 3]
        for near in found["distances"]:
            assert near == sorted(near)
            assert near[0] == pytest.approx(0, abs=1e-5)
        assert [[own(each) for each in column] for column in found["metadatas"]] == [
            [ROWS[row][1] for row in ids] for ids in found["ids"]
        ]
        assert found["documents"] == [[ROWS[row][0] for row in ids] for ids in found["ids"]]

    def test_a_query_has_chromas_keys_and_nothing_in_those_that_were_not_asked_for(self, collection: Any) -> None:
        found = collection.query(query_texts=["apple"], n_results=1, include=["distances"])
        assert list(found) == [
            "ids", "embeddings", "documents", "uris", "included", "data", "metadatas", "distances",
        ]  # fmt: skip
        assert [name for name, column in found.items() if column is not None] == ["ids", "included", "distances"]
        assert found["included"] == ["distances"]

    def test_one_text_may_stand_for_a_list_of_one(self, collection: Any) -> None:
        assert collection.query(query_texts="apple number 2", n_results=1)["ids"] == [["t02"]]

    def test_a_vector_that_was_got_finds_its_row(self, collection: Any) -> None:
        vectors = collection.get(ids=["t03", "t07"], include=["embeddings"])["embeddings"]
        assert isinstance(vectors, np.ndarray)
        for asked in (vectors, vectors.tolist(), list(vectors)):
            assert collection.query(query_embeddings=asked, n_results=1)["ids"] == [["t03"], ["t07"]]
        found = collection.query(query_embeddings=vectors[0], n_results=2, include=["embeddings"])
        assert [np.asarray(each).shape for each in found["embeddings"]] == [(2, vectors.shape[1])]
        assert np.array_equal(np.asarray(found["embeddings"][0][0], np.float32), np.asarray(vectors[0], np.float32))

    @pytest.mark.parametrize(
        ("filters", "passing"),
        [
            ({"where": {"thing": "violin"}}, lambda text, one: one["thing"] == "violin"),
            ({"where": {"$and": [{"n": {"$gte": 7}}, {"odd": True}]}}, lambda text, one: one["n"] >= 7 and one["odd"]),
            ({"where": {"n": {"$in": [1, 5, 99]}}}, lambda text, one: one["n"] in (1, 5)),
            ({"where_document": {"$contains": "apple"}}, lambda text, one: "apple" in text),
            ({"where": {"n": 99}}, lambda text, one: False),
        ],
    )
    def test_filters_mean_the_same_in_query_and_get(
        self, collection: Any, filters: dict[str, Any], passing: Callable[..., bool]
    ) -> None:
        expected = [row for row, (text, metadata) in ROWS.items() if passing(text, metadata)]
        got = collection.get(**filters)
        assert sorted(got["ids"]) == expected
        assert sorted(got["documents"]) == sorted(ROWS[row][0] for row in expected)
        assert sorted(collection.query(query_texts=["x"], n_results=50, **filters)["ids"][0]) == expected

    def test_get_has_chromas_keys_and_every_row_unless_a_limit_says_otherwise(self, collection: Any) -> None:
        found = collection.get()
        assert list(found) == ["ids", "embeddings", "documents", "uris", "included", "data", "metadatas"]
        assert sorted(found["ids"]) == list(ROWS)
        assert {row: own(each) for row, each in zip(found["ids"], found["metadatas"], strict=True)} == {
            row: metadata for row, (_, metadata) in ROWS.items()
        }
        assert found["embeddings"] is found["uris"] is found["data"] is None

    def test_pages_hold_every_row_once(self, collection: Any) -> None:
        pages = [collection.get(limit=10, offset=offset, include=[])["ids"] for offset in (0, 10, 20, 30)]
        assert [len(page) for page in pages] == [10, 10, 5, 0]
        assert sorted(row for page in pages for row in page) == list(ROWS)
        assert collection.get(limit=0)["ids"] == []

    def test_rows_by_id_and_those_that_do_not_exist_are_left_out(self, collection: Any) -> None:
        assert sorted(collection.get(ids=["t05", "nobody", "t01"])["ids"]) == ["t01", "t05"]
        assert collection.get("t05")["documents"] == [ROWS["t05"][0]]
        assert collection.get(ids=["t05", "t06"], where={"thing": "bicycle"})["ids"] == ["t06"]
        assert len(collection.get(ids=["t05", "t01", "t02"], limit=2)["ids"]) == 2

    def test_what_is_not_found_has_its_shape_all_the_same(self, collection: Any) -> None:
        found = collection.get(ids=["nobody"], include=["embeddings", "documents"])
        assert (found["ids"], found["documents"], len(found["embeddings"])) == ([], [], 0)
        asked = collection.query(query_texts=["x", "y"], where={"n": 99})
        assert asked["ids"] == asked["documents"] == asked["metadatas"] == asked["distances"] == [[], []]

    def test_count_and_peek(self, collection: Any) -> None:
        assert collection.count() == len(ROWS)
        found = collection.peek(limit=3)
        assert len(found["ids"]) == len(found["embeddings"]) == len(found["documents"]) == 3


class RefusalContract:
    """What a client refuses: by the same error, whoever answers."""

    def test_a_wrong_question_is_refused_by_name(self, collection: Collection) -> None:
        for error, named, ask in [
            (BadQuery, "query_embeddings.0", lambda: collection.query(query_embeddings=[[1.0, 2.0]])),
            (BadQuery, "either", collection.query),
            (BadQuery, "either", lambda: collection.query(query_embeddings=[[1.0]], query_texts=["x"])),
            (BadQuery, "empty", lambda: collection.query(query_texts=[])),
            (BadQuery, "empty", lambda: collection.get(ids=[])),
            (BadQuery, "negative", lambda: collection.get(limit=-1)),
            (BadQuery, "uris", lambda: collection.get(include=["uris"])),
            (BadQuery, "distances", lambda: collection.get(include=["distances"])),
            (BadQuery, "documents", lambda: collection.get(include="documents")),
            (BadQuery, "metadata_filter", lambda: collection.get(where={"n": {"$near": 1}})),
            (BadQuery, "where_document", lambda: collection.get(where_document={"$regex": "("})),
            (BadEvent, "n_results", lambda: collection.query(query_texts=["x"], n_results=0)),
            (BadEvent, "query_texts", lambda: collection.query(query_texts=["x", " "])),
            (BadEvent, "version", lambda: collection.get(version="yesterday")),
            (BadEvent, "consistency", lambda: collection.get(consistency="eventual")),  # pyright: ignore
        ]:
            with pytest.raises(error, match=named):
                ask()

    def test_what_json_can_not_say_is_refused(self, collection: Collection) -> None:
        vector = collection.get(ids=["t00"], include=["embeddings"])["embeddings"]
        for wrong in (np.nan, np.inf):
            with pytest.raises(BadQuery, match="NaN"):
                collection.query(query_embeddings=vector * wrong)
            with pytest.raises(BadQuery):
                collection.get(where={"n": {"$gte": wrong}})
        with pytest.raises(BadQuery):
            collection.get(where={"n": {1, 2}})

    def test_an_unknown_version_is_named(self, collection: Collection) -> None:
        with pytest.raises(UnknownVersion, match="20200131_235959_00009999"):
            collection.count(version="20200131_235959_00009999")

    def test_an_unknown_collection_is_named(self, client: Client) -> None:
        with pytest.raises(UnknownCollection, match="nowhere"):
            client.collection("nowhere").count()

    def test_the_answer_says_what_it_was_made_from(self, collection: Collection) -> None:
        found = collection.get(limit=1)
        version = found.answered_from.version
        assert version is not None
        assert (found.answered_from.space, found.answered_from.pending_deltas) == ("cosine", None)
        assert collection.get(limit=1, version=version) == found
        assert collection.query(query_texts=["x"], version=version).answered_from.version == version


class WritingContract:
    """What a client writes is there at once for a strong read."""

    def test_what_was_written_is_found_at_once_and_replaced_as_a_whole(self, strong: Collection) -> None:
        strong.upsert(
            ids=["w1", "w2"], documents=["a brass compass", "a woollen coat"], metadatas=[{"a": 1, "b": 2}, None]
        )
        assert strong.query(query_texts=["a brass compass", "a woollen coat"], n_results=1)["ids"] == [["w1"], ["w2"]]
        strong.upsert(ids="w1", documents="a paper kite", metadatas={"a": 3})
        found = strong.get(ids=["w1"])
        assert found["documents"] == ["a paper kite"]
        assert (found["metadatas"][0]["a"], "b" in found["metadatas"][0]) == (3, False)
        assert strong.delete(ids=["w1", "w2", "never was"]) == {"deleted": 3}
        assert strong.get(ids=["w1", "w2"])["ids"] == []

    def test_embeddings_are_kept_to_the_bit(self, strong: Collection) -> None:
        vector = strong.get(ids=["t00"], include=["embeddings"])["embeddings"][0][::-1]
        strong.upsert(ids=["v1"], embeddings=[vector])
        found = strong.get(ids=["v1"], include=["embeddings", "documents"])
        assert np.array_equal(found["embeddings"][0], vector)
        assert found["documents"] == [None]
        assert strong.query(query_embeddings=[vector], n_results=1)["ids"] == [["v1"]]
        strong.delete("v1")

    def test_what_a_filter_finds_is_deleted(self, strong: Collection) -> None:
        strong.upsert(["d1", "d2"], documents=["one", "two"], metadatas=[{"gone": True}, {"gone": False}])
        assert strong.delete(where={"gone": True}) == {"deleted": 1}
        assert strong.delete(where={"gone": True}) == {"deleted": 0}
        assert strong.get(ids=["d1", "d2"])["ids"] == ["d2"]
        strong.delete(["d2"])

    def test_a_wrong_row_is_refused_by_name_and_nothing_is_written(self, strong: Collection) -> None:
        before = strong.count()
        for error, named, write in [
            (BadRecord, "2 ids and 1 documents", lambda: strong.upsert(["x1", "x2"], documents=["one"])),
            (BadRecord, "x2", lambda: strong.upsert(["x1", "x2"], documents=["one", None])),
            (BadRecord, "x1", lambda: strong.upsert(["x1"], documents=["  "])),
            (BadRecord, "neither", lambda: strong.upsert(["x1"])),
            (BadDelta, "repeated", lambda: strong.upsert(["x1", "x1"], documents=["one", "two"])),
            (BadDelta, "dimension", lambda: strong.upsert(["x1"], embeddings=[[1.0, 2.0]])),
            (BadDelta, "x1.*NaN", lambda: strong.upsert(["x1"], documents=["one"], metadatas=[{"a": float("nan")}])),
        ]:
            with pytest.raises(error, match=named if "NaN" not in named else "x1"):
                write()
        assert strong.count() == before
