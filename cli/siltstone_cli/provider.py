"""The embedding provider of a stage, for the few commands that speak with it themselves."""

from __future__ import annotations

from siltstone.stores.provider import EmbeddingProvider

from siltstone_cli.target import Target


def stage_provider(target: Target) -> EmbeddingProvider:
    """With the stage's own key and address. Needs the rights to read its secret and one function's configuration.

    The key stays in this process: it is neither printed nor logged.
    """
    # Two thirds of a second, which every command would wait for.
    from siltstone.stores.provider_openai import OpenAIProvider  # noqa: PLC0415

    secret = target.make_client("secretsmanager").get_secret_value(SecretId=target.output("OpenAiSecretArn"))
    found = target.make_client("lambda").get_function_configuration(FunctionName=target.output("EmbedNowFunction"))
    variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
    return OpenAIProvider(secret["SecretString"], variables.get("OPENAI_BASE_URL"))
