"""One container image, one function for each file in functions/, each with a role of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aws_cdk import Duration, Size, Token
from aws_cdk import aws_ecr_assets as assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secrets
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from siltstone.errors import BadSettings

from cdk.grants import GRANTS, Grant, grant_storage
from cdk.lifetime import log_group, removal
from cdk.names import METRICS_NAMESPACE, SERVICE, camel, resource
from cdk.settings import FunctionName, StageSettings
from cdk.storage import Storage

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT_LIMIT = 3_584  # bytes; Lambda refuses more than 4,096 at deploy time, when it is too late for a clear word
_UNRESOLVED_BYTES = 160  # what a name or ARN that AWS chooses may grow to


@dataclass(frozen=True)
class FunctionSize:
    """Memory and disk in MB, time in seconds. A state's ``TimeoutSeconds`` in the ASL is longer than its function's."""

    memory_mb: int = 512
    timeout_seconds: int = 60
    disk_mb: int = 512
    reserved_concurrency: int | None = None


# 3,008 MB is what a new account may use. A merge needs twice the index plus 0.3 GB of memory, a reader 1.35 times.
SIZES: dict[FunctionName, FunctionSize] = {
    "list_collections": FunctionSize(),
    "acquire_lock": FunctionSize(timeout_seconds=30),
    "renew_lock": FunctionSize(timeout_seconds=30),
    "download": FunctionSize(memory_mb=3_008, timeout_seconds=900, disk_mb=4_096),
    "merge": FunctionSize(memory_mb=3_008, timeout_seconds=900, disk_mb=10_240),
    "upload": FunctionSize(memory_mb=1_024, timeout_seconds=900),
    "promote_pointer": FunctionSize(timeout_seconds=30),
    "retire": FunctionSize(timeout_seconds=900),
    "release_lock": FunctionSize(timeout_seconds=30),
    "plan_batches": FunctionSize(memory_mb=2_048, timeout_seconds=900, disk_mb=2_048),
    "submit_batch": FunctionSize(memory_mb=1_024, timeout_seconds=900, disk_mb=1_024),
    "poll_batch": FunctionSize(),
    "create_delta": FunctionSize(memory_mb=3_008, timeout_seconds=900, disk_mb=4_096),
    "record_outcome": FunctionSize(memory_mb=2_048, timeout_seconds=900, disk_mb=2_048),
    "query": FunctionSize(memory_mb=3_008, timeout_seconds=60, disk_mb=10_240),
    "embed_now": FunctionSize(memory_mb=1_024),
    "start_compaction": FunctionSize(memory_mb=256, timeout_seconds=30),
}


def size_of(name: FunctionName, settings: StageSettings) -> FunctionSize:
    """The function's own size with the stage's differences."""
    override = settings.functions.get(name)
    return replace(SIZES[name], **override.model_dump(exclude_none=True)) if override else SIZES[name]


class Functions(Construct):
    """All functions of a stage, by name: ``functions["promote_pointer"]``."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: str,
        *,
        settings: StageSettings,
        storage: Storage,
        queue: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self._stage, self._settings, self._storage, self._queue = stage, settings, storage, queue
        self._arm = settings.architecture == "arm64"
        self.secret = self._openai_secret()
        self._environment = self._shared_environment()
        self._image = assets.DockerImageAsset(
            self,
            "Image",
            directory=str(ROOT),  # what goes in is the allow-list in .dockerignore
            platform=assets.Platform.LINUX_ARM64 if self._arm else assets.Platform.LINUX_AMD64,
        )
        self.by_name: dict[FunctionName, lambda_.DockerImageFunction] = {name: self._function(name) for name in SIZES}
        # For whoever has lambda:InvokeFunctionUrl and lambda:InvokeFunction of this function, and signs with it.
        self.query_url = self["query"].add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)

    def __getitem__(self, name: FunctionName) -> lambda_.DockerImageFunction:
        return self.by_name[name]

    def _openai_secret(self) -> secrets.ISecret:
        name = self._settings.openai_secret
        if name is None:
            # Holds a random word until somebody puts the provider's key in: docs/operations.
            return secrets.Secret(  # pyright: ignore[reportReturnType] - jsii's names
                self, "OpenAiKey", description="OpenAI API key", removal_policy=removal(self._settings)
            )
        if name.startswith("arn:"):
            return secrets.Secret.from_secret_complete_arn(self, "OpenAiKey", name)
        return secrets.Secret.from_secret_name_v2(self, "OpenAiKey", name)

    def _shared_environment(self) -> dict[str, str]:
        environment = {
            "SILTSTONE_STAGE": self._stage,
            "DELTA_BUCKET": self._storage.delta_bucket.bucket_name,
            "SNAPSHOT_BUCKET": self._storage.snapshot_bucket.bucket_name,
            "LOCK_TABLE": self._storage.lock_table.table_name,
            "LEDGER_TABLE": self._storage.ledger_table.table_name,
            "SOURCE_TABLE": self._storage.source_table.table_name,
            "DELTA_QUEUE_URL": self._queue.queue_url,
            "SILTSTONE_COLLECTIONS": self._settings.collections_json(),
            "OPENAI_SECRET_ARN": self.secret.secret_arn,
            "POWERTOOLS_SERVICE_NAME": SERVICE,
            "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
        }
        if self._settings.openai_base_url:
            environment["OPENAI_BASE_URL"] = self._settings.openai_base_url
        check_environment(self._stage, environment)
        return environment

    def _function(self, name: FunctionName) -> lambda_.DockerImageFunction:
        state = camel(name)
        function_name = resource(self._stage, name)
        size = size_of(name, self._settings)
        group = log_group(self, f"{state}Logs", f"/aws/lambda/{function_name}", self._settings)
        principal = iam.ServicePrincipal("lambda.amazonaws.com")
        role = iam.Role(self, f"{state}Role", assumed_by=principal)  # pyright: ignore[reportArgumentType] - jsii's names
        group.grant_write(role)
        self._allow(role, GRANTS[name])
        return lambda_.DockerImageFunction(
            self,
            state,
            function_name=function_name,
            code=lambda_.DockerImageCode.from_ecr(
                self._image.repository, tag_or_digest=self._image.image_tag, cmd=[f"functions.{name}.handler"]
            ),
            architecture=lambda_.Architecture.ARM_64 if self._arm else lambda_.Architecture.X86_64,
            memory_size=size.memory_mb,
            timeout=Duration.seconds(size.timeout_seconds),
            ephemeral_storage_size=Size.mebibytes(size.disk_mb),
            reserved_concurrent_executions=size.reserved_concurrency,
            environment=self._environment,
            role=role,  # pyright: ignore[reportArgumentType] - jsii's names
            log_group=group,
            tracing=lambda_.Tracing.ACTIVE,
        )

    def _allow(self, role: iam.Role, grant: Grant) -> None:
        grant_storage(role, grant, self._storage)
        if grant.hints:
            role.add_to_principal_policy(
                iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self._queue.queue_arn])
            )
        if grant.secret:
            self.secret.grant_read(role)


def check_environment(stage: str, environment: Mapping[str, str]) -> None:
    """Raise `BadSettings` where Lambda would refuse the variables, mostly for too many collections."""
    size = sum(
        len(name) + (_UNRESOLVED_BYTES if Token.is_unresolved(value) else len(value.encode()))
        for name, value in environment.items()
    )
    if size > ENVIRONMENT_LIMIT:
        collections = len(environment["SILTSTONE_COLLECTIONS"].encode())
        raise BadSettings(
            f"Stage {stage!r}, setting 'collections': the functions' environment would have about {size} bytes "
            f"({collections} of them collections), more than {ENVIRONMENT_LIMIT}.",
            remedy="Use patterns (merchant-*) instead of one entry for each collection.",
        )
