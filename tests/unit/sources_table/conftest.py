"""The ledger and the source table in memory and on DynamoDB: one contract for both."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import boto3
import pytest
from moto import mock_aws
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.ledger import Ledger
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.sources import SourceTable
from siltstone.stores.sources_dynamo import DynamoSources
from siltstone.stores.sources_memory import MemorySources


class Unkind:
    """A DynamoDB client whose next write happens and whose reply is then lost, so that it is sent again."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._one_at_a_time = Lock()  # moto's conditions are not atomic between threads, DynamoDB's are
        self.lose_reply = False
        self.unprocessed = 0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.calls.append(name)
            with self._one_at_a_time:
                return self._call(name, request)

        return call

    def _call(self, name: str, request: Any) -> Any:
        reply = getattr(self._client, name)(**request)
        if self.lose_reply and name in {"put_item", "update_item"}:
            self.lose_reply = False
            return getattr(self._client, name)(**request)  # what botocore does by itself
        if self.unprocessed and name == "batch_get_item":
            self.unprocessed -= 1
            return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
        return reply


@pytest.fixture(scope="module")
def moto_client() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        with mock_aws():
            yield boto3.client("dynamodb", region_name="us-east-1", config=CLIENT_CONFIG)


@pytest.fixture
def client(moto_client: Any) -> Iterator[Unkind]:
    make_tables(moto_client)
    yield Unkind(moto_client)
    for table in ("ledger", "sources"):
        moto_client.delete_table(TableName=table)


def make_tables(client: Any) -> None:
    """As `cdk/storage.py` makes them."""

    def make(table: str, key: str, *others: str, **request: Any) -> None:
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (key, *others)],
            BillingMode="PAY_PER_REQUEST",
            **request,
        )

    schema = [
        {"AttributeName": "open_shard", "KeyType": "HASH"},
        {"AttributeName": "source_id", "KeyType": "RANGE"},
    ]
    index = {"IndexName": "open", "KeySchema": schema, "Projection": {"ProjectionType": "KEYS_ONLY"}}
    make("ledger", "batch_id")
    make("sources", "source_id", "open_shard", GlobalSecondaryIndexes=[index])


@pytest.fixture(params=["memory", "dynamo"])
def sources(request: pytest.FixtureRequest) -> SourceTable:
    if request.param == "memory":
        return MemorySources()
    return DynamoSources("sources", request.getfixturevalue("client"))


@pytest.fixture(params=["memory", "dynamo"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return DynamoLedger("ledger", request.getfixturevalue("client"))
