"""Siltstone: receipts in, a searchable vector store out, and no server in between.

The package knows sources, records, batches, deltas, snapshots, compaction and queries. It knows no
Lambda and no CDK; AWS, Chroma and OpenAI are reached through the adapters in :mod:`siltstone.stores`.

For users: `connect` makes a `Client`, whose collections have the shape of Chroma's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siltstone.clients.client import Client
    from siltstone.clients.collection import Collection
    from siltstone.clients.connecting import connect
    from siltstone.clients.helper import (
        chroma_helper,
        chroma_id_from_label,
        pinecone_helper,
        pinecone_id_from_label,
    )
    from siltstone.clients.manager import ClientManager, client_manager, get_chroma_client

__version__ = "0.1.0"
__all__ = [
    "Client",
    "ClientManager",
    "Collection",
    "chroma_helper",
    "chroma_id_from_label",
    "client_manager",
    "connect",
    "get_chroma_client",
    "pinecone_helper",
    "pinecone_id_from_label",
]

_HOMES = {
    "Client": "client",
    "ClientManager": "manager",
    "Collection": "collection",
    "chroma_helper": "helper",
    "chroma_id_from_label": "helper",
    "client_manager": "manager",
    "connect": "connecting",
    "get_chroma_client": "manager",
    "pinecone_helper": "helper",
    "pinecone_id_from_label": "helper",
}


def __getattr__(name: str) -> Any:
    """Only for those who ask: a function that wants one module does not wait for boto3, openai and the rest."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"siltstone.clients.{_HOMES[name]}"), name)
