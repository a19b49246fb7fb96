"""What an oracle knows: the lives of deltas, the versions made of them, and a dictionary that applies them in order."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.compaction.version import Version
from siltstone.stores.vectors_memory import ROWS_FILE, VECTORS_FILE

Kind = Literal["good", "bad", "poison"]
Identity = tuple[str, str]  # key, ETag
Row = tuple[bytes, str | None, str]  # vector, document, metadata as JSON with sorted keys
Operations = dict[str, Row | None]  # None: a delete
Content = dict[str, Row]
Intention = tuple[Kind, Operations, str | None]  # of a producer: what its delta does, and its batch


@dataclass(eq=False)
class Life:
    """One life of a delta's key, from a write to the next delete."""

    key: str
    etag: str
    number: int  # 0: the first
    order: tuple[int, str]
    kind: Kind
    operations: Operations
    born: int  # number of the event
    died: int | None = None
    batch_id: str | None = None
    records: int = 0

    @property
    def identity(self) -> Identity:
        return self.key, self.etag


@dataclass(eq=False)
class VersionFacts:
    """A published version: what it must contain, and which deltas it took beyond its parent's."""

    manifest: Manifest
    content: Content
    new: list[Life]
    files: dict[str, tuple[str, str]]  # key -> ETag, SHA-256
    published: float
    promoted: float | None = None
    superseded: float | None = None
    removed: bool = False


@dataclass(eq=False)
class CollectionFacts:
    """One collection. ``pending``: lives that exist and that no promoted version accounts for."""

    versions: dict[str, VersionFacts] = field(default_factory=dict)
    promotions: list[str] = field(default_factory=list)
    accounted: dict[Identity, int] = field(default_factory=dict)  # -> token of the promoted version that did first
    pending: dict[str, Life] = field(default_factory=dict)  # by key
    pinned: set[str] = field(default_factory=set)
    births: list[Life] = field(default_factory=list)
    taken_alone: dict[Identity, set[int]] = field(default_factory=dict)  # by tokens of runs
    failed: set[int] = field(default_factory=set)  # tokens of runs that failed where deltas are read
    last_accounted: tuple[int, str] = (0, "")

    @property
    def current(self) -> str | None:
        return self.promotions[-1] if self.promotions else None

    @property
    def token(self) -> int:
        return token_of(self.current)

    def taken_by(self, version: VersionFacts) -> list[Life]:
        """The deltas that a version took beyond its parent's. A rollback's are those of the version it restores: that
        one may have lost its race, and then nothing current had contained them yet.
        """
        restored = version.manifest.restored_from
        return version.new if restored is None else self.taken_by(self.versions[restored])

    def failures_alone(self, life: Life) -> int:
        """How many runs failed that had taken this delta and no other."""
        return len(self.taken_alone.get(life.identity, set()) & self.failed)


@dataclass(frozen=True)
class Asked:
    """What was true when a strong read began."""

    births: int  # how many deltas there had been
    token: int
    required: tuple[Life, ...]


def token_of(version: str | None) -> int:
    return 0 if version is None else Version.parse(version).token


def named(body: bytes | None) -> str:
    """The version that a pointer's body names."""
    assert body is not None
    return body.decode().removesuffix("/").rpartition("/")[2]


def apply(base: Content, lives: Iterable[Life]) -> Content:
    """The plain meaning of operations in order: the last one of each id."""
    content = dict(base)
    for life in lives:
        for row_id, row in life.operations.items():
            if row is None:
                content.pop(row_id, None)
            else:
                content[row_id] = row
    return content


def stored_content(read: Callable[[str], bytes]) -> Content:
    """What the two files of the vector store's twin hold."""
    table: list[Any] = json.loads(read(ROWS_FILE))["rows"]
    vectors = np.load(io.BytesIO(read(VECTORS_FILE)))
    return {
        row_id: (vectors[place].tobytes(), document, json.dumps(metadata, sort_keys=True))
        for place, (row_id, document, metadata) in enumerate(table)
    }


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def named_objects(manifest: Manifest) -> Iterator[tuple[str, int, str]]:
    """Key, size and SHA-256 of every object that a manifest names."""
    prefix = keys.version(manifest.collection, manifest.version)
    for file in manifest.files:
        yield prefix + file.path, file.size, file.sha256
