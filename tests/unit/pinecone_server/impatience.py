"""The real client, told to try once: what the server answers is then seen as it is."""

from __future__ import annotations

import functools
from typing import Any

import pinecone


@functools.cache
def impatient(host: str) -> pinecone.Index:
    """`pinecone.Index` takes no `RetryConfig` itself, and waits up to seconds before it gives up."""
    index = pinecone.Index(host=host, api_key="any")
    transport: Any = index._http._client._transport
    transport._config = pinecone.RetryConfig(max_retries=0)
    return index
