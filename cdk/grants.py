"""What each function may do, by key prefix and table: a state can't do another state's work, whatever its code says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from siltstone import keys

from cdk.settings import FunctionName
from cdk.storage import Storage

POINTERS = f"{keys.SNAPSHOTS}*/latest/*"
PENDING = (f"{keys.DELTAS}*", f"{keys.LEGACY_CHROMA_DELTAS}*")
BATCH_FILES = (f"{keys.BATCHES}*",)
ANY = ("*",)


@dataclass(frozen=True)
class BucketGrant:
    """Key patterns of one bucket. Whoever has any of them may list the bucket."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grant:
    """What one function needs. Nobody may delete an item of a table or a version of an object."""

    deltas: BucketGrant = BucketGrant()
    snapshots: BucketGrant = BucketGrant()
    lock: bool = False  # renews and releases
    takes_lock: bool = False
    ledger: bool = False
    sources: bool = False
    hints: bool = False  # sends to the delta queue
    secret: bool = False  # reads the provider's key


GRANTS: dict[FunctionName, Grant] = {
    "list_collections": Grant(deltas=BucketGrant(read=PENDING), snapshots=BucketGrant(read=ANY)),
    "acquire_lock": Grant(lock=True, takes_lock=True, snapshots=BucketGrant(read=ANY)),
    "renew_lock": Grant(lock=True),
    "download": Grant(
        lock=True,
        ledger=True,
        deltas=BucketGrant(read=(*PENDING, f"{keys.QUARANTINE}*"), write=(f"{keys.QUARANTINE}*",), delete=PENDING),
        snapshots=BucketGrant(read=ANY, write=(f"{keys.STAGING}*",)),
    ),
    "merge": Grant(lock=True, snapshots=BucketGrant(read=ANY, write=(f"{keys.STAGING}*",))),
    "upload": Grant(lock=True, snapshots=BucketGrant(read=ANY, write=(f"{keys.SNAPSHOTS}*",))),
    "promote_pointer": Grant(
        lock=True, snapshots=BucketGrant(read=ANY, write=(f"{keys.SNAPSHOTS}*/latest/pointer.txt",))
    ),
    "retire": Grant(
        lock=True,
        deltas=BucketGrant(read=PENDING, delete=PENDING),
        snapshots=BucketGrant(read=ANY, delete=(f"{keys.SNAPSHOTS}*",)),
    ),
    "release_lock": Grant(lock=True),
    "plan_batches": Grant(
        ledger=True,
        sources=True,
        hints=True,
        secret=True,
        deltas=BucketGrant(read=(f"{keys.SOURCES}*", *BATCH_FILES, *PENDING), write=(*BATCH_FILES, f"{keys.DELTAS}*")),
    ),
    "submit_batch": Grant(ledger=True, secret=True, deltas=BucketGrant(read=BATCH_FILES, write=BATCH_FILES)),
    "poll_batch": Grant(ledger=True, secret=True, deltas=BucketGrant(read=BATCH_FILES, write=BATCH_FILES)),
    "create_delta": Grant(
        ledger=True,
        sources=True,
        secret=True,
        deltas=BucketGrant(read=(f"{keys.SOURCES}*", *BATCH_FILES, *PENDING), write=(*BATCH_FILES, f"{keys.DELTAS}*")),
    ),
    "record_outcome": Grant(
        ledger=True,
        sources=True,
        hints=True,
        secret=True,
        deltas=BucketGrant(read=(f"{keys.SOURCES}*", *BATCH_FILES, *PENDING), write=(*BATCH_FILES, f"{keys.DELTAS}*")),
    ),
    "query": Grant(secret=True, deltas=BucketGrant(read=PENDING), snapshots=BucketGrant(read=ANY)),
    "embed_now": Grant(
        sources=True,
        hints=True,
        secret=True,
        deltas=BucketGrant(read=(f"{keys.SOURCES}*", *PENDING), write=(f"{keys.SOURCES}*", f"{keys.DELTAS}*")),
    ),
    "start_compaction": Grant(),
}


def grant_storage(role: iam.Role, grant: Grant, storage: Storage) -> None:
    """Give a role the buckets' and tables' part of its grant."""
    statements = [
        *_bucket(grant.deltas, storage.delta_bucket),
        *_bucket(grant.snapshots, storage.snapshot_bucket),
        *_tables(grant, storage),
    ]
    for statement in statements:
        role.add_to_principal_policy(statement)


def _bucket(grant: BucketGrant, bucket: s3.IBucket) -> Iterable[iam.PolicyStatement]:
    if grant == BucketGrant():
        return
    # Without the right to list, S3 answers 403 instead of 404 for a missing key, also where the listing is limited to
    # a prefix: a pointer that does not exist yet would look like a broken permission.
    yield iam.PolicyStatement(actions=["s3:ListBucket", "s3:ListBucketVersions"], resources=[bucket.bucket_arn])
    for actions, patterns in (
        # If-Match on a write or a delete also needs the right to read the key.
        (["s3:GetObject"], sorted({*grant.read, *grant.write, *grant.delete})),
        (["s3:PutObject", "s3:AbortMultipartUpload"], grant.write),
        (["s3:DeleteObject"], grant.delete),
    ):
        if patterns:
            yield iam.PolicyStatement(actions=actions, resources=[bucket.arn_for_objects(key) for key in patterns])
    if f"{keys.SNAPSHOTS}*" in (*grant.write, *grant.delete):
        # IAM's * crosses "/": without this, whoever may write or delete version files could move a pointer.
        yield iam.PolicyStatement(
            effect=iam.Effect.DENY,
            actions=["s3:PutObject", "s3:DeleteObject"],
            resources=[bucket.arn_for_objects(POINTERS)],
        )


def _tables(grant: Grant, storage: Storage) -> Iterable[iam.PolicyStatement]:
    held = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    many = [*held, "dynamodb:PutItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan"]
    for wanted, table, actions in (
        (grant.lock, storage.lock_table, [*held, "dynamodb:PutItem"] if grant.takes_lock else held),
        (grant.ledger, storage.ledger_table, many),
        (grant.sources, storage.source_table, many),
    ):
        if wanted:
            yield iam.PolicyStatement(actions=actions, resources=_arns(table, actions))


def _arns(table: dynamodb.Table, actions: list[str]) -> list[str]:
    return [table.table_arn, f"{table.table_arn}/index/*"] if "dynamodb:Query" in actions else [table.table_arn]
