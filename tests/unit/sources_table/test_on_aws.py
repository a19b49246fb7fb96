"""The whole way of many sources over DynamoDB and S3 adapters, not their twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sources_dynamo import DynamoSources

from tests.unit.embedding.house import House, receipt
from tests.unit.sources_table.conftest import Unkind


@pytest.fixture
def house(tmp_path: Path, client: Unkind) -> House:
    s3: Any = boto3.client("s3", region_name="us-east-1", config=CLIENT_CONFIG)
    s3.create_bucket(Bucket="deltas")
    s3.put_bucket_versioning(Bucket="deltas", VersioningConfiguration={"Status": "Enabled"})
    return House(tmp_path).with_stores(
        deltas=S3Objects("deltas", s3),
        ledger=DynamoLedger("ledger", client),
        sources=DynamoSources("sources", client),
    )


def test_receipts_go_in_change_and_go_away(house: House, client: Unkind) -> None:
    receipts = [receipt(number, [f"milk {number}", "total"]) for number in range(60)]
    load_sources(receipts, house.stores, house.clock)
    (planned,) = house.plan("p").batches
    assert planned.records == 120
    client.calls.clear()
    item = house.walk(planned.batch_id)
    assert (item.status, item.counts.embedded) == ("COMPLETE", 120)
    assert client.calls.count("batch_get_item") == 2  # CreateDelta and RecordOutcome look at the sources once each
    assert client.calls.count("put_item") == 60  # each source is settled with one conditional write
    assert len(house.documents("lines")) == 120
    load_sources([receipt(0, ["milk 0", "changed"])], house.stores, house.clock)
    house.run("q")
    delete_sources([receipts[1].source_id], house.stores, house.clock)
    documents = list(house.documents("lines").values())
    assert len(documents) == 118
    assert "changed" in documents
    assert list(house.stores.sources.list_open()) == []
