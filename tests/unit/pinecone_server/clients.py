"""The real client, and what it fetched compared with what an index was filled with."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pinecone
from siltstone_local.pinecone_server import Vector


@functools.cache
def impatient(host: str) -> pinecone.Index:
    """One that tries once, so that each answer is seen: `pinecone.Index` takes no `RetryConfig` itself."""
    index = pinecone.Index(host=host, api_key="any")
    transport: Any = index._http._client._transport
    transport._config = pinecone.RetryConfig(max_retries=0)
    return index


def same(fetched: pinecone.Vector, kept: Vector) -> bool:
    """Whether it is the same to the bit."""
    sparse = fetched.sparse_values and {
        "indices": fetched.sparse_values.indices,
        "values": fetched.sparse_values.values,
    }
    values = np.asarray(fetched.values, np.float32)
    return values.tobytes() == kept.dense.tobytes() and sparse == kept.sparse and fetched.metadata == kept.metadata
