"""The product's stores over the deployed stage: what a producer or an operator uses in process."""

from __future__ import annotations

from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sources_dynamo import DynamoSources

from siltstone_local.deployment import Deployment


def connect(deployment: Deployment) -> Stores:
    """Stores by the names that the functions' own environment has."""
    names = deployment.environment
    s3, dynamo = deployment.client("s3"), deployment.client("dynamodb")
    return Stores(
        deltas=S3Objects(names["DELTA_BUCKET"], s3),
        snapshots=S3Objects(names["SNAPSHOT_BUCKET"], s3),
        leases=DynamoLeases(names["LOCK_TABLE"], dynamo),
        ledger=DynamoLedger(names["LEDGER_TABLE"], dynamo),
        sources=DynamoSources(names["SOURCE_TABLE"], dynamo),
        hints=SqsHints(names["DELTA_QUEUE_URL"], deployment.client("sqs")),
        settings=CollectionBook.parse(names.get("SILTSTONE_COLLECTIONS", "{}")),
    )
