"""The embedding provider, made once per process with the key from Secrets Manager."""

from __future__ import annotations

from functools import lru_cache

import boto3
from siltstone.errors import BadSettings
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.provider_openai import OpenAIProvider

from functions._environment import environment


@lru_cache(maxsize=1)
def provider() -> EmbeddingProvider:
    """The key lives in this process alone: never in a variable, a state's payload or a log line."""
    names = environment()
    if names.openai_secret_arn is None:
        raise BadSettings("OPENAI_SECRET_ARN is not set.", remedy="Deploy the stage again.")
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=names.openai_secret_arn)
    return OpenAIProvider(api_key=secret["SecretString"], base_url=names.openai_base_url)
