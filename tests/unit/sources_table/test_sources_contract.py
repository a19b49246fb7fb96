"""What the source table promises, in memory and on DynamoDB."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from siltstone.errors import BadSettings, BadSource, SourceChanged
from siltstone.stores.sources import Claim, CollectionState, SourceItem, SourceTable, open_shard
from siltstone.stores.sources_dynamo import DynamoSources

from tests.unit.sources_table.conftest import Unkind

CLAIM = Claim(plan="plan-1", batch_id="B", revision="r1", at=1_700_000_000.25)
FULL = CollectionState(
    status="PENDING",
    claim=CLAIM,
    batch_id="A",
    failures=2,
    cause="it was refused",
    settled={f"IMAGE#x#RECEIPT#00001#LINE#{n:05d}": f"{n:016x}" for n in range(40)},
    refused={"naïve": "0" * 16},
    pending=frozenset({"p1", "p2"}),
    stray=frozenset({"s"}),
)


def item(source_id: str = "one", status: str = "NONE", **more: object) -> SourceItem:
    states = {"lines": CollectionState.model_validate({"status": status})}
    return SourceItem.model_validate(
        {"source_id": source_id, "kind": "text", "revision": "r1", "collections": states, **more}
    )


def test_an_item_comes_back_exactly_as_it_was_saved(sources: SourceTable) -> None:
    saved = sources.save(item(collections={"lines": FULL, "words.x-y": CollectionState()}), now=10.5)
    assert saved.version == 1
    assert (saved.created_at, saved.updated_at) == (10.5, 10.5)
    assert sources.read("one") == saved
    assert sources.read_many(["one", "none"]) == {"one": saved}
    assert list(sources.list()) == [saved]


def test_what_is_not_there_is_none(sources: SourceTable) -> None:
    assert sources.read("none") is None
    assert sources.read_many([]) == {}


def test_a_second_save_keeps_the_time_of_creation(sources: SourceTable) -> None:
    first = sources.save(item(), now=1.0)
    second = sources.save(first, now=2.0)
    assert (second.version, second.created_at, second.updated_at) == (2, 1.0, 2.0)


@pytest.mark.parametrize("behind", [0, 1])
def test_a_save_on_an_older_version_is_refused(sources: SourceTable, behind: int) -> None:
    stored = sources.save(sources.save(item(), now=1.0), now=2.0)
    with pytest.raises(SourceChanged):
        sources.save(stored.model_copy(update={"version": behind, "revision": "other"}), now=3.0)
    assert sources.read("one") == stored


def test_a_save_of_what_is_gone_is_refused(sources: SourceTable) -> None:
    with pytest.raises(SourceChanged):
        sources.save(item(version=3), now=1.0)
    assert sources.read("one") is None


def test_many_saves_say_which_items_had_changed(sources: SourceTable) -> None:
    first = sources.save(item("one"), now=1.0)
    sources.save(first.model_copy(update={"revision": "r2"}), now=2.0)
    saved, changed = sources.save_many([first.model_copy(update={"revision": "r3"}), item("two")], now=3.0)
    assert saved.keys() == {"two"}
    assert changed == {"one"}


def test_one_of_many_racing_saves_wins(sources: SourceTable) -> None:
    start = sources.save(item(), now=1.0)

    def race(number: int) -> bool:
        try:
            sources.save(start.model_copy(update={"revision": f"r{number}"}), now=2.0)
        except SourceChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(16))) == 1


def test_open_sources_are_listed_until_every_collection_is_settled(sources: SourceTable) -> None:
    stored = {name: sources.save(item(name, status=name), now=1.0) for name in ("NONE", "PENDING", "FAILED", "SUCCESS")}
    assert sorted(sources.list_open()) == ["FAILED", "NONE", "PENDING"]
    done = stored["NONE"].model_copy(update={"collections": {"lines": CollectionState(status="SUCCESS")}})
    sources.save(done, now=2.0)
    assert sorted(sources.list_open()) == ["FAILED", "PENDING"]


def test_a_deleted_source_is_open_while_its_rows_are_still_there(sources: SourceTable) -> None:
    held = CollectionState(settled={"row": "0" * 16})
    owing = sources.save(item(collections={"lines": held}, deleted_at=1.0), now=1.0)
    assert list(sources.list_open()) == ["one"]
    sources.save(owing.model_copy(update={"collections": {"lines": CollectionState()}}), now=2.0)
    assert list(sources.list_open()) == []


def test_more_items_than_one_request_takes_are_read(sources: SourceTable) -> None:
    names = [f"s{number}" for number in range(230)]
    saved, changed = sources.save_many([item(name) for name in names], now=1.0)
    assert len(saved) == 230
    assert not changed
    assert sources.read_many([*names, *names]) == saved
    assert sorted(sources.list_open()) == sorted(names)


class TestDynamo:
    def test_a_write_whose_reply_was_lost_is_no_conflict(self, client: Unkind) -> None:
        sources = DynamoSources("sources", client)
        client.lose_reply = True
        first = sources.save(item(), now=1.0)
        client.lose_reply = True
        second = sources.save(first.model_copy(update={"revision": "r2"}), now=2.0)
        assert sources.read("one") == second

    def test_what_a_throttled_read_left_out_is_asked_for_again(self, client: Unkind) -> None:
        sources = DynamoSources("sources", client)
        stored = sources.save(item(), now=1.0)
        client.unprocessed = 2
        assert sources.read_many(["one"]) == {"one": stored}

    def test_hundreds_of_sources_are_read_in_a_few_requests(self, client: Unkind) -> None:
        sources = DynamoSources("sources", client)
        sources.read_many(f"s{number}" for number in range(470))
        assert client.calls == ["batch_get_item"] * 5

    def test_470_receipts_are_saved_in_seconds(self, client: Unkind) -> None:
        sources = DynamoSources("sources", client)
        started = time.monotonic()
        saved, _ = sources.save_many(
            [item(f"s{number}", collections={"lines": FULL, "words": FULL}) for number in range(470)], now=1.0
        )
        assert len(saved) == 470
        assert time.monotonic() - started < 15

    def test_the_sparse_index_has_the_names_that_the_stack_makes(self, client: Unkind) -> None:
        DynamoSources("sources", client).save(item(), now=1.0)
        (raw,) = client.scan(TableName="sources")["Items"]
        assert raw["open_shard"] == {"S": open_shard("one")}
        assert raw["open_shard"]["S"] in set("01234567")
        assert raw["collections"]["M"]["lines"]["M"]["status"] == {"S": "NONE"}

    def test_two_hundred_words_take_a_few_kilobytes(self, client: Unkind) -> None:
        import hashlib

        word = "IMAGE#00000000-0000-4000-8000-000000000001#RECEIPT#00001#LINE#{0:05d}#WORD#{1:05d}"
        settled = {word.format(n // 5, n % 5): hashlib.sha256(str(n).encode()).hexdigest()[:16] for n in range(200)}
        state = CollectionState(status="SUCCESS", settled=settled)
        DynamoSources("sources", client).save(item(collections={"words": state}), now=1.0)
        (raw,) = client.scan(TableName="sources")["Items"]
        assert len(raw["collections"]["M"]["words"]["M"]["rows"]["B"]) < 4_000

    def test_a_source_with_more_records_than_an_item_can_list_is_named(self, client: Unkind) -> None:
        import os

        settled = {f"row-{n}": os.urandom(8).hex() for n in range(60_000)}
        big = item("too-big", collections={"lines": CollectionState(settled=settled)})
        with pytest.raises(BadSource, match="too-big"):
            DynamoSources("sources", client).save(big, now=1.0)

    def test_a_missing_table_is_a_matter_of_settings(self, client: Unkind) -> None:
        with pytest.raises(BadSettings, match="nowhere"):
            DynamoSources("nowhere", client).read("one")
