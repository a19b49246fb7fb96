"""Record ids: ``IMAGE#{image_id}#RECEIPT#{receipt_id:05d}#LINE#{line_id:05d}``, for a word ``#WORD#{word_id:05d}`` too.

A text's record id is its own id. Format and parse are inverse, both ways: an id has one spelling (no other padding,
lower-case UUID), and a text's id may not look like a receipt's (`check_text_id`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from siltstone.errors import BadRecord

TEXT_ID_BYTES = 512

_NUMBER = r"([0-9]{5}|[1-9][0-9]{5,})"
_UUID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_RECEIPT = re.compile(rf"IMAGE#{_UUID}#RECEIPT#{_NUMBER}#LINE#{_NUMBER}(?:#WORD#{_NUMBER})?")


@dataclass(frozen=True)
class LineId:
    """A receipt's line. Numbers are not negative."""

    image_id: str
    receipt_id: int
    line_id: int


@dataclass(frozen=True)
class WordId:
    """A word of a receipt's line."""

    image_id: str
    receipt_id: int
    line_id: int
    word_id: int


@dataclass(frozen=True)
class TextId:
    """A text's own id."""

    id: str


RecordId = LineId | WordId | TextId


def format_line_id(image_id: str, receipt_id: int, line_id: int) -> str:
    """A line's record id."""
    return f"IMAGE#{image_id}#RECEIPT#{receipt_id:05d}#LINE#{line_id:05d}"


def format_word_id(image_id: str, receipt_id: int, line_id: int, word_id: int) -> str:
    """A word's record id."""
    return f"{format_line_id(image_id, receipt_id, line_id)}#WORD#{word_id:05d}"


def format_record_id(record_id: RecordId) -> str:
    """Inverse of `parse_record_id`."""
    match record_id:
        case LineId():
            return format_line_id(record_id.image_id, record_id.receipt_id, record_id.line_id)
        case WordId():
            return format_word_id(record_id.image_id, record_id.receipt_id, record_id.line_id, record_id.word_id)
        case TextId():
            return record_id.id


def parse_record_id(text: str) -> RecordId:
    """What a record id names: a line, a word, else a text. Raises `BadRecord` for one that can't be an id."""
    found = _RECEIPT.fullmatch(text)
    if found is None:
        try:
            return TextId(check_text_id(text))
        except ValueError as error:
            raise BadRecord(f"The record id {text[:80]!r} {error}.", remedy="Give the record another id.") from error
    image_id, receipt_id, line_id, word_id = found.groups()
    if word_id is None:
        return LineId(image_id, int(receipt_id), int(line_id))
    return WordId(image_id, int(receipt_id), int(line_id), int(word_id))


def receipt_source_id(image_id: str, receipt_id: int) -> str:
    """The source id of a receipt: ``{image_id}.{receipt_id:05d}``."""
    return f"{image_id}.{receipt_id:05d}"


def family(record_id: str) -> str:
    """The receipt that a line or word belongs to (its source id), else the id itself.

    Two sources that have records of one family in one collection would overwrite each other.
    """
    found = _RECEIPT.fullmatch(record_id)
    return record_id if found is None else receipt_source_id(found[1], int(found[2]))


def check_text_id(text: str) -> str:
    """Return ``text`` if a text may have it as its id, else raise `ValueError`.

    It is 1 to 512 bytes of UTF-8 (the provider's ``custom_id`` and Chroma's id are exactly this), has no control
    characters, no blank at either end, and does not begin like a receipt's.
    """
    if not text or text != text.strip():
        raise ValueError("is empty, or has a blank at one end")
    if len(text) > TEXT_ID_BYTES or len(text.encode(errors="replace")) > TEXT_ID_BYTES:
        raise ValueError(f"is longer than {TEXT_ID_BYTES} bytes")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise ValueError("holds a control character or half of a surrogate pair")
    if text.startswith("IMAGE#"):
        raise ValueError("begins with 'IMAGE#', which is for the lines and words of receipts")
    return text
