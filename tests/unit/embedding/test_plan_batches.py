from __future__ import annotations

import json

import pytest
from siltstone import keys
from siltstone.embedding.packing import BatchLimits
from siltstone.errors import UnknownCollection
from siltstone.settings import CollectionBook
from siltstone.sources.loading import load_sources

from tests.unit.embedding.faults import Crash, Hooked, crashing, key_ends
from tests.unit.embedding.house import SMALL, House, book, receipt, text, without_last_line

A, B, C = "text.texts.a", "text.texts.b", "text.texts.c"


def requests(house: House, batch_id: str, attempt: int = 1) -> list[dict[str, object]]:
    body = house.stores.deltas.get(f"{keys.batch_attempt(batch_id, attempt)}requests.jsonl").body
    return [json.loads(line) for line in body.splitlines()]


def test_sources_that_are_not_embedded_become_one_batch_for_each_collection(house: House) -> None:
    load_sources([text("a"), text("b"), receipt(1, ["total 3", "thank you"])], house.stores, house.clock)
    plan = house.plan()
    assert [(one.collection, one.records) for one in plan.batches] == [("lines", 2), ("texts", 2)]
    assert (plan.sources, plan.records, plan.rejected, plan.more) == (3, 4, 0, False)
    for one in plan.batches:
        item = house.stores.ledger.read(one.batch_id)
        assert (item.status, item.records, item.plan) == ("PLANNED", one.records, "plan-1")
        assert one.execution == f"{one.batch_id}-1"
        assert len(requests(house, one.batch_id)) == one.records
    state = house.state(A)
    assert state.status == "PENDING"
    assert state.claim is not None
    assert state.claim.batch_id == plan.batches[1].batch_id


def test_batch_ids_grow_with_time(house: House) -> None:
    ids: list[str] = []
    for number in range(3):
        load_sources([text(f"t{number}")], house.stores, house.clock)
        ids += [one.batch_id for one in house.plan(f"plan-{number}").batches]
    assert ids == sorted(ids)


def test_a_retry_of_a_plan_answers_the_same_and_claims_nothing_more(house: House) -> None:
    load_sources([text("a"), receipt(1, ["x"])], house.stores, house.clock)
    first, again = house.plan("p"), house.plan("p")
    assert sorted(again.batches, key=str) == sorted(first.batches, key=str)
    assert again.sources == 0
    assert house.plan("other").batches == []


@pytest.mark.parametrize("file", ["records.parquet", "requests.jsonl"])
def test_a_retry_owns_the_claims_of_a_plan_that_crashed_while_it_wrote_files(house: House, file: str) -> None:
    load_sources([text("a")], house.stores, house.clock)
    broken = house.with_stores(deltas=crashing(house.stores.deltas, "put_file", when=key_ends(file)))
    with pytest.raises(Crash):
        broken.plan("p")
    assert house.state(A).status == "PENDING"
    (planned,) = house.plan("p").batches
    claim = house.state(A).claim
    assert claim is not None
    assert claim.batch_id == planned.batch_id


