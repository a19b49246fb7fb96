"""What a collection is made of and when it is compacted: typed, checked, resolved by name or pattern."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from siltstone.errors import BadSettings, UnknownCollection
from siltstone.keys import check_collection, split_shard

Space = Literal["cosine", "l2", "ip"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HnswSettings(_Model):
    """Chroma's HNSW values; fixed for the life of a collection."""

    ef_construction: int = Field(default=100, ge=8, le=2000)
    ef_search: int = Field(default=100, ge=8, le=2000)
    max_neighbors: int = Field(default=16, ge=4, le=256)


class DueSettings(_Model):
    """A collection is due when any of these is passed. ``max_age_seconds`` is mandatory: nothing waits for ever."""

    max_age_seconds: int = Field(default=3600, ge=1)
    min_deltas: int = Field(default=25, ge=1)
    min_bytes: int = Field(default=64 * 2**20, ge=1)
    quiet_hours_utc: tuple[int, int] | None = None  # [from, to): only the age can make it due in these hours


class RetentionSettings(_Model):
    """Which versions ``Retire`` keeps besides the current and the pinned ones; each at least 1,000 s in any case."""

    keep_seconds: int = Field(default=7 * 86400, ge=0)
    keep_at_least: int = Field(default=2, ge=1)
    grace_seconds: int = Field(default=3600, ge=0)  # after a successor's promotion a reader may still be downloading


class RunLimits(_Model):
    """What one run takes at most; a larger backlog is split, the oldest first."""

    max_rows: int = Field(default=200_000, ge=1)
    max_bytes: int = Field(default=2 * 2**30, ge=1)
    part_rows: int = Field(default=10_000, ge=1, le=50_000)  # several of Merge's batches; 60 MB at 1,536 dimensions


class CollectionSettings(_Model):
    """One collection's settings. Those in `fixed` never change under a pointer."""

    model: str = "text-embedding-3-small"
    dimension: int = Field(default=1536, ge=1, le=4096)
    space: Space = "cosine"
    input_format: Literal["line-context-v1", "word-context-v1", "plain-v1"] = "plain-v1"
    hnsw: HnswSettings = HnswSettings()
    shards: int = Field(default=1, ge=1, le=64)
    due: DueSettings = DueSettings()
    retention: RetentionSettings = RetentionSettings()
    limits: RunLimits = RunLimits()

    def fixed(self) -> dict[str, Any]:
        """The part that is written into a manifest and must agree with every later run."""
        return {
            "model": self.model,
            "dimension": self.dimension,
            "space": self.space,
            "input_format": self.input_format,
            "shards": self.shards,
            "hnsw": self.hnsw.model_dump(),
        }


class CollectionBook(_Model):
    """All of a stage's collections: exact names first, then the longest matching pattern (``merchant-*``)."""

    collections: dict[str, CollectionSettings] = Field(
        default_factory=lambda: {
            "lines": CollectionSettings(input_format="line-context-v1"),
            "words": CollectionSettings(input_format="word-context-v1"),
            "texts": CollectionSettings(),
        }
    )
    legacy_delta_collection: str | None = None  # the two older delta layouts name no collection
    settle_seconds: int = Field(default=120, ge=0)  # longer than a writer's put can last: `siltstone.stores.sending`

    @staticmethod
    def parse(text: str) -> CollectionBook:
        """Read the JSON of an environment variable. Raises `BadSettings` naming the setting."""
        try:
            return CollectionBook.model_validate(json.loads(text))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadSettings(f"Setting {where!r}: {first['msg']}.", remedy="Correct it in cdk.json.") from error
        except ValueError as error:
            raise BadSettings(f"The settings are not JSON: {error}.", remedy="Correct them in cdk.json.") from error

    def resolve(self, collection: str) -> CollectionSettings:
        """Settings of ``collection``; a shard (``lines.s00``) has those of its logical collection.

        Raises `UnknownCollection` where nothing matches: nothing is guessed.
        """
        check_collection(collection)
        logical, shard = split_shard(collection)
        if shard is not None and collection not in self.collections:
            settings = self._find(logical)
            if settings is not None and shard < settings.shards and settings.shards > 1:
                return settings
        settings = self._find(collection)
        if settings is None:
            raise UnknownCollection(
                f"No setting or pattern matches the collection {collection!r}.",
                remedy="Add it under 'collections' in the stage's settings in cdk.json.",
            )
        return settings

    def _find(self, name: str) -> CollectionSettings | None:
        matches = [pattern for pattern in self.collections if "*" in pattern and fnmatchcase(name, pattern)]
        longest = max(matches, key=lambda pattern: (len(pattern), pattern), default=name)
        return self.collections.get(name) or self.collections.get(longest)
