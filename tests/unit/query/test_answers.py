"""What a question gets: exact where that can be, complete, paged; or a refusal that names the field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from siltstone import keys
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import (
    BadQuery,
    NotFound,
    ProviderUnavailable,
    SettingsMismatch,
    UnknownCollection,
    UnknownVersion,
)
from siltstone.query.index import Hits, SnapshotIndex
from siltstone.query.index_chroma import ChromaIndex
from siltstone.query.messages import QueryInput, QueryOutput, QueryResults
from siltstone.query.query import query
from siltstone.query.search import FEW_ROWS, View
from siltstone.query.where import normalize
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores.provider import Embedded

from tests.unit.query.house import CHROMA, DIMENSION, MEMORY, House, Row, embed, exact, names, upserts, vector

ROWS = 700


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Merged by Chroma: 700 rows, every fifth with a number. Nobody writes to it."""
    made = House(tmp_path_factory.mktemp("large"), CHROMA)
    metadatas: list[dict[str, Any]] = [{"n": number} if number % 5 == 0 else {"other": True} for number in range(ROWS)]
    made.write(upserts(names(ROWS), 1, metadatas=metadatas))
    made.compact()
    yield made
    made.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Merged in memory: 20 rows."""
    made = House(tmp_path, MEMORY)
    made.upsert(*names(20), seed=1)
    made.compact()
    yield made
    made.close()


def results(output: QueryOutput) -> QueryResults:
    assert output.results is not None
    return output.results


def nearest(rows: dict[str, Row], asked: Sequence[float], n: int) -> list[str]:
    truth = exact(rows, asked, "cosine")
    return sorted(truth, key=lambda row: truth[row])[:n]


class Counting:
    """How often Chroma itself is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("count", "known", "select", "get", "search", "rank"):
            monkeypatch.setattr(ChromaIndex, name, self._counted(name, getattr(ChromaIndex, name)))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            return method(*args, **more)

        return call


