"""The account as AWS's own services describe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from siltstone.errors import StoreUnavailable
from siltstone.stores.account import Bucket, Concurrency, LifecycleRule, NotAllowed, NotThere, Queue, Secret, Table
from siltstone.stores.aws import code_of, status_of, store_errors

_MISSING = ("NotFound", "NonExistentQueue", "NoSuchBucket", "QueueDoesNotExist", "ValidationError", "ResourceNotFound")
_STACK_TAG = "aws:cloudformation:stack-name"


class AwsAccount:
    """`siltstone.stores.account.Account` over boto3. ``make_client``: a client by its service's name."""

    def __init__(self, make_client: Callable[[str], Any]) -> None:
        self._make_client = make_client
        self._clients: dict[str, Any] = {}

    @property
    def region(self) -> str:
        return str(self._client("sts").meta.region_name)

    def caller(self) -> str:
        return str(self._ask("sts", "get_caller_identity")["Arn"])

    def stack_status(self, stack: str) -> str:
        return str(self._ask("cloudformation", "describe_stacks", StackName=stack)["Stacks"][0]["StackStatus"])

    def concurrency(self) -> Concurrency:
        limit = self._ask("lambda", "get_account_settings")["AccountLimit"]
        return Concurrency(limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"])

    def memory_mb(self, function: str) -> int:
        return int(self._ask("lambda", "get_function_configuration", FunctionName=function)["MemorySize"])

    def bucket(self, name: str) -> Bucket:
        versioned = self._ask("s3", "get_bucket_versioning", Bucket=name).get("Status") == "Enabled"
        try:
            rules = self._ask("s3", "get_bucket_lifecycle_configuration", Bucket=name)["Rules"]
        except NotThere:
            return Bucket(versioned, None)
        return Bucket(versioned, tuple(_rule(each) for each in rules))

    def table(self, name: str) -> Table:
        status = self._ask("dynamodb", "describe_table", TableName=name)["Table"]["TableStatus"]
        backups = self._ask("dynamodb", "describe_continuous_backups", TableName=name)["ContinuousBackupsDescription"]
        recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
        return Table(status, recovery == "ENABLED")

    def queue(self, url: str) -> Queue:
        waiting, in_flight = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        found = self._ask("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=[waiting, in_flight])
        return Queue(int(found["Attributes"][waiting]), int(found["Attributes"][in_flight]))

    def secret(self, secret: str) -> Secret:
        found = self._ask("secretsmanager", "describe_secret", SecretId=secret)
        versions: dict[str, list[str]] = found.get("VersionIdsToStages", {})
        filled = any("AWSCURRENT" in stages for stages in versions.values())
        made_by_stack = any(tag.get("Key") == _STACK_TAG for tag in found.get("Tags", []))
        # Whoever puts a value makes the stack's own one the previous version.
        return Secret(filled, untouched=filled and made_by_stack and len(versions) == 1)

    def schedule(self, name: str) -> str:
        return str(self._ask("scheduler", "get_schedule", Name=name)["State"])

    def event_source(self, function: str) -> str:
        found = self._ask("lambda", "list_event_source_mappings", FunctionName=function)["EventSourceMappings"]
        if not found:
            raise NotThere(f"Nothing starts {function}.", remedy="Deploy the stage again.")
        return str(found[0]["State"])

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._make_client(service)
        return self._clients[service]

    def _ask(self, service: str, operation: str, **request: Any) -> Any:
        what = f"{service} {operation} {' '.join(str(value) for value in request.values() if isinstance(value, str))}"
        with store_errors(what.strip()):
            try:
                return getattr(self._client(service), operation)(**request)
            except ClientError as error:
                code = code_of(error)
                if status_of(error) == 403 or code.startswith(("AccessDenied", "Unauthorized")):
                    raise NotAllowed(f"{what}: {code}.", remedy=f"Allow {_action(service, operation)}.") from error
                if any(name in code for name in (*_MISSING, "NoSuchLifecycleConfiguration")):
                    raise NotThere(f"{what}: {code}.", remedy="Deploy the stage again.") from error
                if status_of(error) >= 500 or status_of(error) == 429:
                    raise
                raise StoreUnavailable(f"{what}: {code or status_of(error)}.", remedy="Try again.") from error


def _rule(found: Mapping[str, Any]) -> LifecycleRule:
    narrowed = found.get("Filter") or {}
    prefix = found.get("Prefix") or narrowed.get("Prefix") or narrowed.get("And", {}).get("Prefix") or ""
    expiration = found.get("Expiration", {})
    return LifecycleRule(
        rule_id=found.get("ID", ""),
        prefix=prefix,
        enabled=found.get("Status") == "Enabled",
        expires="Days" in expiration or "Date" in expiration,
    )


def _action(service: str, operation: str) -> str:
    """As IAM has it, mostly: ``lambda:GetAccountSettings``."""
    return f"{service}:{''.join(word.title() for word in operation.split('_'))}"
