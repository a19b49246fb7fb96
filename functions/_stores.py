"""The adapters over AWS, made once per process."""

from __future__ import annotations

from functools import lru_cache

import boto3
from siltstone.clock import SystemClock
from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sources_dynamo import DynamoSources

from functions._environment import environment

clock = SystemClock()


@lru_cache(maxsize=1)
def stores() -> Stores:
    """The stage's stores."""
    names = environment()
    s3 = boto3.client("s3", config=CLIENT_CONFIG)
    dynamo = boto3.client("dynamodb", config=CLIENT_CONFIG)
    return Stores(
        deltas=S3Objects(names.delta_bucket, s3),
        snapshots=S3Objects(names.snapshot_bucket, s3),
        leases=DynamoLeases(names.lock_table, dynamo),
        ledger=DynamoLedger(names.ledger_table, dynamo),
        sources=DynamoSources(names.source_table, dynamo),
        hints=SqsHints(names.delta_queue_url, boto3.client("sqs", config=CLIENT_CONFIG)),
        settings=CollectionBook.parse(names.collections),
    )
