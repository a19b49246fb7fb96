"""What Pinecone's client returns, as small classes of our own: read by attribute, by key, and with ``get``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, cast


class Shape:
    """A dataclass that is read as a dictionary too. Iterating gives the names of its fields."""

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in _names(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(_names(self))

    def get(self, key: str, default: Any = None) -> Any:
        """The field's value, else ``default``."""
        return getattr(self, key) if key in _names(self) else default

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, all the way down."""
        return {name: _plain(getattr(self, name)) for name in _names(self)}


def _names(shape: Shape) -> list[str]:
    return [each.name for each in fields(cast("Any", shape))]


def _plain(value: Any) -> Any:
    if isinstance(value, Shape):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[Any, Any]", value).items()}
    return value


@dataclass
class SparseValues(Shape):
    """Only so that code which names it can be imported: a store of dense vectors refuses it."""

    indices: list[int]
    values: list[float]


@dataclass
class Vector(Shape):
    """One vector to write, or one that was fetched. ``values``: numbers of 32 bits."""

    id: str
    values: list[float] = field(default_factory=list[float])
    sparse_values: SparseValues | None = None
    metadata: dict[str, Any] | None = None


@dataclass
class ScoredVector(Shape):
    """One match. ``score``: the greater the nearer; for euclidean the squared distance, the smaller the nearer."""

    id: str
    score: float
    values: list[float] = field(default_factory=list[float])
    sparse_values: SparseValues | None = None
    metadata: dict[str, Any] | None = None


@dataclass
class Usage(Shape):
    """Nothing is metered here."""

    read_units: int | None = 0
    write_units: int | None = None


@dataclass
class QueryResponse(Shape):
    """``matches``: best first."""

    matches: list[ScoredVector]
    namespace: str = ""
    usage: Usage | None = field(default_factory=Usage)
    response_info: None = None


@dataclass
class FetchResponse(Shape):
    """``vectors``: by id; one that does not exist is not there."""

    vectors: dict[str, Vector]
    namespace: str = ""
    usage: Usage | None = field(default_factory=Usage)
    response_info: None = None


@dataclass
class UpsertResponse(Shape):
    """The counters of batches are 0 unless ``batch_size`` was given. A write that fails raises, so none ever failed."""

    upserted_count: int
    response_info: None = None
    total_item_count: int = 0
    failed_item_count: int = 0
    total_batch_count: int = 0
    successful_batch_count: int = 0
    failed_batch_count: int = 0
    errors: list[Any] = field(default_factory=list[Any])

    @property
    def has_errors(self) -> bool:
        return bool(self.errors)

    @property
    def success_count(self) -> int:
        return self.upserted_count

    @property
    def error_count(self) -> int:
        return self.failed_item_count

    @property
    def failed_items(self) -> list[dict[str, Any]]:
        return []


@dataclass
class UpdateResponse(Shape):
    """``matched_records``: of an update by filter."""

    matched_records: int | None = None
    response_info: None = None


@dataclass
class Pagination(Shape):
    """``next``: the token of the next page."""

    next: str | None = None


@dataclass
class ListItem(Shape):
    id: str | None = None


@dataclass
class ListResponse(Shape):
    """One page of ids. Iterating, indexing by number and ``len`` go over ``vectors``."""

    vectors: list[ListItem]
    pagination: Pagination | None = None
    namespace: str = ""
    usage: Usage | None = field(default_factory=Usage)
    response_info: None = None

    def __getitem__(self, key: int | str) -> Any:
        return self.vectors[key] if isinstance(key, int) else super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) if isinstance(key, str) else key in self.vectors

    def __iter__(self) -> Iterator[Any]:
        return iter(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass
class NamespaceSummary(Shape):
    vector_count: int = 0


@dataclass
class DescribeIndexStatsResponse(Shape):
    """``metric``: cosine, dotproduct or euclidean. ``index_fullness`` is always 0: nothing fills up."""

    namespaces: dict[str, NamespaceSummary]
    dimension: int | None = None
    index_fullness: float = 0.0
    total_vector_count: int = 0
    metric: str | None = None
    vector_type: str | None = "dense"
    memory_fullness: float | None = None
    storage_fullness: float | None = None
    response_info: None = None
