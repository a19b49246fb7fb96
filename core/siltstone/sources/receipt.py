"""A receipt: lines and words with boxes.

Boxes are fractions of the image, origin top left: ``x, y`` is the box's top left corner. Recognisers round, so a box
may hang over the image's edge by 1%.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from siltstone.errors import UnknownCollection
from siltstone.records.ids import receipt_source_id
from siltstone.records.tokens import LINE_TOKENS, check_text, check_unicode
from siltstone.settings import CollectionBook
from siltstone.sources.canonical import canonical_json, sha256_hex

OVERHANG = 0.01

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

ImageId = Annotated[str, StringConstraints(pattern=_UUID, to_lower=True, max_length=36)]
Number = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Place = Annotated[float, Field(ge=-OVERHANG, le=1.0, allow_inf_nan=False)]
Extent = Annotated[float, Field(ge=0.0, le=1.0 + 2 * OVERHANG, allow_inf_nan=False)]
Content = Annotated[str, AfterValidator(lambda text: check_text(text, LINE_TOKENS))]
Name = Annotated[str, Field(max_length=1_000), AfterValidator(check_unicode)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Line(_Model):
    """A line as it was recognised. ``confidence``: 0 to 1, ``None`` if unknown."""

    line_id: Number
    text: Content
    confidence: Fraction | None = None
    x: Place
    y: Place
    width: Extent
    height: Extent

    @model_validator(mode="after")
    def _inside_the_image(self) -> Line:
        if self.x + self.width > 1.0 + OVERHANG or self.y + self.height > 1.0 + OVERHANG:
            raise ValueError("its box leaves the image: boxes are fractions of the image, origin top left")
        return self

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, ``(x, y)``."""
        return self.x + self.width / 2, self.y + self.height / 2


class Word(Line):
    """A word of the line ``line_id``; ``word_id`` is unique within it."""

    word_id: Number


class Receipt(_Model):
    """One receipt of one image. Lines and words are kept in the order of their ids, whatever order they came in.

    A line that comes without words gets them from its text (`words_of`). Making one in Python raises pydantic's
    ``ValidationError``; `siltstone.sources.source.source_from_body` and the readers give typed errors instead.
    """

    image_id: ImageId
    receipt_id: Number
    merchant_name: Name | None = None
    lines: Annotated[tuple[Line, ...], Field(min_length=1, strict=False)]
    words: Annotated[
        tuple[Word, ...], Field(strict=False), BeforeValidator(lambda words: () if words is None else words)
    ] = ()

    @model_validator(mode="after")
    def _complete(self) -> Receipt:
        line_ids = [line.line_id for line in self.lines]
        _refuse_repeats("line_id", line_ids)
        _refuse_repeats("word (line_id, word_id)", [(word.line_id, word.word_id) for word in self.words])
        worded = {word.line_id for word in self.words}
        if strays := worded.difference(line_ids):
            raise ValueError(f"words name line_id {min(strays)}, which is not among the lines")
        derived = [word for line in self.lines if line.line_id not in worded for word in words_of(line)]
        words = sorted((*self.words, *derived), key=lambda word: (word.line_id, word.word_id))
        # The model is frozen for its users; here it is still being made.
        object.__setattr__(self, "lines", tuple(sorted(self.lines, key=lambda line: line.line_id)))
        object.__setattr__(self, "words", tuple(words))
        object.__setattr__(self, "merchant_name", (self.merchant_name or "").strip() or None)
        return self

    @property
    def kind(self) -> Literal["receipt"]:
        return "receipt"

    @property
    def source_id(self) -> str:
        """``{image_id}.{receipt_id:05d}``."""
        return receipt_source_id(self.image_id, self.receipt_id)

    @property
    def revision(self) -> str:
        """SHA-256 (hex) of the body."""
        return sha256_hex(self.to_body())

    def collections(self, book: CollectionBook) -> tuple[str, ...]:
        """``lines`` and ``words``, and every other collection named exactly in ``book`` that embeds lines or words.

        The others are how a model changes: the new collection fills beside the old one, then an alias moves.
        Raises `UnknownCollection` if the stage has none.
        """
        names = sorted(
            name
            for name, settings in book.collections.items()
            if "*" not in name and (name in {"lines", "words"} or settings.input_format != "plain-v1")
        )
        if not names:
            raise UnknownCollection(
                "No collection of this stage takes receipts.",
                remedy="Add 'lines' (line-context-v1) or 'words' (word-context-v1) to its settings in cdk.json.",
            )
        return tuple(names)

    def to_body(self) -> bytes:
        """Canonical JSON, which is also a line of ``receipts.jsonl``."""
        return canonical_json(self.model_dump(mode="json"))


def words_of(line: Line) -> Iterator[Word]:
    """A line's words: its text split at white space, its box shared out by length (blanks take their share too).

    ``word_id`` counts from 1. The confidence is unknown: the line's is not a word's.
    """
    share = line.width / len(line.text)
    for number, found in enumerate(re.finditer(r"\S+", line.text), start=1):
        yield Word(
            line_id=line.line_id,
            word_id=number,
            text=found[0],
            x=line.x + found.start() * share,
            y=line.y,
            width=len(found[0]) * share,
            height=line.height,
        )


def _refuse_repeats(name: str, ids: Sequence[object]) -> None:
    repeated = [found for found, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{name} {repeated[0]} is there more than once")
