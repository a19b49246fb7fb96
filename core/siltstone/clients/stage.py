"""A deployed stage, as a client finds it: by the outputs of its stack, with the caller's own credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError

from siltstone.client_delta import DeltaTarget
from siltstone.errors import BadSettings
from siltstone.settings import CollectionBook
from siltstone.stores.aws import CLIENT_CONFIG, code_of, store_errors
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.provider_openai import OpenAIProvider

# The query function gives up after 60 seconds: its caller must not before it.
INVOKE_CONFIG = CLIENT_CONFIG.merge(Config(read_timeout=70))


def new_session() -> boto3.Session:
    """The environment's credentials; boto3 itself knows only ``AWS_DEFAULT_REGION``."""
    return boto3.Session(region_name=os.environ.get("AWS_REGION"))


def aws_client(session: boto3.Session, service: str, config: Config = CLIENT_CONFIG) -> Any:
    """A boto3 client; ``AWS_ENDPOINT_URL`` holds. Raises `BadSettings` where no region is known."""
    try:
        return session.client(service, config=config)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except NoRegionError as error:
        raise BadSettings("No AWS region is known.", remedy="Set AWS_REGION.") from error


@dataclass(frozen=True)
class StageOutputs:
    """The outputs of ``siltstone-{stage}``, read once, when something of them is needed."""

    session: boto3.Session
    stage: str

    @cached_property
    def _outputs(self) -> dict[str, str]:
        stack = f"siltstone-{self.stage}"
        cloudformation = aws_client(self.session, "cloudformation")
        try:
            with store_errors(f"Looking for the stack {stack}"):
                found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        except NoCredentialsError as error:
            raise BadSettings("There are no AWS credentials.", remedy="Set AWS_PROFILE, or sign in.") from error
        except ClientError as error:
            raise BadSettings(
                f"The stack {stack} can't be read: {code_of(error)}.",
                remedy="Check the stage's name, AWS_PROFILE and AWS_REGION.",
            ) from error
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}

    def output(self, name: str) -> str:
        """Raises `BadSettings` if the stack has none of this name: an older release deployed it."""
        if name not in self._outputs:
            raise BadSettings(f"siltstone-{self.stage} has no output {name}.", remedy="Deploy this release.")
        return self._outputs[name]

    def producer(self) -> DeltaTarget:
        """Where the stage's deltas are written."""
        return DeltaTarget(
            deltas=S3Objects(self.output("DeltaBucketName"), aws_client(self.session, "s3")),
            hints=SqsHints(self.output("DeltaQueueUrl"), aws_client(self.session, "sqs")),
            settings=CollectionBook.parse(self.output("Collections")),
        )

    def provider(self) -> EmbeddingProvider:
        """With the stage's own key and address; the key stays in this process.

        Needs the rights to read the stage's secret and one function's configuration.
        """
        with store_errors("Reading the provider's key"):
            secret = aws_client(self.session, "secretsmanager").get_secret_value(
                SecretId=self.output("OpenAiSecretArn")
            )
            name = self.output("EmbedNowFunction")
            found = aws_client(self.session, "lambda").get_function_configuration(FunctionName=name)
        variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
        return OpenAIProvider(secret["SecretString"], variables.get("OPENAI_BASE_URL"))
