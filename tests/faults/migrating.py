"""A stage of buckets and tables on the emulated AWS, and a process that migrates into it and dies where it is told.

``python -m tests.faults.migrating '{...}'``: the process. Each kind of effect is counted; before or after the one that
is named it sends itself SIGKILL, which no handler sees.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from siltstone.clock import SystemClock
from siltstone.migration.copying import copy_namespace
from siltstone.migration.job import Job, Pages
from siltstone.migration.patience import PatientIndex
from siltstone.migration.plan import plan_moves
from siltstone.migration.source_pinecone import open_pinecone
from siltstone.migration.walk import Listing
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sources_dynamo import DynamoSources
from siltstone_local.aws import aws_client

DIMENSION = 64
MAPPING = {"": "texts"}
ROWS = 1_000
_TABLES = {"locks": "lock_id", "ledger": "batch_id", "sources": "source_id"}


def make_stage(endpoint: str) -> Stores:
    """Make the buckets and the tables."""
    s3, dynamo = aws_client("s3", endpoint), aws_client("dynamodb", endpoint)
    for bucket in ("deltas", "snapshots"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for table, key in _TABLES.items():
        dynamo.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    return stage(endpoint)


def stage(endpoint: str) -> Stores:
    """The stage that `make_stage` made."""
    s3, dynamo = aws_client("s3", endpoint), aws_client("dynamodb", endpoint)
    settings = CollectionSettings(dimension=DIMENSION)
    return Stores(
        deltas=S3Objects("deltas", s3),
        snapshots=S3Objects("snapshots", s3),
        leases=DynamoLeases("locks", dynamo),
        ledger=DynamoLedger("ledger", dynamo),
        sources=DynamoSources("sources", dynamo),
        hints=MemoryHints(),
        settings=CollectionBook(collections=dict.fromkeys(("words", "lines", "texts"), settings), settle_seconds=0),
    )


def jobs(index: PatientIndex, stores: Stores) -> list[Job]:
    moves = plan_moves(index.shape(), stores, mapping=MAPPING)
    return [Job("crash", move, Listing(index), Pages(rows=ROWS)) for move in moves]


class _Deadly:
    """Passes everything on; dies around the call that is named."""

    def __init__(self, there: Any, method: str, number: int, *, after: bool) -> None:
        self._there, self._method, self._number, self._after = there, method, number, after
        self._calls = count(1)  # by several threads

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._there, name)
        return self._counted(real) if name == self._method else real

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            number = next(self._calls)
            if number == self._number and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if number == self._number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def main() -> None:
    asked = json.loads(sys.argv[1])
    stores = stage(asked["endpoint"])
    source: Any = open_pinecone(host=asked["host"], api_key="any")
    if "place" in asked:
        owner, method, number, after = asked["place"]
        if owner == "index":
            source = _Deadly(source, method, number, after=after)
        else:
            deadly: Any = _Deadly(getattr(stores, owner), method, number, after=after)
            stores = replace(stores, **{owner: deadly})
    clock = SystemClock()
    index = PatientIndex(source, clock, first_pause=0.05)
    for job in jobs(index, stores):
        copy_namespace(job, index, stores, clock)


if __name__ == "__main__":
    main()