def test_a_claim_that_no_ledger_item_knows_is_released_after_an_hour_and_not_before(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    with pytest.raises(Crash):
        house.with_stores(ledger=crashing(house.stores.ledger, "create")).plan("p")
    house.clock.advance(3_000)
    assert house.plan("q").batches == []
    house.clock.advance(601)
    assert len(house.plan("r").batches) == 1
    house.walk(house.plan("r").batches[0].batch_id)
    assert house.state(A).status == "SUCCESS"


def test_a_plan_that_crashed_after_the_ledger_loses_nothing(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    with pytest.raises(Crash):
        house.with_stores(ledger=crashing(house.stores.ledger, "create", after=True)).plan("p")
    (planned,) = house.plan("p").batches
    assert house.walk(planned.batch_id).counts.embedded == 1
    assert house.provider.calls["create_batch"] == 1


def test_an_open_batch_without_a_sign_of_life_is_started_under_the_next_generation(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    (planned,) = house.plan("p").batches
    sent = house.submit(planned.batch_id)
    house.clock.advance(7_000)
    house.poll(sent)
    house.clock.advance(7_000)
    assert house.plan("q").batches == []  # it was looked at less than two hours ago
    house.clock.advance(300)
    (again,) = house.plan("r").batches
    assert again.execution == f"{planned.batch_id}-2"
    assert house.plan("s").batches == []
    assert house.walk(planned.batch_id).status == "COMPLETE"
    assert house.provider.calls["create_batch"] == 1


def test_a_failed_batchs_sources_go_into_the_next_plan(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    (planned,) = house.plan("p").batches
    house.record(planned.batch_id, failed="invalid file")
    (again,) = house.plan("q").batches
    assert again.batch_id != planned.batch_id


def test_a_batch_that_failed_between_its_sources_and_the_ledger_is_taken_again_too(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    (planned,) = house.plan("p").batches
    item = house.stores.ledger.read(planned.batch_id)
    house.stores.ledger.save(item.moved("FAILED"), now=house.clock.now())  # its sources were never given back
    assert house.plan("q").records == 2


def test_a_limit_leaves_the_rest_for_later_and_nobody_waits_for_ever(house: House) -> None:
    load_sources([text(f"t{number}") for number in range(30)], house.stores, house.clock)
    first = house.plan("p", limit=10)
    assert (first.sources, first.more) == (10, True)
    second = house.plan("q", limit=20)
    assert (second.sources, second.more) == (20, False)
    orders: set[str] = set()
    for number in range(40):
        other = House(house.workspace)
        load_sources([text(f"t{n}") for n in range(10)], other.stores, other.clock)
        (planned,) = other.plan(f"plan-{number}", limit=1).batches
        orders.add(str(requests(other, planned.batch_id)[0]["custom_id"]))
    assert len(orders) > 5  # a fixed order would starve the last ones


def test_time_that_runs_out_leaves_the_rest_for_later(house: House) -> None:
    load_sources([text(f"t{number}") for number in range(250)], house.stores, house.clock)
    left = iter([900.0, 900.0, 900.0, 900.0, 900.0])
    plan = house.plan("p", seconds_left=lambda: next(left, 10.0))
    assert plan.more
    assert 0 < plan.sources < 250
    assert house.plan("q").sources == 250 - plan.sources


def test_a_function_with_little_time_gets_somewhere_all_the_same(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    assert house.plan("p", seconds_left=lambda: 60.0).sources == 1


def test_a_source_never_straddles_two_batches(house: House) -> None:
    sources = [receipt(number, [f"line {number} {n}" for n in range(7)]) for number in range(5)]
    load_sources(sources, house.stores, house.clock)
    plan = house.plan("p", limits=BatchLimits(max_records=20))
    assert sorted(one.records for one in plan.batches) == [7, 14, 14]
    seen: dict[str, str] = {}
    for one in plan.batches:
        for row in requests(house, one.batch_id):
            owner = str(row["custom_id"]).partition("#LINE")[0]
            assert seen.setdefault(owner, one.batch_id) == one.batch_id


def test_a_source_too_large_for_any_batch_fails_and_the_others_go_on(house: House) -> None:
    load_sources([receipt(1, ["a", "b", "c"]), receipt(2, ["d"])], house.stores, house.clock)
    plan = house.plan("p", limits=BatchLimits(max_records=2))
    assert (plan.records, plan.rejected) == (1, 3)
    state = house.state(receipt(1, ["a"]).source_id, "lines")
    assert state.status == "FAILED"
    assert "has 3 records" in (state.cause or "")
    assert house.plan("q", limits=BatchLimits(max_records=2)).rejected == 0  # it waits for a person
    assert house.plan("r", retry_failed=True).records == 3


def test_a_source_that_changes_while_it_is_planned_is_left_out(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    hook = Hooked(
        house.stores.sources,
        "save_many",
        lambda: load_sources([text("a", "new")], house.stores, house.clock) and None,
        when=lambda items, **_: len(items) == 2,  # the claims
    )
    (planned,) = house.with_stores(sources=hook).plan("p").batches
    assert [row["custom_id"] for row in requests(house, planned.batch_id)] == ["b"]
    house.walk(planned.batch_id)
    house.run("q")
    assert house.documents() == {"a": "new", "b": "hello"}


def test_a_load_that_stopped_after_the_body_is_finished_by_the_plan(house: House) -> None:
    load_sources([text("a", "old")], house.stores, house.clock)
    house.run("p")
    load_sources([text("a", "older than the body")], house.stores, house.clock)
    broken = house.with_stores(sources=crashing(house.stores.sources, "save_many"))
    with pytest.raises(Crash):
        load_sources([text("a", "new")], broken.stores, house.clock)
    house.run("q")
    house.run("r")
    assert house.documents() == {"a": "new"}


def test_a_body_that_is_gone_fails_the_source_until_it_is_loaded_again(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    house.stores.deltas.delete(keys.source("text", A))
    house.run("p")
    assert house.state(A).status == "FAILED"
    assert "body is gone" in (house.state(A).cause or "")
    assert house.documents() == {"b": "hello"}
    load_sources([text("a")], house.stores, house.clock)
    (planned,) = house.plan("q", retry_failed=True).batches
    house.walk(planned.batch_id)
    assert house.documents() == {"a": "hello", "b": "hello"}


def test_only_the_collections_that_were_asked_for_are_planned(house: House) -> None:
    load_sources([text("a"), receipt(1, ["x"])], house.stores, house.clock)
    assert [one.collection for one in house.plan("p", collections=["lines"]).batches] == ["lines"]
    with pytest.raises(UnknownCollection, match="nothing"):
        house.plan("q", collections=["nothing"])


def test_a_collection_without_a_setting_waits_and_the_others_go_on(house: House) -> None:
    there = house.with_stores(settings=book(gone=SMALL))
    load_sources([text("x", collection="gone"), text("a")], there.stores, house.clock)
    plan = house.plan("p")
    assert [one.collection for one in plan.batches] == ["texts"]
    assert house.stores.settings == CollectionBook.model_validate(book().model_dump())
    assert [one.collection for one in there.plan("q").batches] == ["gone"]


def test_a_change_that_only_deletes_needs_no_provider(house: House) -> None:
    words = SMALL.model_copy(update={"input_format": "word-context-v1"})
    there = House(house.workspace, book(words=words))
    before = receipt(1, ["alone", "lonely"])  # a word's context is its line: the other word does not change
    load_sources([before], there.stores, there.clock)
    there.run("p")
    paid = there.provider.calls["create_batch"]
    # The load stops before it pays what it owes; the plan does.
    broken = there.with_stores(deltas=crashing(there.stores.deltas, "put", when=key_ends("embeddings.parquet")))
    with pytest.raises(Crash):
        load_sources([without_last_line(before)], broken.stores, there.clock)
    assert sorted(there.documents("words").values()) == ["alone", "lonely"]
    assert there.plan("q", collections=["words"]).batches == []
    assert list(there.documents("words").values()) == ["alone"]
    assert there.state(before.source_id, "words").status == "SUCCESS"
    assert there.provider.calls["create_batch"] == paid
