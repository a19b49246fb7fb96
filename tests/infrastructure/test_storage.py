"""Buckets, tables and queues: nothing that is needed expires, nothing is open, nothing that must stay is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from siltstone import keys
from siltstone.compaction.version import Version

from app import CONFIG
from cdk.settings import load_stage, stages
from cdk.storage import LARGEST_POINTER_BYTES
from tests.infrastructure.conftest import Synthesize
from tests.infrastructure.template import Template

BUCKETS = ("DeltaBucket", "SnapshotBucket")
MEGABYTE = 2**20
KEPT = {stage for stage in stages(CONFIG) if load_stage(CONFIG, stage).retain}


def rules(template: Template, bucket: str) -> list[dict[str, Any]]:
    found = template.one("AWS::S3::Bucket", bucket)["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in found)
    return found


def expiry(template: Template, bucket: str, key: str, *, current: bool, size: int = MEGABYTE) -> int | None:
    """Days until S3 expires an object of ``key`` (or one of its noncurrent versions), ``None`` for never."""
    days: list[int] = []
    for rule in rules(template, bucket):
        if not key.startswith(rule.get("Prefix", "")) or size <= int(rule.get("ObjectSizeGreaterThan", -1)):
            continue
        assert "ExpirationDate" not in rule
        if current and "ExpirationInDays" in rule:
            days.append(rule["ExpirationInDays"])
        if not current and "NoncurrentVersionExpiration" in rule:
            assert "NewerNoncurrentVersions" not in rule["NoncurrentVersionExpiration"]
            days.append(rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
    return min(days, default=None)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_are_versioned_encrypted_and_private(template: Template, bucket: str) -> None:
    properties = template.one("AWS::S3::Bucket", bucket)
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    [encryption] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_refuse_requests_without_tls(template: Template, bucket: str) -> None:
    statements = template.one("AWS::S3::BucketPolicy", bucket)["PolicyDocument"]["Statement"]
    [plain] = [one for one in statements if one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}]
    assert (plain["Effect"], plain["Action"], plain["Principal"]) == ("Deny", "s3:*", {"AWS": "*"})


@pytest.mark.parametrize(
    "key",
    [
        keys.delta("lines", "D1"),
        "delta/3f/chroma.sqlite3",
        "deltas/3f/embeddings.json.gz",
        keys.quarantine("lines", "D1") + "reason.json",
        keys.source("receipt", "r1"),
        keys.batch_attempt("b1", 1) + "records.parquet",
    ],
)
def test_nothing_current_in_the_delta_bucket_expires_by_default(template: Template, key: str) -> None:
    assert expiry(template, "DeltaBucket", key, current=True) is None


@pytest.mark.parametrize("key", [keys.delta("lines", "D1"), "delta/3f/chroma.sqlite3"])
def test_a_retired_delta_can_be_brought_back_for_15_days(template: Template, key: str) -> None:
    assert expiry(template, "DeltaBucket", key, current=False) == 15


@pytest.mark.parametrize("prefix", ["deltas/", "delta/"])
def test_delete_markers_with_nothing_under_them_go(template: Template, prefix: str) -> None:
    assert [r["ExpiredObjectDeleteMarker"] for r in rules(template, "DeltaBucket") if r.get("Prefix") == prefix] == [
        True
    ]


def test_staging_is_gone_after_two_days_and_one_more_for_its_versions(template: Template) -> None:
    key = keys.staging("lines", "run-0", "Merge", "1") + "plan.json"
    assert expiry(template, "SnapshotBucket", key, current=True, size=10) == 2
    assert expiry(template, "SnapshotBucket", key, current=False, size=10) == 1


def test_a_published_version_never_expires_and_a_retired_one_after_15_days(template: Template) -> None:
    for name in ("chroma.sqlite3", "manifest.json"):
        key = keys.version("lines", "20260131_235959_00000042") + name
        assert expiry(template, "SnapshotBucket", key, current=True) is None
        assert expiry(template, "SnapshotBucket", key, current=False) == 15


def test_pointers_are_kept_for_ever_whatever_the_collection_is_called(template: Template) -> None:
    longest = keys.version("c" * 512, str(Version(10**16, "20260131_235959")))
    assert len(longest.encode()) <= LARGEST_POINTER_BYTES
    for body in (longest, keys.version("abc", str(Version(1, "20260131_235959")))):
        size = len(body.encode())
        assert expiry(template, "SnapshotBucket", keys.pointer("lines"), current=True, size=size) is None
        assert expiry(template, "SnapshotBucket", keys.pointer("lines"), current=False, size=size) is None


@pytest.mark.parametrize("bucket", BUCKETS)
def test_unfinished_uploads_are_aborted_after_a_day(template: Template, bucket: str) -> None:
    [rule] = [rule for rule in rules(template, bucket) if "AbortIncompleteMultipartUpload" in rule]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert "Prefix" not in rule


@pytest.mark.parametrize("bucket", BUCKETS)
def test_no_rule_mixes_what_s3_refuses_to_mix(template: Template, bucket: str) -> None:
    for rule in rules(template, bucket):
        if "ObjectSizeGreaterThan" in rule:
            assert not rule.keys() & {"AbortIncompleteMultipartUpload", "ExpiredObjectDeleteMarker"}
        if "ExpiredObjectDeleteMarker" in rule:
            assert "ExpirationInDays" not in rule


@pytest.mark.parametrize(
    ("table", "key"), [("LockTable", "lock_id"), ("LedgerTable", "batch_id"), ("SourceTable", "source_id")]
)
def test_tables_can_be_restored_and_forget_nothing_by_themselves(template: Template, table: str, key: str) -> None:
    properties = template.one("AWS::DynamoDB::Table", table)
    assert properties["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert "TimeToLiveSpecification" not in properties
    assert properties["DeletionProtectionEnabled"] is (template.stage in KEPT)


def test_open_sources_have_an_index(template: Template) -> None:
    [index] = template.one("AWS::DynamoDB::Table", "SourceTable")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "open"
    assert index["KeySchema"] == [
        {"AttributeName": "open_shard", "KeyType": "HASH"},
        {"AttributeName": "source_id", "KeyType": "RANGE"},
    ]


def test_hints_that_start_nothing_end_in_the_dead_letter_queue(template: Template) -> None:
    queues = template.of_type("AWS::SQS::Queue")
    assert len(queues) == 2
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())
    queue = template.one("AWS::SQS::Queue", "HintsQueue")
    assert "DeadLetters" in queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    for policy in template.of_type("AWS::SQS::QueuePolicy").values():
        assert policy["PolicyDocument"]["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(template.of_type("AWS::SQS::QueuePolicy")) == 2


@pytest.mark.parametrize("kind", ["AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"])
def test_what_holds_data_outlives_the_stack_where_the_stage_keeps_it(template: Template, kind: str) -> None:
    kept = {one["DeletionPolicy"] for one in template.body["Resources"].values() if one["Type"] == kind}
    assert kept == {"Retain" if template.stage in KEPT else "Delete"}


def test_staging_and_prod_keep_their_data_and_refuse_to_be_deleted(synthesize: Synthesize) -> None:
    assert {"staging", "prod"} <= KEPT
    for stage in KEPT:
        manifest = json.loads((synthesize(stage).folder / "manifest.json").read_text())
        assert manifest["artifacts"][f"siltstone-{stage}"]["properties"]["terminationProtection"] is True
