"""``Pinecone``: what a program makes its index from, over a stage, with Pinecone's old settings still read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from siltstone.clients.client import Client
from siltstone.clients.collection import Consistency
from siltstone.clients.deprecated import old_setting
from siltstone.errors import BadSettings
from siltstone.pinecone_like.index import Index


class Pinecone:
    """``from siltstone.pinecone_like import Pinecone``: the one line that a program changes.

    ``client``: a connected one, whose owner closes it. Without it, the environment: ``SILTSTONE_URL`` (the query
    function's) or ``SILTSTONE_STAGE``; writes go where `siltstone.connect` says. ``SILTSTONE_COLLECTION`` names the
    collection of the namespace without a name, where the index is not asked for by a name. In their place
    ``PINECONE_HOST`` (unless it is Pinecone's own) and ``PINECONE_INDEX_NAME`` are still read, with a
    `DeprecationWarning`. An API key is taken and not needed: AWS's credentials are. What else Pinecone's client takes
    (proxies, pools, timeouts) is taken and means nothing. Raises `BadSettings` where there is nothing to connect to.
    """

    def __init__(
        self,
        api_key: str | None = None,
        host: str | None = None,
        *,
        client: Client | None = None,
        namespaces: Mapping[str, str] | None = None,
        consistency: Consistency = "strong",
        **unused: Any,
    ) -> None:
        self._namespaces = namespaces
        self._consistency: Consistency = consistency
        self._given = client
        self._made: Client | None = None
        self._host = host
        if client is None:
            old_setting("PINECONE_API_KEY", "AWS_PROFILE or AWS's other credentials")

    def Index(self, name: str = "", host: str = "", **unused: Any) -> Index:  # noqa: N802  the name is Pinecone's
        """The index whose namespace without a name is the collection ``name``. Nothing is asked yet."""
        default = (
            name or os.environ.get("SILTSTONE_COLLECTION") or old_setting("PINECONE_INDEX_NAME", "SILTSTONE_COLLECTION")
        )
        return Index(
            self._client(host or self._host),
            namespaces=self._namespaces,
            default=default,
            consistency=self._consistency,
        )

    index = Index

    def close(self) -> None:
        """Close the connection that was made here."""
        if self._made is not None:
            self._made.close()

    def __enter__(self) -> Pinecone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _client(self, host: str | None) -> Client:
        if self._given is not None:
            return self._given
        if self._made is None:
            self._made = _connect(host)
        return self._made


def _connect(host: str | None) -> Client:
    from siltstone.clients.connecting import connect  # noqa: PLC0415  boto3 and the rest take a second

    url, stage = os.environ.get("SILTSTONE_URL"), os.environ.get("SILTSTONE_STAGE")
    if not url and not stage:
        url = _address(host) or _address(old_setting("PINECONE_HOST", "SILTSTONE_URL or SILTSTONE_STAGE", stacklevel=5))
    if url:
        return connect(url=url)
    if stage:
        return connect(stage)
    raise BadSettings(
        "Nothing says which stage takes the place of Pinecone's index.",
        remedy="Set SILTSTONE_STAGE, or SILTSTONE_URL, or pass client=siltstone.connect(...).",
    )


def _address(host: str | None) -> str | None:
    """A host that is not Pinecone's own, as a URL."""
    if not host:
        return None
    url = host if "//" in host else f"https://{host}"
    name = urlsplit(url).hostname or ""
    return None if name == "pinecone.io" or name.endswith(".pinecone.io") else url
