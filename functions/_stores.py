"""The adapters over AWS, made once per process."""

from __future__ import annotations

from functools import lru_cache

import boto3
from botocore.config import Config
from siltstone.clock import SystemClock
from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sources_dynamo import DynamoSources

from functions._environment import environment

clock = SystemClock()


@lru_cache(maxsize=1)
def stores() -> Stores:
    """The stage's stores. Connections are shared by all threads of a function, so the pool is sized for them."""
    names = environment()
    config = Config(max_pool_connections=32, retries={"mode": "standard", "max_attempts": 5}, tcp_keepalive=True)
    s3 = boto3.client("s3", config=config)
    dynamo = boto3.client("dynamodb", config=config)
    return Stores(
        deltas=S3Objects(names.delta_bucket, s3),
        snapshots=S3Objects(names.snapshot_bucket, s3),
        leases=DynamoLeases(names.lock_table, dynamo),
        ledger=DynamoLedger(names.ledger_table, dynamo),
        sources=DynamoSources(names.source_table, dynamo),
        hints=SqsHints(names.delta_queue_url, boto3.client("sqs", config=config)),
        settings=CollectionBook.parse(names.collections),
    )
