"""What each function may do, by key prefix and table: a state can't do another state's work, whatever its code says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from siltstone import keys

from cdk.settings import FunctionName
from cdk.storage import Storage

PENDING = (f"{keys.DELTAS}*", f"{keys.LEGACY_CHROMA_DELTAS}*")
WRITE_DELTAS = (f"{keys.DELTAS}*",)
BATCH_FILES = (f"{keys.BATCHES}*",)
BODIES = (f"{keys.SOURCES}*",)
QUARANTINED = (f"{keys.QUARANTINE}*",)
STAGED = (f"{keys.STAGING}*",)
VERSIONS = f"{keys.SNAPSHOTS}*"
POINTERS = f"{keys.SNAPSHOTS}*/latest/*"
PINS = f"{keys.SNAPSHOTS}*/pins/*"
PAUSES = (f"{keys.PAUSED}*",)
REMOVALS = f"{keys.SNAPSHOTS}*/removing/*"
ANY = ("*",)

Access = Literal["read", "write", "search"]  # each with what stands before it


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
    lock: Literal["hold", "take"] | None = None  # to hold: renew and release
    ledger: Access | None = None
    sources: Access | None = None
    hints: bool = False  # sends to the delta queue
    secret: bool = False  # reads the provider's key


GRANTS: dict[FunctionName, Grant] = {
    "list_collections": Grant(deltas=BucketGrant(read=PENDING), snapshots=BucketGrant(read=PAUSES)),
    "acquire_lock": Grant(lock="take", snapshots=BucketGrant(read=ANY)),
    "renew_lock": Grant(lock="hold"),
    "download": Grant(
        lock="hold",
        ledger="write",
        deltas=BucketGrant(read=(*PENDING, *QUARANTINED), write=QUARANTINED, delete=PENDING),
        snapshots=BucketGrant(read=ANY, write=STAGED),
    ),
    "merge": Grant(lock="hold", snapshots=BucketGrant(read=ANY, write=STAGED)),
    "upload": Grant(lock="hold", snapshots=BucketGrant(read=ANY, write=(VERSIONS,))),
    "promote_pointer": Grant(
        lock="hold", snapshots=BucketGrant(read=ANY, write=(f"{keys.SNAPSHOTS}*/latest/pointer.txt",))
    ),
    "retire": Grant(
        lock="hold",
        deltas=BucketGrant(read=PENDING, delete=PENDING),
        snapshots=BucketGrant(read=ANY, write=(REMOVALS,), delete=(VERSIONS,)),
    ),
    "release_lock": Grant(lock="hold"),
    "plan_batches": Grant(
        ledger="search",
        sources="search",
        hints=True,
        deltas=BucketGrant(read=(*BODIES, *BATCH_FILES, *PENDING), write=(*BODIES, *BATCH_FILES, *WRITE_DELTAS)),
    ),
    "submit_batch": Grant(
        ledger="write",
        sources="write",
        secret=True,
        deltas=BucketGrant(read=(*BODIES, *BATCH_FILES), write=BATCH_FILES),
    ),
    "poll_batch": Grant(ledger="write", secret=True),
    "create_delta": Grant(
        ledger="write",
        sources="read",
        secret=True,
        deltas=BucketGrant(read=(*BATCH_FILES, *PENDING), write=(*BATCH_FILES, *WRITE_DELTAS)),
    ),
    "record_outcome": Grant(
        ledger="write",
        sources="write",
        hints=True,
        deltas=BucketGrant(read=(*BATCH_FILES, *PENDING), write=(*BATCH_FILES, *WRITE_DELTAS)),
    ),
    "query": Grant(secret=True, deltas=BucketGrant(read=PENDING), snapshots=BucketGrant(read=ANY)),
    "embed_now": Grant(
        ledger="read",
        sources="write",
        hints=True,
        secret=True,
        deltas=BucketGrant(read=(*BODIES, *PENDING), write=(*BODIES, *WRITE_DELTAS)),
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
    if VERSIONS in (*grant.write, *grant.delete):
        # IAM's * crosses "/": without this, whoever may write or delete version files could move a pointer or a pin.
        yield iam.PolicyStatement(
            effect=iam.Effect.DENY,
            actions=["s3:PutObject", "s3:DeleteObject"],
            resources=[bucket.arn_for_objects(POINTERS), bucket.arn_for_objects(PINS)],
        )


def _tables(grant: Grant, storage: Storage) -> Iterable[iam.PolicyStatement]:
    read = ["dynamodb:GetItem", "dynamodb:BatchGetItem"]
    write = [*read, "dynamodb:PutItem", "dynamodb:UpdateItem"]
    actions: dict[Access, list[str]] = {"read": read, "write": write, "search": [*write, "dynamodb:Scan"]}
    hold = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    if grant.lock is not None:
        taking = [*hold, "dynamodb:PutItem"]
        lock = storage.lock_table.table_arn
        yield iam.PolicyStatement(actions=taking if grant.lock == "take" else hold, resources=[lock])
    tables: list[tuple[Access | None, dynamodb.Table]] = [
        (grant.ledger, storage.ledger_table),
        (grant.sources, storage.source_table),
    ]
    for access, table in tables:
        if access is not None:
            yield iam.PolicyStatement(actions=actions[access], resources=[table.table_arn])
    if grant.sources == "search":
        yield iam.PolicyStatement(
            actions=["dynamodb:Query"], resources=[f"{storage.source_table.table_arn}/index/open"]
        )
