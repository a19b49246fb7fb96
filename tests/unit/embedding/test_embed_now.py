from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from siltstone.embedding.embed_now import (
    MAX_RECORDS,
    MAX_SOURCES,
    EmbedNowInput,
    EmbedNowOutput,
    embed_now,
    embed_sources_now,
    portions,
)
from siltstone.errors import BadEvent, BadSource, ProviderUnavailable, UnknownCollection, UnknownSource
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.stores.provider_memory import answered

from tests.unit.embedding.faults import Crash, crashing, key_ends
from tests.unit.embedding.house import DIMENSION, House, embed, receipt, text

A = "text.texts.a"


def test_a_few_sources_are_found_as_soon_as_the_call_returns(house: House) -> None:
    request = EmbedNowInput(
        receipts=[receipt(1, ["one", "two"]).model_dump(mode="json")],
        texts=[{"collection": "texts", "id": "a", "text": "hello", "metadata": {"place": 1}}],
    )
    done = embed_now(request, house.stores, house.clock, house.provider)
    assert (done.sources, done.embedded, done.waiting, len(done.delta_keys)) == (2, 3, 0, 2)
    assert done.tokens > 0
    assert done.cost_usd == pytest.approx(done.tokens * 0.02 / 1e6, abs=1e-8)
    row = house.store()["a"]
    np.testing.assert_array_equal(row["vector"], embed(["hello"], DIMENSION)[0])
    assert row["metadata"]["place"] == 1
    assert row["metadata"]["batch_id"].startswith("now-")
    assert house.state(A).status == "SUCCESS"
    assert house.plan().batches == []
    assert {told["delta_key"] for told in house.hints.told} == set(done.delta_keys)


def test_the_same_again_embeds_nothing(house: House) -> None:
    embed_sources_now([text("a")], house.stores, house.clock, house.provider)
    again = embed_sources_now([text("a")], house.stores, house.clock, house.provider)
    assert (again.embedded, again.delta_keys, again.tokens, again.cost_usd) == (0, [], 0, 0)
    assert house.provider.calls["embed"] == 1


def test_changed_content_embeds_only_what_changed(house: House) -> None:
    lines = [f"item {n}" for n in range(9)]
    embed_sources_now([receipt(1, lines)], house.stores, house.clock, house.provider)
    lines[4] = "changed"
    house.clock.advance(1)
    assert embed_sources_now([receipt(1, lines)], house.stores, house.clock, house.provider).embedded == 3