# Exactness --------------------------------------------------------------------------------------------
def test_an_unfiltered_query_goes_to_chroma_once(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = vector(1)
    counting = Counting(monkeypatch)
    found = results(large.ask(query_embedding=asked))
    assert counting.calls == ["search"]
    assert found.ids == nearest(large.oracle["texts"], asked, 10)


def test_a_filter_that_leaves_few_rows_is_answered_exactly(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = vector(2)
    passing = {row: kept for row, kept in large.oracle["texts"].items() if "n" in kept[2]}
    counting = Counting(monkeypatch)
    found = results(large.ask(query_embedding=asked, metadata_filter={"n": {"$gte": 0}}, n_results=50))
    assert counting.calls == ["select", "get"]
    assert found.ids == nearest(passing, asked, 50)
    truth = exact(passing, asked, "cosine")
    np.testing.assert_allclose(found.distances or [], [truth[row] for row in found.ids], atol=2e-7)


def test_one_that_leaves_many_is_answered_by_the_index(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = vector(3)
    passing = {row: kept for row, kept in large.oracle["texts"].items() if "other" in kept[2]}
    assert len(passing) > FEW_ROWS
    counting = Counting(monkeypatch)
    found = results(large.ask(query_embedding=asked, metadata_filter={"other": True}, n_results=50))
    assert counting.calls == ["select", "search"]
    assert found.ids == nearest(passing, asked, 50)


def test_a_get_reads_no_row_by_itself(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)
    assert len(results(large.ask("get", limit=300)).ids) == 300
    assert len(results(large.ask("get", ids=names(300))).ids) == 300
    assert counting.calls == ["select", "get", "get"]


def test_more_results_than_rows_are_all_rows(large: House) -> None:
    asked = vector(4)
    found = results(large.ask(query_embedding=asked, n_results=1_000))
    assert found.ids == nearest(large.oracle["texts"], asked, 1_000)
    assert len(found.ids) == ROWS


@pytest.mark.parametrize("kind", ["deletes", "upserts"])
@pytest.mark.parametrize("where", [None, {"other": True}, {"n": {"$gte": 0}}])
def test_hidden_rows_do_not_shorten_an_answer(
    large: House, kind: str, where: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest 100 are hidden by pending operations, and ten others are asked for."""
    asked = vector(5)
    near = nearest(large.oracle["texts"], asked, 100)
    with large.readers.snapshots.reading("texts") as reading:
        assert reading is not None
        house = House(tmp_path, MEMORY)
        far = [-value for value in asked]
        if kind == "deletes":
            house.delete(*near)
        else:
            house.write(DeltaRows.upserts(near, np.tile(np.asarray(far, np.float32), (100, 1))))
        with house.readers.pending.strong("texts", house.settings, house.clock) as sight:
            view = View(reading.index, sight.overlay, "cosine", DIMENSION)
            counting = Counting(monkeypatch)
            found = view.search(np.asarray(asked, np.float32), 10, normalize(where), None, embeddings=False)
        house.close()
    assert (
        counting.calls
        == {
            "None": ["search", "known", "rank", "rank", "get"],  # 10, 40, 110
            "other": ["select", "search", "known", "rank", "rank", "get"],
            "n": ["select", "get"],
        }[str(next(iter(where)) if where else None)]
    )
    left = {
        row: kept
        for row, kept in large.oracle["texts"].items()
        if row not in near and (where is None or ("other" in kept[2]) == ("other" in where))
    }
    assert found.ids == nearest(left, asked, 10)
    assert found.documents == [left[row][1] for row in found.ids]


class Short:
    """An approximate index that does not reach most of its rows."""

    def __init__(self, index: SnapshotIndex, reaches: int) -> None:
        self._index = index
        self._reaches = reaches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, vector_: Any, n: int, *rest: Any, **more: Any) -> Hits:
        return self._index.search(vector_, min(n, self._reaches), *rest, **more)

    def rank(self, vector_: Any, n: int, *rest: Any) -> list[str]:
        return self._index.rank(vector_, min(n, self._reaches), *rest)


@pytest.mark.parametrize("where", [None, {"other": {"$eq": True}}])
def test_rows_that_the_index_does_not_reach_are_found_all_the_same(large: House, where: dict[str, Any] | None) -> None:
    asked = vector(6)
    with large.readers.snapshots.reading("texts") as reading:
        assert reading is not None
        view = View(Short(reading.index, 30), None, "cosine", DIMENSION)  # type: ignore[arg-type]
        found = view.search(np.asarray(asked, np.float32), 40, where, None, embeddings=False)
    left = {row: kept for row, kept in large.oracle["texts"].items() if where is None or "other" in kept[2]}
    assert found.ids == nearest(left, asked, 40)


def test_equal_vectors_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY)
    same = np.ones((30, DIMENSION), np.float32)
    house.write(DeltaRows.upserts(names(30)[::-1], same))
    assert results(house.ask(consistency="strong", query_text="x", n_results=5)).ids == names(5)
    house.close()


# Paging -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shards", [1, 3])
def test_pages_are_stable_and_complete_also_while_rows_are_pending_and_merged(tmp_path: Path, shards: int) -> None:
    house = House(tmp_path, MEMORY, shards=shards)
    house.upsert(*names(25), seed=1)
    house.compact()
    house.upsert("r0003", "r0024", "a", "z", seed=2)
    house.delete("r0010")
    whole = sorted({*names(25), "a", "z"} - {"r0010"})
    seen: list[str] = []
    for page in range(0, 40, 4):
        found = results(house.ask("get", consistency="strong", limit=4, offset=page))
        assert found.documents == [house.oracle["texts"][row][1] for row in found.ids]
        seen += found.ids
        if page == 12:
            house.compact()
    assert seen == whole
    filtered = [
        row
        for page in range(0, 40, 4)
        for row in results(
            house.ask("get", consistency="strong", limit=4, offset=page, metadata_filter={"seed": 1})
        ).ids
    ]
    assert filtered == [row for row in names(25) if row not in ("r0003", "r0010", "r0024")]
    house.close()


# Ids --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("consistency", ["snapshot", "strong"])
def test_ids_come_in_the_order_that_was_asked_for_and_once(house: House, consistency: str) -> None:
    if consistency == "strong":
        house.upsert("new", "r0002", seed=2)
        house.delete("r0004")
    found = results(
        house.ask("get", consistency=consistency, ids=["r0005", "nobody", "r0002", "new", "r0005", "r0004"])
    )
    expected = ["r0005", "r0002", "new"] if consistency == "strong" else ["r0005", "r0002", "r0004"]
    assert found.ids == expected
    seeds = {"r0005": 1, "r0004": 1, "r0002": 2 if consistency == "strong" else 1, "new": 2}
    assert found.documents == [f"text {seeds[row]} of {row}" for row in expected]


def test_ids_and_filters_mean_both(house: House) -> None:
    house.upsert("new", "r0002", seed=2)
    asked = {"consistency": "strong", "ids": ["r0001", "r0002", "new"]}
    assert results(house.ask("get", metadata_filter={"seed": 2}, **asked)).ids == ["r0002", "new"]
    assert results(house.ask("get", where_document={"$contains": "text 1"}, **asked)).ids == ["r0001"]


def test_no_ids_are_no_rows(house: House) -> None:
    assert results(house.ask("get", ids=[])).ids == []
    assert results(house.ask("get", ids=["nobody"], include=["embeddings"])).embeddings == []


# The answer -------------------------------------------------------------------------------------------
def test_it_carries_version_age_and_what_it_saw(house: House) -> None:
    version = house.ask("count").version
    house.clock.advance(100)
    house.upsert("new")
    house.upsert("newer")
    answer = house.ask("count", consistency="strong")
    assert (answer.version, answer.count, answer.pending_deltas, answer.unusable_deltas) == (version, 22, 2, 0)
    assert answer.version_age_seconds is not None and 100 <= answer.version_age_seconds < 200
    assert (answer.space, answer.stale, answer.shard_versions) == ("cosine", None, None)
    assert house.ask("count").pending_deltas is None


@pytest.mark.parametrize(
    "include",
    [
        [],
        ["documents"],
        ["metadatas", "embeddings"],
        ["distances"],
        ["metadatas", "documents", "distances", "embeddings"],
    ],
)
@pytest.mark.parametrize("operation", ["query", "get"])
@pytest.mark.parametrize("consistency", ["snapshot", "strong"])
def test_only_what_is_included_is_there(house: House, include: list[str], operation: str, consistency: str) -> None:
    house.upsert("new")
    asked = {"query_text": "x", "n_results": 30} if operation == "query" else {}
    found = results(house.ask(operation, include=include, consistency=consistency, **asked))
    assert len(found.ids) == (21 if consistency == "strong" else 20)
    for name in ("metadatas", "documents", "distances", "embeddings"):
        column = getattr(found, name)
        if name in include and not (name == "distances" and operation == "get"):
            assert len(column) == len(found.ids)
        else:
            assert column is None
    if found.embeddings is not None:
        assert {len(embedding) for embedding in found.embeddings} == {DIMENSION}


def test_a_collection_that_lost_all_rows_is_empty_and_not_unknown(tmp_path: Path) -> None:
    house = House(tmp_path, CHROMA)
    house.upsert("a")
    house.compact()
    house.delete("a")
    house.compact()
    for consistency in ("snapshot", "strong"):
        assert house.ask("count", consistency=consistency).count == 0
        for asked in ({}, {"metadata_filter": {"seed": 1}}):
            found = results(house.ask(query_text="x", consistency=consistency, include=["embeddings"], **asked))
            assert (found.ids, found.embeddings) == ([], [])
        assert results(house.ask("get", consistency=consistency)).ids == []
    house.close()


def test_the_overlay_is_laid_once_while_nothing_changes(house: House) -> None:
    house.upsert("new")
    with house.readers.pending.strong("texts", house.settings, house.clock) as first:
        house.deltas.forget()
    with house.readers.pending.strong("texts", house.settings, house.clock) as second:
        assert first.overlay is second.overlay
        assert house.deltas.calls == {"list_page": 2}
    house.upsert("newer")
    with house.readers.pending.strong("texts", house.settings, house.clock) as third:
        assert third.overlay is not first.overlay
        assert house.deltas.calls["read"] == 1  # the new one alone


# Models and settings ----------------------------------------------------------------------------------
class Asked:
    """The provider, with what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def embed(self, texts: Sequence[str], *, model: str, dimension: int) -> Embedded:
        self.calls.append((model, dimension))
        return Embedded(embed(texts, dimension), 1)


@pytest.mark.parametrize("consistency", ["snapshot", "strong"])
def test_a_text_is_embedded_with_the_manifests_model_whatever_the_stage_says(house: House, consistency: str) -> None:
    """The stage's model, dimension and space were changed; a run would stop. Readers go on with what there is."""
    house.upsert("new")
    other = CollectionSettings(model="text-embedding-3-large", dimension=64, space="l2")
    book = CollectionBook(collections={"texts": other})
    provider = Asked()
    readers = house.new_readers(book=book)
    asked = QueryInput(collection_name="texts", query_text="x", n_results=30, consistency=consistency)  # type: ignore[arg-type]
    answer = query(asked, readers, book, house.clock, lambda: provider)  # type: ignore[arg-type, return-value]
    assert provider.calls == [("text-embedding-3-small", DIMENSION)]
    assert answer.space == "cosine"
    rows = house.oracle["texts"] if consistency == "strong" else house.merged["texts"]
    assert results(answer).ids == nearest(rows, embed(["x"], DIMENSION)[0].tolist(), 30)
    readers.snapshots.close()


def test_what_was_judged_by_the_stage_is_judged_again_once_there_is_a_manifest(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY)
    book = CollectionBook(collections={"texts": CollectionSettings(dimension=64)})
    readers = house.new_readers(book=book)
    asked = QueryInput(collection_name="texts", operation="count", consistency="strong")
    house.upsert("a")
    house.clock.advance(61)
    house.upsert("b")
    with pytest.raises(UnknownCollection):  # neither fits the stage
        query(asked, readers, book, house.clock, _nobody)
    house.finish(house.prepare())  # a stage with the right settings merged the first
    answer = query(asked, readers, book, house.clock, _nobody)
    assert (answer.count, answer.pending_deltas, answer.unusable_deltas) == (2, 1, 0)
    house.close()


def test_a_provider_that_does_not_answer_is_said_to(house: House) -> None:
    house.provider.fail_next("embed", ProviderUnavailable("HTTP 429"))
    with pytest.raises(ProviderUnavailable):
        house.ask(query_text="x")
    assert house.ask(query_text="x").results


# Shards -----------------------------------------------------------------------------------------------
def test_shards_are_seen_with_a_version_each(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY, shards=3)
    house.upsert(*names(30))
    with pytest.raises(UnknownCollection, match="no version yet"):
        house.ask("count")
    house.clock.advance(61)
    one = house.finish(house.prepare("texts.s01"))
    answer = house.ask("count")
    assert answer.shard_versions == {"texts.s00": None, "texts.s01": one, "texts.s02": None}
    assert answer.version == one and answer.count is not None and 0 < answer.count < 30
    assert house.ask("count", consistency="strong").count == 30
    assert house.ids() == names(30)
    assert house.ask("count", collection_name="texts.s01").count == answer.count
    assert house.ask("count", collection_name="texts.s01", version=one).count == answer.count
    with pytest.raises(BadQuery, match="version: each of the 3 shards"):
        house.ask("count", version=one)
    with pytest.raises(UnknownCollection):
        house.ask("count", collection_name="texts.s07")
    house.clock.advance(100)
    two = house.finish(house.prepare("texts.s00"))
    house.readers_may_refresh()
    answer = house.ask("count")
    assert answer.shard_versions == {"texts.s00": two, "texts.s01": one, "texts.s02": None}
    assert answer.version == one  # the oldest, and so is the age
    assert answer.version_age_seconds is not None and answer.version_age_seconds >= 100
    house.close()


def test_shards_that_do_not_fit_together_are_refused_and_never_mixed(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY, shards=3)
    house.upsert(*names(30))
    house.compact()
    for changed in ({"shards": 4}, {"shards": 2}):
        book = CollectionBook(collections={"texts": house.settings.model_copy(update=changed)})
        with pytest.raises(SettingsMismatch, match="shards"):
            query(QueryInput(collection_name="texts", operation="count"), house.readers, book, house.clock, _nobody)
    key = keys.manifest("texts.s02", house.ask("count", collection_name="texts.s02").version or "")
    house.snapshots.put(key, house.snapshots.get(key).body.replace(b"embedding-3-small", b"embedding-3-large"))
    with pytest.raises(SettingsMismatch, match="one setting"):
        house.ask("count", readers=house.new_readers())
    house.close()


def _nobody() -> Any:
    raise AssertionError("nothing is to be embedded")


# Refusals ---------------------------------------------------------------------------------------------
def test_what_is_not_there_is_not_found(house: House) -> None:
    for error, asked in [
        (UnknownCollection, {"collection_name": "others"}),
        (UnknownVersion, {"version": "20260131_235959_00000042"}),
    ]:
        with pytest.raises(error) as refused:
            house.ask("count", **asked)
        assert isinstance(refused.value, NotFound) and refused.value.remedy


@pytest.mark.parametrize("consistency", ["snapshot", "strong"])
def test_a_collection_with_settings_and_nothing_else_is_unknown(tmp_path: Path, consistency: str) -> None:
    house = House(tmp_path, MEMORY)
    with pytest.raises(UnknownCollection, match="no version yet"):
        house.ask("count", consistency=consistency)
    house.close()


@pytest.mark.parametrize(
    ("embedding", "why"),
    [
        ([1.0] * 31, "31 numbers"),
        ([], "0 numbers"),
        ([float("nan")] + [1.0] * 31, "NaN"),
        ([float("inf")] + [1.0] * 31, "infinite"),
        ([1e30] * 32, "overflows"),
        ([1e300] * 32, "overflows"),
        ([0.0] * 32, "zero"),
        ([1e-30] * 32, "zero"),
    ],
)
@pytest.mark.parametrize("consistency", ["snapshot", "strong"])
def test_a_vector_that_means_nothing_is_refused(
    house: House, embedding: list[float], why: str, consistency: str
) -> None:
    with pytest.raises(BadQuery, match=why) as refused:
        house.ask(query_embedding=embedding, consistency=consistency)
    assert "query_embedding" in str(refused.value)


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_a_zero_vector_has_distances_where_the_space_is_not_cosine(tmp_path: Path, space: str) -> None:
    house = House(tmp_path, MEMORY, space=space)
    house.upsert("a")
    assert results(house.ask(query_embedding=[0.0] * DIMENSION, consistency="strong")).ids == ["a"]
    house.close()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, "query_text and query_embedding"),
        ({"query_text": "a", "query_embedding": [1.0]}, "query_text and query_embedding"),
        ({"operation": "count", "query_text": "a"}, "query_text"),
        ({"operation": "drop"}, "operation"),
        ({"query_text": ""}, "query_text"),
        ({"query_text": " \n"}, "query_text"),
        ({"query_text": "日本" * 4_000}, "query_text"),
        ({"query_text": 7}, "query_text"),
        ({"query_embedding": ["x"]}, "query_embedding"),
        ({"query_embedding": [1.0] * 5_000}, "query_embedding"),
        ({"query_text": "a", "n_results": 0}, "n_results"),
        ({"query_text": "a", "n_results": 1_001}, "n_results"),
        ({"operation": "get", "limit": 0}, "limit"),
        ({"operation": "get", "offset": -1}, "offset"),
        ({"operation": "get", "ids": ["a"] * 1_001}, "ids"),
        ({"operation": "get", "ids": ["\ud800"]}, "ids"),
        ({"query_text": "a", "ids": ["a"]}, "ids"),
        ({"operation": "count", "ids": ["a"]}, "ids"),
        ({"query_text": "a", "include": ["uris"]}, "include"),
        ({"query_text": "a", "metadata_filter": []}, "metadata_filter"),
        ({"query_text": "a", "where_document": "a"}, "where_document"),
        ({"query_text": "a", "consistency": "eventual"}, "consistency"),
        ({"query_text": "a", "version": "latest"}, "version"),
        ({"query_text": "a", "version": "20260131_235959_00000042", "consistency": "strong"}, "version"),
        ({"query_text": "a", "collection_name": "../x"}, "collection_name"),
        ({"query_text": "a", "collection": "texts"}, "collection"),
    ],
)
def test_a_malformed_question_is_refused_by_the_name_of_its_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        QueryInput.model_validate(wrong)
    first = refused.value.errors(include_input=False, include_url=False)[0]
    assert field in f"{first['loc']} {first['msg']}"
