"""Batches that were submitted by hand."""

from __future__ import annotations

from io import BytesIO

import pytest
from siltstone import keys
from siltstone.embedding.requests import request_line
from siltstone.errors import BadEvent, IllegalTransition, UnknownCollection
from siltstone.records.record import make_records
from siltstone.sources.loading import load_sources
from siltstone.stores.ledger import Counts

from tests.unit.embedding.house import DIMENSION, House, receipt, text

MODEL = "text-embedding-3-small"


def by_hand(house: House, rows: list[tuple[str, str]], *, model: str = MODEL, dimension: int = DIMENSION) -> str:
    """Submit rows as somebody with a shell does; the provider's id."""
    body = b"".join(request_line(name, content, model=model, dimension=dimension) for name, content in rows)
    return house.provider.create_batch(house.provider.upload_file(BytesIO(body), "hand.jsonl"), {}).id


def test_a_planned_batch_that_was_submitted_by_hand_goes_on(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    (planned,) = house.plan().batches
    body = house.stores.deltas.get(f"{keys.batch_attempt(planned.batch_id, 1)}requests.jsonl").body
    there = house.provider.create_batch(house.provider.upload_file(BytesIO(body), "hand.jsonl"), {})
    sent = house.submit(planned.batch_id, openai_batch_id=there.id)
    assert sent.openai_batch_id == there.id
    assert house.submit(planned.batch_id, openai_batch_id=there.id) == sent
    assert house.walk(planned.batch_id).counts == Counts(submitted=2, embedded=2)
    assert len(house.provider.batches) == 1
    assert sorted(house.documents()) == ["a", "b"]


def test_a_planned_batch_is_not_adopted_with_other_texts(house: House) -> None:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    (planned,) = house.plan().batches
    wrong = by_hand(house, [("a", "hello"), ("b", "something else")])
    with pytest.raises(BadEvent, match="'b'"):
        house.submit(planned.batch_id, openai_batch_id=wrong)
    assert house.stores.ledger.read(planned.batch_id).status == "PLANNED"


def test_a_submitted_batch_can_not_become_another_one(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    sent = house.sent()
    with pytest.raises(IllegalTransition, match=sent.openai_batch_id):
        house.submit(sent.batch_id, openai_batch_id=by_hand(house, [("a", "hello")]))


def test_a_batch_that_the_ledger_does_not_know_is_rebuilt_from_its_input_file(house: House) -> None:
    source = receipt(1, ["milk 2", "total 2"])
    load_sources([source, text("a", "from a text", place=1), text("changed", "old")], house.stores, house.clock)
    load_sources([text("changed", "new")], house.stores, house.clock)
    rows = [("a", "from a text"), ("stranger", "who is this"), ("changed", "old")]
    theirs = by_hand(house, rows)
    sent = house.submit("hand-made", openai_batch_id=theirs, collection="texts")
    assert sent.openai_batch_id == theirs
    assert house.state("text.texts.a").status == "PENDING"
    assert [one.collection for one in house.plan("p", collections=["texts"]).batches] == ["texts"]  # `changed` alone
    house.provider.advance(3)
    made = house.create("hand-made")
    assert (made.submitted, made.embedded, made.rejected, made.outdated) == (3, 1, 1, 1)
    assert house.record("hand-made").status == "COMPLETE"
    row = house.store()["a"]
    assert (row["document"], row["metadata"]["place"]) == ("from a text", 1)
    assert house.state("text.texts.a").status == "SUCCESS"
    assert house.provider.batches[theirs].status == "completed"
    assert house.stores.ledger.read("hand-made").cost_usd is not None


def test_an_adopted_receipt_has_all_that_a_planned_one_has(house: House) -> None:
    source = receipt(1, ["milk 2", "total 2"])
    load_sources([source], house.stores, house.clock)
    records = make_records(source, "lines", house.stores.settings.resolve("lines"))
    theirs = by_hand(house, [(record.record_id, record.input) for record in records])
    house.submit("hand-made", openai_batch_id=theirs, collection="lines")
    assert house.plan().batches == []  # it is not paid for again
    house.walk("hand-made")
    found = house.store("lines")
    for record in records:
        metadata = found[record.record_id]["metadata"]
        assert metadata | dict(record.metadata) == metadata
        assert metadata["input_sha256"] == record.input_sha256
    assert house.state(source.source_id, "lines").status == "SUCCESS"


def test_a_batch_for_what_is_embedded_already_changes_nothing(house: House) -> None:
    load_sources([text("a")], house.stores, house.clock)
    house.run()
    before = house.state("text.texts.a")
    house.submit("again", openai_batch_id=by_hand(house, [("a", "hello")]), collection="texts")
    assert house.walk("again").counts.embedded == 1
    assert house.state("text.texts.a") == before
    assert list(house.documents()) == ["a"]


def test_another_model_or_dimension_is_refused(house: House) -> None:
    for odd in (
        by_hand(house, [("a", "x")], model="text-embedding-3-large"),
        by_hand(house, [("a", "x")], dimension=4),
    ):
        with pytest.raises(BadEvent, match="Line 1"):
            house.submit("hand-made", openai_batch_id=odd, collection="texts")
    assert list(house.stores.ledger.list()) == []


def test_what_is_missing_in_the_request_is_named(house: House) -> None:
    theirs = by_hand(house, [("a", "x")])
    with pytest.raises(BadEvent, match="'collection'"):
        house.submit("hand-made", openai_batch_id=theirs)
    with pytest.raises(UnknownCollection):
        house.submit("hand-made", openai_batch_id=theirs, collection="nothing")
