"""What the AWS adapters share: how their clients are configured, and which errors mean "ask again"."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection

from siltstone.errors import BadSettings, StoreUnavailable

CLIENT_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,  # parallel copies, parts and ranges share one client
)

_ASK_AGAIN = frozenset(
    {
        "BadDigest",  # bytes were damaged on their way
        "InternalError",
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_MISCONFIGURED = frozenset({"AccessDenied", "AccessDeniedException", "NoSuchBucket", "ResourceNotFoundException"})


def status_of(error: ClientError) -> int:
    """The HTTP status of a refused request."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """The service's own name for the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def store_errors(what: str) -> Generator[None]:
    """Turn "no answer" into `StoreUnavailable` and "no such place, or not allowed" into `BadSettings`.

    Any other `ClientError` passes: the adapter knows what it means. ``what`` names the request in the message.
    """
    try:
        yield
    except ClientError as error:
        code, status = code_of(error), status_of(error)
        if status >= 500 or status == 429 or code in _ASK_AGAIN:
            raise StoreUnavailable(f"{what}: {code or status}.", remedy="Try the same state again.") from error
        if code in _MISCONFIGURED or status == 403:
            raise BadSettings(
                f"{what}: {code or status}.", remedy="Check the bucket's or table's name and the role's permissions."
            ) from error
        raise
    except (NoConnection, HTTPClientError, IncompleteReadError) as error:
        raise StoreUnavailable(f"{what}: {error}.", remedy="Try the same state again.") from error
