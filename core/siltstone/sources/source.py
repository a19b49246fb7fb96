"""What every source is, and how one is read back from its stored body."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import ValidationError

from siltstone.errors import BadSource
from siltstone.settings import CollectionBook
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Receipt
from siltstone.sources.text import Text

SourceKind = Literal["receipt", "text"]

_MODELS: dict[str, type[Receipt] | type[Text]] = {"receipt": Receipt, "text": Text}


class Source(Protocol):
    """A receipt or a text: what records are made from. Frozen."""

    @property
    def kind(self) -> SourceKind: ...

    @property
    def source_id(self) -> str:
        """Unique over all kinds, safe as one component of an S3 key or a file path, at most 190 characters."""
        ...

    @property
    def revision(self) -> str:
        """SHA-256 (hex) of `to_body`: the same content has the same revision."""
        ...

    def collections(self, book: CollectionBook) -> tuple[str, ...]:
        """The collections it goes into. Raises `UnknownCollection`."""
        ...

    def to_body(self) -> bytes:
        """Canonical JSON; `source_from_body` is its inverse."""
        ...


def source_from_body(kind: str, body: bytes) -> Receipt | Text:
    """Read a stored body. Raises `BadSource` naming the field."""
    model = _MODELS.get(kind)
    if model is None:
        raise BadSource(f"There is no kind of source {kind[:80]!r}.", remedy="It is 'receipt' or 'text'.")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise SourceProblem.of(error, path=f"{kind} body").error() from error
