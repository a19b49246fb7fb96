"""One logical collection in one directory: what the product needs of a vector database to write a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from siltstone import keys
from siltstone.errors import ManifestDamaged
from siltstone.settings import CollectionSettings, HnswSettings, Space

MAX_BATCH = 2_500  # rows; one call holds the interpreter for seconds, and flushes the whole index once

Vectors = NDArray[np.float32]
Metadata = dict[str, Any]
"""Values are ``str``, ``int``, ``float``, ``bool`` or a list of one of them; never ``None``."""


@dataclass(frozen=True)
class CollectionSpec:
    """What never changes under a collection's pointer, as far as the vector store knows of it."""

    name: str
    dimension: int
    space: Space
    hnsw: HnswSettings

    @staticmethod
    def of(collection: str, fixed: Mapping[str, Any]) -> CollectionSpec:
        """From `CollectionSettings.fixed` as stored in a plan or manifest. Raises `ManifestDamaged`.

        ``collection`` may be a shard (``lines.s03``): inside a snapshot the collection has its logical name.
        """
        try:
            settings = CollectionSettings.model_validate(dict(fixed))
        except ValidationError as error:
            raise ManifestDamaged(
                f"The stored settings of {collection} can't be read: {error.errors()[0]['msg']}.",
                remedy="Run `siltstone verify`.",
            ) from error
        name = keys.split_shard(collection)[0] if settings.shards > 1 else collection
        return CollectionSpec(name, settings.dimension, settings.space, settings.hnsw)


@dataclass(frozen=True)
class Rows:
    """n rows. ``embeddings``: float32 (n, dimension). ``{}`` is no metadata, ``None`` no document."""

    ids: list[str]
    embeddings: Vectors
    documents: list[str | None]
    metadatas: list[Metadata]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Iterable[int]) -> Rows:
        """The rows at these places, in their order."""
        at = list(places)
        return Rows(
            [self.ids[place] for place in at],
            self.embeddings[at],
            [self.documents[place] for place in at],
            [self.metadatas[place] for place in at],
        )

    def batches(self, size: int = MAX_BATCH) -> Iterable[Rows]:
        """Slices of at most ``size`` rows; the vectors are views."""
        for start in range(0, len(self), size):
            cut = slice(start, start + size)
            yield Rows(self.ids[cut], self.embeddings[cut], self.documents[cut], self.metadatas[cut])


class Finding(NamedTuple):
    """One thing that a store verified about its own closed files."""

    name: str
    passed: bool
    detail: str = ""


class VectorStore(Protocol):
    """An open directory.

    Raises `DiskFull`, `SnapshotDamaged` for a directory that can't be read, `BadRecord` for a row it refuses.

    Calls take any number of rows; whoever must do something in between (renew a lease) sends at most
    `MAX_BATCH` at a time.
    """

    def count(self) -> int:
        """Number of rows."""
        ...

    def spec(self) -> CollectionSpec:
        """What the directory itself says. The dimension is 0 where no row was ever written: the first one sets it."""
        ...

    def ids(self) -> list[str]:
        """All ids, sorted."""
        ...

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that have a row."""
        ...

    def get(self, ids: Sequence[str]) -> Rows:
        """The rows of those ``ids`` that have one, in the order of ``ids``."""
        ...

    def insert(self, rows: Rows) -> None:
        """Add rows whose ids have none. (To replace a row, delete it first: the result is then exactly ``rows``.)"""
        ...

    def patch_metadata(self, ids: Sequence[str], patches: Sequence[Mapping[str, Any]]) -> None:
        """Set each row's keys as given; a key given as ``None`` is removed, one not given stays."""
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows that exist. Their slots stay in the index until it is rebuilt."""
        ...

    def nearest(self, vectors: Vectors) -> list[float]:
        """The distance of each vector's nearest row, as the index finds it, in the collection's own space."""
        ...

    def close(self) -> None:
        """Release every file; everything is in them. Calling it again does nothing."""
        ...

    def finish(self) -> list[Finding]:
        """Close, compact the closed files and verify them: they may be hashed if nobody opens them again."""
        ...


OpenStore = Callable[[Path, CollectionSpec], VectorStore]
"""Opens a directory's collection, or makes both where the directory is missing or empty."""
