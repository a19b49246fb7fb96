"""A preview counts what a plan then does, and changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from siltstone import keys
from siltstone.embedding.choice import Thresholds, choose
from siltstone.embedding.packing import BatchLimits
from siltstone.embedding.preview import CollectionPreview, Preview, preview_plan
from siltstone.embedding.prices import cost_usd
from siltstone.errors import UnknownCollection
from siltstone.settings import CollectionSettings
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.stores.provider_memory import answered

from tests.unit.embedding.house import House, book, receipt, text


def look(house: House, **more: Any) -> Preview:
    return preview_plan(house.stores, house.clock, **more)


def of(found: Preview, collection: str) -> CollectionPreview:
    return next(each for each in found.collections if each.collection == collection)


@pytest.mark.parametrize("collections", [None, ["texts"], ["lines", "texts"]])
@pytest.mark.parametrize("limits", [None, BatchLimits(max_records=4)])
def test_it_counts_what_the_plan_then_does(
    house: House, collections: list[str] | None, limits: BatchLimits | None
) -> None:
    load_sources([text(f"t{number}") for number in range(9)], house.stores, house.clock)
    load_sources([receipt(number, ["one", "two", "three"]) for number in range(3)], house.stores, house.clock)
    found = look(house, collections=collections, limits=limits)
    planned = house.plan(collections=collections, limits=limits)
    assert (found.sources, found.records, found.batches) == (planned.sources, planned.records, len(planned.batches))
    records = {each.collection: each.records for each in found.collections}
    assert records == {"lines": 9, "texts": 9} if collections != ["texts"] else {"texts": 9}
    assert sum(found.sizes.values()) == found.records


def test_it_changes_nothing(house: House) -> None:
    load_sources([text("a"), text("gone"), receipt(1, ["one"])], house.stores, house.clock)
    house.run()
    load_sources([text("a", "changed"), text("c")], house.stores, house.clock)
    house.stores.deltas.put(keys.source("text", "text.texts.c"), b"{")
    before = copy.deepcopy((list(house.stores.sources.list()), list(house.stores.ledger.list())))
    objects = [(info.key, info.etag) for info in house.stores.deltas.list("")]
    found = look(house)
    assert (of(found, "texts").records, of(found, "texts").unusable) == (1, 1)
    assert (list(house.stores.sources.list()), list(house.stores.ledger.list())) == before
    assert [(info.key, info.etag) for info in house.stores.deltas.list("")] == objects


def test_what_is_embedded_or_deleted_or_in_a_batch_is_not_counted(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    house.run()
    assert look(house).collections == []
    load_sources([text("c"), text("d")], house.stores, house.clock)
    delete_sources(["text.texts.d"], house.stores, house.clock)
    house.plan("plan-2")
    found = of(look(house), "texts")
    assert (found.sources, found.records, found.waiting) == (0, 0, 1)


def test_failed_sources_are_counted_apart_unless_they_are_asked_for(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    house.provider.edit_rows = lambda rows: [answered("a", "a", 400, {"error": {"code": "no", "message": "never"}})]
    house.run()
    found = of(look(house), "texts")
    assert (found.records, found.failed) == (0, 1)
    found = of(look(house, retry_failed=True), "texts")
    assert (found.records, found.failed, found.batches) == (1, 0, 1)


def test_only_some_sources_or_a_limit(house: House) -> None:
    load_sources([text(name) for name in "abc"], house.stores, house.clock)
    assert look(house, source_ids=["text.texts.b"]).sizes == {"text.texts.b": 1}
    assert look(house, limit=2).sources == 2


def test_it_stops_when_it_has_seen_enough(house: House) -> None:
    load_sources([text(f"t{number}") for number in range(150)], house.stores, house.clock)
    told: list[int] = []
    found = look(house, enough=20, progress=lambda done, total: told.append(done))
    assert (found.records, told) == (21, [])
    assert choose(found, Thresholds(records=20)).way == "batch"
    assert look(house, enough=150).records == 150


def test_dollars_follow_from_the_tokens_and_a_batch_costs_half(house: House) -> None:
    load_sources([text("a", "word " * 3_000)], house.stores, house.clock)
    found = look(house)
    assert found.tokens >= 3_000
    assert found.now_usd == cost_usd("text-embedding-3-small", found.tokens, batch=False)
    assert found.batch_usd == pytest.approx((found.now_usd or 0) / 2)


def test_a_model_without_a_price_costs_an_unknown_amount(house: House) -> None:
    house = House(house.workspace, book(odd=CollectionSettings(model="other", dimension=8)))
    load_sources([text("a"), text("b", collection="odd")], house.stores, house.clock)
    found = look(house)
    assert (of(found, "odd").now_usd, found.now_usd, found.batch_usd) == (None, None, None)
    assert of(found, "texts").now_usd is not None


def test_a_collection_without_a_setting(house: House) -> None:
    wide = house.with_stores(settings=book(old=CollectionSettings(dimension=8)))
    load_sources([text("a"), text("b", collection="old")], wide.stores, house.clock)
    found = look(house)
    assert (found.unknown, found.records) == (["old"], 1)
    with pytest.raises(UnknownCollection, match="nowhere"):
        look(house, collections=["nowhere"])


def test_it_says_how_far_it_is(house: House) -> None:
    load_sources([text(f"t{number}") for number in range(150)], house.stores, house.clock)
    told: list[tuple[int, int]] = []
    look(house, progress=lambda done, total: told.append((done, total)))
    assert told == [(100, 150), (150, 150)]


# now or in a batch --------------------------------------------------------------------------------
def figures(records: int, usd: float | None) -> Preview:
    return Preview(
        collections=[],
        unknown=[],
        sources=records,
        records=records,
        tokens=0,
        batches=1,
        batch_usd=usd,
        now_usd=usd,
        sizes={},
    )


@pytest.mark.parametrize(
    ("records", "usd", "way"),
    [
        (0, 0.0, "nothing"),
        (1, 0.0, "now"),
        (10, 0.01, "now"),
        (11, 0.0, "batch"),
        (10, 0.0101, "batch"),
        (1, None, "batch"),
    ],
)
def test_both_thresholds_have_to_hold(records: int, usd: float | None, way: str) -> None:
    choice = choose(figures(records, usd), Thresholds(records=10, usd=0.01))
    assert choice.way == way
    assert choice.why.endswith(".")


def test_the_reason_has_the_figures_that_decided() -> None:
    assert "more than 1,000 records" in choose(figures(1_234, 0.0), Thresholds()).why
    assert "$0.0500 now is more than $0.0100" in choose(figures(5, 0.05), Thresholds()).why
