"""What a reader asks and what it gets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from siltstone.compaction.messages import Message
from siltstone.compaction.version import Version
from siltstone.errors import InvalidInput
from siltstone.keys import check_collection
from siltstone.records.tokens import INPUT_TOKENS, check_text, check_unicode

MAX_RESULTS = 1_000
MAX_IDS = 1_000
MAX_QUERIES = 100
Include = Literal["metadatas", "documents", "distances", "embeddings"]


class QueryInput(Message):
    """A question to one collection, by its name or an alias, or to one shard by its own name.

    ``query``: the nearest rows to ``query_text`` or ``query_embedding``, or to each of ``query_texts`` or
    ``query_embeddings``, of one and the same version; ``get``: rows by ``ids`` (in their order, each once, ``limit``
    aside) or the page ``offset``, ``limit`` of all rows in the order of their ids, or of those behind the id ``after``;
    ``count``: how many there are. All three take both filters. ``consistency="strong"`` lays deltas that are not merged
    yet over the version.
    """

    collection_name: str = "lines"
    operation: Literal["query", "get", "count"] = "query"
    query_text: str | None = None
    query_embedding: list[float] | None = Field(default=None, max_length=4_096)
    query_texts: list[str] | None = Field(default=None, min_length=1, max_length=MAX_QUERIES)
    query_embeddings: list[Annotated[list[float], Field(max_length=4_096)]] | None = Field(
        default=None, min_length=1, max_length=MAX_QUERIES
    )
    n_results: int = Field(default=10, ge=1, le=MAX_RESULTS)
    metadata_filter: dict[str, Any] | None = None
    where_document: dict[str, Any] | None = None
    ids: list[str] | None = Field(default=None, max_length=MAX_IDS)
    limit: int = Field(default=100, ge=1, le=MAX_RESULTS)
    offset: int = Field(default=0, ge=0)
    after: str | None = None
    include: tuple[Include, ...] = ("metadatas", "documents", "distances")
    consistency: Literal["snapshot", "strong"] = "snapshot"
    version: str | None = None

    @field_validator("collection_name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        try:
            return check_collection(name)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    @field_validator("query_text")
    @classmethod
    def _embeddable(cls, text: str | None) -> str | None:
        return None if text is None else check_text(text, INPUT_TOKENS)

    @field_validator("query_texts")
    @classmethod
    def _all_embeddable(cls, texts: list[str] | None) -> list[str] | None:
        return None if texts is None else [check_text(text, INPUT_TOKENS) for text in texts]

    @field_validator("ids")
    @classmethod
    def _unicode(cls, ids: list[str] | None) -> list[str] | None:
        return None if ids is None else [check_unicode(row_id) for row_id in ids]

    @field_validator("version")
    @classmethod
    def _version_id(cls, version: str | None) -> str | None:
        try:
            return None if version is None else str(Version.parse(version))
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _one_question(self) -> QueryInput:
        given = (self.query_text, self.query_embedding, self.query_texts, self.query_embeddings)
        asked = sum(each is not None for each in given)
        if self.operation == "query" and asked != 1:
            raise ValueError(
                "give exactly one of query_text and query_embedding, or of query_texts and query_embeddings"
            )
        if self.operation != "query" and asked:
            raise ValueError(f"{self.operation} takes no query_text and no query_embedding")
        if self.operation != "get" and self.ids is not None:
            raise ValueError(f"{self.operation} takes no ids: use operation get, or a filter")
        if self.version is not None and self.consistency == "strong":
            raise ValueError("an old version has no pending deltas: leave out version, or ask with snapshot")
        return self


class QueryResults(Message):
    """Parallel lists, best first. What ``include`` does not name is ``None``; smaller distances are nearer."""

    ids: list[str]
    distances: list[float] | None = None
    metadatas: list[dict[str, Any] | None] | None = None
    documents: list[str | None] | None = None
    embeddings: list[list[float]] | None = None


class QueryOutput(Message):
    """The answer and what it was answered from."""

    collection_name: str  # where it was asked for by an alias, the one that the alias names
    version: str | None  # of a sharded collection the oldest; None: nothing was promoted, all comes from pending deltas
    shard_versions: dict[str, str | None] | None = None  # of a sharded collection, by the shard's name
    version_age_seconds: float | None
    pending_deltas: int | None  # seen by a strong read; None for a snapshot read, which looks at none
    unusable_deltas: int = 0  # pending, and on their way to quarantine
    stale: str | None = None  # why a newer version could not be opened, where that is so
    space: Literal["cosine", "l2", "ip"]
    results: QueryResults | None = None
    results_of_each: list[QueryResults] | None = None  # of query_texts or query_embeddings, in their order
    count: int | None = None
