"""Objects with conditional writes: what the product needs of S3, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it. ``last_modified``: epoch seconds, whole, by the store's clock."""

    key: str
    etag: str  # without quotes; the MD5 of the body, so the same body has the same ETag
    size: int  # bytes
    last_modified: int


@dataclass(frozen=True)
class StoredObject:
    """A body with what identified it when it was read."""

    info: ObjectInfo
    body: bytes


@dataclass(frozen=True)
class Page:
    """One page of a listing. ``date``: the store's clock when it answered, epoch seconds, whole."""

    objects: tuple[ObjectInfo, ...]
    date: int
    next_token: str | None


@dataclass(frozen=True)
class ObjectVersion:
    """One entry of a key's history; newest first within a key. A delete marker has no ``etag`` and no ``size``."""

    key: str
    version_id: str
    is_delete_marker: bool
    is_latest: bool
    last_modified: int
    etag: str
    size: int  # bytes


@dataclass(frozen=True)
class CopyResult:
    """The copy's ETag, and the SHA-256 (lower-case hex) that the store computed over the copied bytes."""

    etag: str
    sha256: str


class ObjectStore(Protocol):
    """One bucket. Every method raises `StoreUnavailable` when the store does not answer (retry the state).

    A conditional request that does not match raises `PreconditionFailed`; a missing object raises
    `ObjectNotFound`. A conditional conflict (HTTP 409) is retried inside, then `StoreUnavailable`.
    """

    def get(self, key: str, *, if_match: str | None = None) -> StoredObject:
        """Read a whole small object (at most some hundred MB: it is held in memory)."""
        ...

    def get_version(self, key: str, version_id: str) -> StoredObject:
        """Read one entry of a key's history, as `get` reads the current one. `ObjectNotFound` for a delete marker."""
        ...

    def stream(self, key: str, *, if_match: str | None = None) -> Iterator[bytes]:
        """Read a large object piece by piece, all of one body. Raises as `get`, also half way if it is replaced."""
        ...

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        """Read ``key`` unless its ETag is still ``etag`` (then ``None``): the cheap conditional GET."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """What a listing would show, or ``None``."""
        ...

    def put(self, key: str, body: bytes, *, create_only: bool = False, if_match: str | None = None) -> str:
        """Write and return the ETag. The body's SHA-256 goes along and is checked by the store.

        ``create_only`` fails if the key has a current object. It succeeds over a delete marker, as on S3.
        """
        ...

    def put_file(self, key: str, path: Path, *, sha256: str) -> str:
        """Stream a file up and return the ETag; the store refuses bytes with another SHA-256 (hex)."""
        ...

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        """Stream an object into ``path`` (parents exist, file is replaced), in parallel ranges if large."""
        ...

    def copy(self, source_key: str, key: str, *, if_match: str, source: ObjectStore | None = None) -> CopyResult:
        """Server-side copy (at most 5 GB), conditional on the source's ETag; ``source``: another bucket."""
        ...

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Delete the current object. A missing key is no error, also with ``if_match``."""
        ...

    def delete_many(self, keys: list[str]) -> None:
        """Delete without conditions, 1,000 a request."""
        ...

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        """One page (at most 1,000 objects) in key order. Not a snapshot: others may write between pages."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects under ``prefix``, every page."""
        ...

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        """The distinct ``prefix + name + '/'`` below ``prefix`` (a listing with delimiter ``/``)."""
        ...

    def list_versions(self, prefix: str, *, first: str = "", last: str | None = None) -> Iterator[ObjectVersion]:
        """The history of all keys under ``prefix`` with ``first <= key <= last``, in key order, newest first."""
        ...

    def delete_versions(self, entries: Sequence[ObjectVersion]) -> None:
        """Take these out of their keys' histories, for good: nothing brings them back. One that is gone is no error.

        No function of the product may do this: `siltstone sources purge` does, with the rights of who runs it.
        """
        ...


def read_all_pages(store: ObjectStore, prefix: str) -> Iterator[Page]:
    """Follow `ObjectStore.list_page` to its end."""
    token: str | None = None
    while True:
        page = store.list_page(prefix, token)
        yield page
        token = page.next_token
        if token is None:
            return
