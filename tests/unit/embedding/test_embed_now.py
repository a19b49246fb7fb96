from __future__ import annotations

import numpy as np
import pytest
from siltstone.embedding.embed_now import MAX_RECORDS, EmbedNowInput, embed_now, embed_sources_now
from siltstone.errors import BadEvent, BadSource, ProviderUnavailable
from siltstone.sources.loading import load_sources

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