def test_what_an_open_batch_has_is_left_to_it(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    house.plan()
    done = embed_sources_now([text("a")], house.stores, house.clock, house.provider)
    assert (done.embedded, done.waiting) == (0, 1)


def test_a_new_content_does_not_wait_for_the_batch_of_the_old_one(house: House) -> None:
    load_sources([text("a", "old")], house.stores, house.clock)
    sent = house.sent()
    assert embed_sources_now([text("a", "new")], house.stores, house.clock, house.provider).embedded == 1
    assert house.create(sent.batch_id).outdated == 1
    house.record(sent.batch_id)
    assert house.documents() == {"a": "new"}
    assert house.state(A).status == "SUCCESS"


def test_a_provider_that_does_not_answer_leaves_the_source_for_a_plan(house: House) -> None:
    house.provider.fail_next("embed", ProviderUnavailable("503"))
    with pytest.raises(ProviderUnavailable):
        embed_sources_now([text("a")], house.stores, house.clock, house.provider)
    assert house.state(A).status == "NONE"
    house.run()
    assert list(house.documents()) == ["a"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_is_healed_by_a_plan_after_an_hour(house: House, after: bool) -> None:
    broken = house.with_stores(
        deltas=crashing(house.stores.deltas, "put", after=after, when=key_ends("embeddings.parquet")),
        sources=crashing(house.stores.sources, "read_many", when=lambda ids: crashed(house)),
    )
    with pytest.raises(Crash):
        embed_sources_now([text("a")], broken.stores, house.clock, house.provider)
    assert house.state(A).status == "PENDING"
    assert house.plan("p").batches == []
    house.clock.advance(4_000)
    house.run("q")
    assert list(house.documents()) == ["a"]
    assert house.state(A).status == "SUCCESS"


def crashed(house: House) -> bool:
    """Once the embedding is done, the process is gone: nothing is given back either."""
    return house.provider.calls["embed"] > 0


def test_too_much_or_unreadable_is_refused_before_anything_is_written(house: House) -> None:
    with pytest.raises(BadEvent, match=str(MAX_RECORDS + 1)):
        embed_sources_now([text(f"t{n}") for n in range(MAX_RECORDS + 1)], house.stores, house.clock, house.provider)
    with pytest.raises(BadSource):
        embed_now(EmbedNowInput(texts=[{"id": "a"}]), house.stores, house.clock, house.provider)
    assert list(house.stores.sources.list()) == []


# sources that are loaded --------------------------------------------------------------------------
def by_id(house: House, *source_ids: str, **more: Any) -> EmbedNowOutput:
    request = EmbedNowInput(source_ids=list(source_ids), **more)
    return embed_now(request, house.stores, house.clock, house.provider)


def test_loaded_sources_are_embedded_by_their_ids_alone(house: House) -> None:
    load_sources([text("a"), text("b"), receipt(1, ["one", "two"])], house.stores, house.clock)
    (paper,) = (item.source_id for item in house.stores.sources.list() if item.kind == "receipt")
    done = by_id(house, A, paper, A)
    assert (done.sources, done.embedded, done.waiting, done.failed, len(done.delta_keys)) == (2, 3, 0, 0, 2)
    assert house.documents() == {"a": "hello"}
    assert house.state("text.texts.b").status == "NONE"
    assert by_id(house, A, paper).embedded == 0


def test_only_in_the_collections_that_are_named(house: House) -> None:
    load_sources([text("a"), receipt(1, ["one"])], house.stores, house.clock)
    everything = [item.source_id for item in house.stores.sources.list()]
    assert by_id(house, *everything, collections=["lines"]).embedded == 1
    assert house.state(A).status == "NONE"
    with pytest.raises(UnknownCollection):
        by_id(house, A, collections=["nowhere"])


def test_a_failed_source_is_taken_only_if_that_is_asked_for(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    house.provider.edit_rows = lambda rows: [answered("a", "a", 400, {"error": {"code": "no", "message": "never"}})]
    house.run()
    assert (by_id(house, A).embedded, by_id(house, A, retry_failed=True).embedded) == (0, 1)
    assert house.state(A).status == "SUCCESS"


def test_what_a_batch_has_is_waited_for(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    house.plan()
    done = by_id(house, A)
    assert (done.embedded, done.waiting, house.provider.calls["embed"]) == (0, 1, 0)


def test_unknown_deleted_and_too_many_are_refused_before_anything_is_embedded(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    delete_sources(["text.texts.b"], house.stores, house.clock)
    with pytest.raises(UnknownSource, match=r"'nope' does not exist"):
        by_id(house, A, "nope")
    with pytest.raises(UnknownSource, match=r"b' has been deleted"):
        by_id(house, A, "text.texts.b")
    load_sources([receipt(1, [f"line {n}" for n in range(MAX_RECORDS + 1)])], house.stores, house.clock)
    (paper,) = (item.source_id for item in house.stores.sources.list() if item.kind == "receipt")
    with pytest.raises(BadEvent, match=str(MAX_RECORDS + 1)):
        by_id(house, paper)
    assert house.provider.calls["embed"] == 0


def test_sources_are_grouped_into_what_one_call_takes() -> None:
    assert list(portions({})) == []
    assert list(portions({"a": MAX_RECORDS, "b": 1, "c": MAX_RECORDS - 1})) == [["a"], ["b", "c"]]
    assert [len(group) for group in portions({str(n): 1 for n in range(MAX_SOURCES + 1)})] == [MAX_SOURCES, 1]
    with pytest.raises(BadEvent, match=f"big has {MAX_RECORDS + 1} records"):
        list(portions({"a": 1, "big": MAX_RECORDS + 1}))
