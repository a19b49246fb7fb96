"""A text with an id, for one named collection: documents that are not receipts."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from siltstone.errors import BadSource, InvalidInput
from siltstone.keys import check_collection, split_shard
from siltstone.records.ids import check_text_id
from siltstone.records.metadata import Metadata, check_metadata
from siltstone.records.tokens import INPUT_TOKENS, check_text
from siltstone.settings import CollectionBook
from siltstone.sources.canonical import canonical_json, sha256_hex

_PLAIN_COLLECTION = re.compile(r"[A-Za-z0-9_-]{1,80}")
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


def _check_name(name: str) -> str:
    try:
        return check_collection(name)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


def _check_metadata(raw: Any) -> Any:
    return check_metadata(raw) if isinstance(raw, dict) else raw  # pyright: ignore[reportUnknownArgumentType]


class TextLine(BaseModel):
    """A line of ``texts.jsonl``. ``metadata`` is the text's own; see `check_metadata` for what it may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str, AfterValidator(check_text_id)]
    text: Annotated[str, AfterValidator(lambda text: check_text(text, INPUT_TOKENS))]
    metadata: Annotated[dict[str, Any], BeforeValidator(_check_metadata)] = Field(default_factory=dict)

    def into(self, collection: str) -> Text:
        """The text for ``collection``. Raises pydantic's ``ValidationError`` if no collection can have that name."""
        return Text(collection=collection, id=self.id, text=self.text, metadata=self.metadata)


class Text(TextLine):
    """A text for one collection."""

    collection: Annotated[str, AfterValidator(_check_name)]

    @property
    def kind(self) -> Literal["text"]:
        return "text"

    @property
    def source_id(self) -> str:
        """See `text_source_id`."""
        return text_source_id(self.collection, self.id)

    @property
    def revision(self) -> str:
        """SHA-256 (hex) of the body."""
        return sha256_hex(self.to_body())

    @property
    def own_metadata(self) -> Metadata:
        """A copy of ``metadata``."""
        return {key: list(value) if isinstance(value, list) else value for key, value in self.metadata.items()}

    def collections(self, book: CollectionBook) -> tuple[str, ...]:
        """Its own, if ``book`` knows it (else `UnknownCollection`) and it takes texts (else `BadSource`)."""
        check_takes_texts(self.collection, book)
        return (self.collection,)

    def to_body(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


def check_takes_texts(collection: str, book: CollectionBook) -> None:
    """Raise `UnknownCollection` for one that ``book`` does not know, `BadSource` for one that takes no texts."""
    if book.resolve(collection).input_format != "plain-v1":
        raise BadSource(
            f"The collection {collection!r} takes receipts, not texts.",
            remedy="Name a collection whose input_format is plain-v1.",
        )
    logical, shard = split_shard(collection)
    if shard is not None and collection not in book.collections:
        raise BadSource(f"{collection!r} is a shard.", remedy=f"Name its collection, {logical!r}: it spreads the rows.")


def text_source_id(collection: str, text_id: str) -> str:
    """``text.{collection}.{id}`` where both are plain, else ``text.{SHA-256 of [collection, id]}``.

    Plain means characters that every object store and file system takes, no dot in the collection, 180 characters in
    all. The first form has at least two dots and its first two split it; the second has one. So no two texts share one,
    and none is a receipt's, which begins with a UUID.
    """
    if _PLAIN_COLLECTION.fullmatch(collection) and _PLAIN_ID.fullmatch(text_id):
        return f"text.{collection}.{text_id}"
    return f"text.{sha256_hex(canonical_json([collection, text_id]))}"
