"""What AWS answers, as the account's facts; refusals by their meaning. (Real answers: tests/e2e/test_cli.py.)"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from siltstone.errors import SiltstoneError, StoreUnavailable
from siltstone.stores.account import Bucket, Concurrency, LifecycleRule, NotAllowed, NotThere, Queue, Secret, Table
from siltstone.stores.account_aws import AwsAccount

OLD, NEW = "1" * 32, "2" * 32  # ids of a secret's versions
TODAY = datetime(2026, 1, 31, tzinfo=UTC)


class Aws:
    """Stubbed clients: botocore checks each request and each answer against the service's own model."""

    def __init__(self) -> None:
        self._stubs: dict[str, Stubber] = {}

    def client(self, service: str) -> Any:
        return self.stub(service).client

    def stub(self, service: str) -> Stubber:
        if service not in self._stubs:
            session = boto3.Session("test", "test", region_name="eu-central-1")
            self._stubs[service] = Stubber(session.client(service))  # type: ignore[call-overload]
            self._stubs[service].activate()
        return self._stubs[service]


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def account(aws: Aws) -> AwsAccount:
    return AwsAccount(aws.client)


def test_who_asks_and_where(aws: Aws, account: AwsAccount) -> None:
    aws.stub("sts").add_response("get_caller_identity", {"Arn": "arn:aws:iam::123456789012:user/eve"})
    assert (account.caller(), account.region) == ("arn:aws:iam::123456789012:user/eve", "eu-central-1")


def test_limits_and_sizes(aws: Aws, account: AwsAccount) -> None:
    limit = {"ConcurrentExecutions": 1_000, "UnreservedConcurrentExecutions": 900}
    aws.stub("lambda").add_response("get_account_settings", {"AccountLimit": limit})
    aws.stub("lambda").add_response("get_function_configuration", {"MemorySize": 3_008}, {"FunctionName": "merge"})
    assert account.concurrency() == Concurrency(1_000, 900)
    assert account.memory_mb("merge") == 3_008


def test_a_bucket_with_rules_in_every_shape_that_a_filter_has(aws: Aws, account: AwsAccount) -> None:
    rules = [
        {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "staging/"}, "Expiration": {"Days": 2}},
        {"ID": "b", "Status": "Enabled", "Prefix": "old/", "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"ID": "c", "Status": "Disabled", "Filter": {"And": {"Prefix": "x/", "ObjectSizeGreaterThan": 640}}},
        {"ID": "d", "Status": "Enabled", "Filter": {}, "Expiration": {"Date": TODAY}},
    ]
    aws.stub("s3").add_response("get_bucket_versioning", {"Status": "Enabled"}, {"Bucket": "b"})
    aws.stub("s3").add_response("get_bucket_lifecycle_configuration", {"Rules": rules}, {"Bucket": "b"})
    assert account.bucket("b") == Bucket(
        versioned=True,
        rules=(
            LifecycleRule("a", "staging/", enabled=True, expires=True),
            LifecycleRule("b", "old/", enabled=True, expires=False),
            LifecycleRule("c", "x/", enabled=False, expires=False),
            LifecycleRule("d", "", enabled=True, expires=True),
        ),
    )


def test_a_bucket_that_was_never_versioned_and_has_no_lifecycle(aws: Aws, account: AwsAccount) -> None:
    aws.stub("s3").add_response("get_bucket_versioning", {})
    aws.stub("s3").add_client_error("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", "", 404)
    assert account.bucket("b") == Bucket(versioned=False, rules=None)


def test_a_table_and_a_queue(aws: Aws, account: AwsAccount) -> None:
    backups = {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"},
    }
    aws.stub("dynamodb").add_response("describe_table", {"Table": {"TableStatus": "ACTIVE"}})
    aws.stub("dynamodb").add_response("describe_continuous_backups", {"ContinuousBackupsDescription": backups})
    attributes = {"ApproximateNumberOfMessages": "4", "ApproximateNumberOfMessagesNotVisible": "1"}
    aws.stub("sqs").add_response("get_queue_attributes", {"Attributes": attributes})
    assert account.table("t") == Table("ACTIVE", recoverable=True)
    assert account.queue("https://sqs/q") == Queue(4, 1)


@pytest.mark.parametrize(
    ("versions", "tagged", "expected"),
    [
        ({OLD: ["AWSCURRENT"]}, True, Secret(filled=True, untouched=True)),
        ({OLD: ["AWSCURRENT"]}, False, Secret(filled=True, untouched=False)),
        ({OLD: ["AWSPREVIOUS"], NEW: ["AWSCURRENT"]}, True, Secret(filled=True, untouched=False)),
        ({}, True, Secret(filled=False, untouched=False)),
    ],
)
def test_a_secret_has_a_value_of_the_operators_own_or_not(
    aws: Aws, account: AwsAccount, versions: dict[str, list[str]], tagged: bool, expected: Secret
) -> None:
    tags = [{"Key": "aws:cloudformation:stack-name", "Value": "siltstone-dev"}] if tagged else []
    aws.stub("secretsmanager").add_response("describe_secret", {"VersionIdsToStages": versions, "Tags": tags})
    assert account.secret("s") == expected


def test_what_starts_compactions(aws: Aws, account: AwsAccount) -> None:
    aws.stub("scheduler").add_response("get_schedule", {"State": "ENABLED"}, {"Name": "siltstone-dev-compact"})
    mapping = {"EventSourceMappings": [{"State": "Enabled"}]}
    aws.stub("lambda").add_response("list_event_source_mappings", mapping, {"FunctionName": "starter"})
    aws.stub("lambda").add_response("list_event_source_mappings", {"EventSourceMappings": []})
    assert account.schedule("siltstone-dev-compact") == "ENABLED"
    assert account.event_source("starter") == "Enabled"
    with pytest.raises(NotThere):
        account.event_source("starter")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDenied", 403, NotAllowed),
        ("AccessDeniedException", 400, NotAllowed),
        ("ValidationError", 400, NotThere),
        ("ResourceNotFoundException", 400, NotThere),
        ("Throttling", 400, StoreUnavailable),
        ("InternalFailure", 500, StoreUnavailable),
        ("SomethingNew", 400, StoreUnavailable),
    ],
)
def test_a_refusal_has_a_meaning_and_names_the_request(
    aws: Aws, account: AwsAccount, code: str, status: int, expected: type[SiltstoneError]
) -> None:
    aws.stub("cloudformation").add_client_error("describe_stacks", code, "no", status)
    with pytest.raises(expected, match="cloudformation describe_stacks siltstone-dev") as raised:
        account.stack_status("siltstone-dev")
    if expected is NotAllowed:
        assert "cloudformation:DescribeStacks" in raised.value.remedy
