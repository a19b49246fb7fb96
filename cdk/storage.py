"""Where everything is kept: two buckets and three tables."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Duration, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from constructs import Construct
from siltstone import keys

from cdk.lifetime import removal
from cdk.settings import StageSettings, StorageSettings

# A pointer's body is one key prefix: about 550 bytes with a collection name of 512 characters. Whatever is larger is a
# version's file. Lifecycle filters know prefixes, tags and sizes only, and the collection stands before "latest/".
LARGEST_POINTER_BYTES = 640


class Storage(Construct):
    """Versioned buckets whose lifecycles never touch what is still needed, and tables that can be restored."""

    def __init__(self, scope: Construct, construct_id: str, settings: StageSettings) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.delta_bucket = self._bucket("DeltaBucket", delta_rules(settings.storage))
        self.snapshot_bucket = self._bucket("SnapshotBucket", snapshot_rules(settings.storage))
        Validations.of(self.snapshot_bucket).acknowledge(
            Acknowledgment(
                id="CloudFormation-Validate::W9003",
                reason="CDK writes ObjectSizeGreaterThan as a number; CloudFormation takes it.",
            )
        )
        # No TTL on the lock table: an item that disappears takes its fencing token with it.
        self.lock_table = self._table("LockTable", "lock_id")
        self.ledger_table = self._table("LedgerTable", "batch_id")
        self.source_table = self._table("SourceTable", "source_id")
        self.source_table.add_global_secondary_index(  # sparse: only sources that are not settled carry open_shard
            index_name="open",
            partition_key=dynamodb.Attribute(name="open_shard", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="source_id", type=dynamodb.AttributeType.STRING),
        )

    def _bucket(self, construct_id: str, rules: list[s3.LifecycleRule]) -> s3.Bucket:
        return s3.Bucket(
            self,
            construct_id,
            versioned=True,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            lifecycle_rules=rules,
            removal_policy=removal(self._settings),
        )

    def _table(self, construct_id: str, key: str) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            construct_id,
            partition_key=dynamodb.Attribute(name=key, type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            encryption=dynamodb.TableEncryption.DEFAULT,
            deletion_protection=self._settings.retain,
            removal_policy=removal(self._settings),
        )


def delta_rules(settings: StorageSettings) -> list[s3.LifecycleRule]:
    """Only what was deleted or replaced expires; a current delta, quarantined file or source never does."""
    recover = Duration.days(settings.recover_days)
    batches_expire = settings.batches_expire_days
    return [
        *(
            s3.LifecycleRule(
                id=f"recover-{prefix.rstrip('/')}",
                prefix=prefix,
                noncurrent_version_expiration=recover,
                expired_object_delete_marker=True,
            )
            for prefix in (keys.DELTAS, keys.LEGACY_CHROMA_DELTAS, keys.QUARANTINE, keys.SOURCES)
        ),
        s3.LifecycleRule(
            id="keep-batches",
            prefix=keys.BATCHES,
            transitions=[
                s3.Transition(
                    storage_class=s3.StorageClass.INFREQUENT_ACCESS,
                    transition_after=Duration.days(settings.batches_to_infrequent_access_days),
                )
            ],
            expiration=Duration.days(batches_expire) if batches_expire else None,
            noncurrent_version_expiration=recover,
        ),
        _abort_uploads(),
    ]


def snapshot_rules(settings: StorageSettings) -> list[s3.LifecycleRule]:
    """Scratch goes after two days, retired versions after the recovery time, old pointers never.

    A retired version's smallest files (Chroma's ``header.bin`` has 100 bytes) are under the size filter too and stay as
    noncurrent versions: some hundred bytes a version, the price of never losing a pointer.
    """
    return [
        s3.LifecycleRule(
            id="expire-staging",
            prefix=keys.STAGING,
            expiration=Duration.days(2),
            noncurrent_version_expiration=Duration.days(1),
        ),
        s3.LifecycleRule(
            id="recover-versions",
            prefix=keys.SNAPSHOTS,
            object_size_greater_than=LARGEST_POINTER_BYTES,
            noncurrent_version_expiration=Duration.days(settings.recover_days),
        ),
        # S3 takes no size filter together with this action. A pointer's marker has noncurrent versions under it for
        # ever, so it is never "expired": the proof that a pointer once existed stays.
        s3.LifecycleRule(id="clear-markers", prefix=keys.SNAPSHOTS, expired_object_delete_marker=True),
        _abort_uploads(),
    ]


def _abort_uploads() -> s3.LifecycleRule:
    return s3.LifecycleRule(id="abort-uploads", abort_incomplete_multipart_upload_after=Duration.days(1))
