"""How far a migration is, kept in memory and on DynamoDB beside the batches, and never taken for one."""

from __future__ import annotations

import pytest
from siltstone.errors import LedgerChanged
from siltstone.stores.ledger import BatchItem, Ledger
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.migrations import MigrationCounts, MigrationItem

from tests.unit.sources_table.conftest import Unkind

ITEM = MigrationItem(
    name="move",
    namespace="",
    index="receipts.svc.pinecone.io",
    collection="lines",
    cursor="eyJza2lwX3Bhc3QiOiJ4In0=",
    pages=3,
    counts=MigrationCounts(listed=4, written=1, missing=1, repeated=1, left_out=1, vector_bytes=6_144),
    json_keys={"a.key with/dots": 2, "": 1},
    left_out={"IMAGE#1": "why"},
)


def test_an_item_comes_back_exactly_as_it_was_saved(ledger: Ledger) -> None:
    assert ledger.read_migration("move", "") is None
    first = ledger.save_migration(ITEM, now=1.5)
    assert ledger.read_migration("move", "") == first
    assert (first.version, first.created_at, first.updated_at) == (1, 1.5, 1.5)
    last = ledger.save_migration(first.changed(cursor=None, status="COPIED", pages=4), now=2.5)
    assert ledger.read_migration("move", "") == last
    assert (last.version, last.created_at, last.updated_at, last.cursor) == (2, 1.5, 2.5, None)


def test_who_did_not_see_the_latest_write_is_refused(ledger: Ledger) -> None:
    first = ledger.save_migration(ITEM, now=1.0)
    with pytest.raises(LedgerChanged):
        ledger.save_migration(ITEM, now=2.0)
    ledger.save_migration(first, now=2.0)
    with pytest.raises(LedgerChanged):
        ledger.save_migration(first, now=3.0)


def test_namespaces_and_migrations_are_kept_apart(ledger: Ledger) -> None:
    for name, namespace in (("a", "b#c"), ("a", "b"), ("a", ""), ("b", "")):
        ledger.save_migration(ITEM.changed(name=name, namespace=namespace, collection=f"{name}-{namespace}"), now=1.0)
    found = ledger.read_migration("a", "b#c")
    assert found is not None
    assert found.collection == "a-b#c"


def test_no_migration_is_taken_for_a_batch(ledger: Ledger) -> None:
    ledger.save_migration(ITEM, now=1.0)
    ledger.create(BatchItem(batch_id="01A", collection="lines", plan="p", model="m"), now=1.0)
    ledger.create(BatchItem(batch_id="01B", collection="lines", plan="p", model="m", status="FAILED"), now=1.0)
    assert sorted(each.batch_id for each in ledger.list()) == ["01A", "01B"]
    assert [each.batch_id for each in ledger.list(open_only=True)] == ["01A"]


def test_a_write_whose_reply_was_lost_is_no_conflict(client: Unkind) -> None:
    ledger = DynamoLedger("ledger", client)
    client.lose_reply = True
    first = ledger.save_migration(ITEM, now=1.0)
    client.lose_reply = True
    assert ledger.read_migration("move", "") == first
    last = ledger.save_migration(first.changed(pages=4), now=2.0)
    assert ledger.read_migration("move", "") == last
