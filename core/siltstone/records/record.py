"""Records: what is embedded, one by one, with the exact input and the metadata that will stand beside the vector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

from siltstone.errors import BadSource
from siltstone.records.ids import format_line_id, format_word_id
from siltstone.records.inputs import (
    context_input,
    line_position,
    lines_in_context,
    word_position,
    words_in_context,
)
from siltstone.records.metadata import Metadata, MetadataValue, without_nulls
from siltstone.settings import CollectionSettings
from siltstone.sources.canonical import sha256_hex
from siltstone.sources.receipt import Line, Receipt
from siltstone.sources.source import Source
from siltstone.sources.text import Text


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to embed. ``document``: its text. ``input``: exactly what is sent; nothing is recomputed later.

    ``input_sha256``: of the input's UTF-8, hex. ``metadata``: without the provenance fields and without nulls.
    """

    record_id: str
    source_id: str
    collection: str
    document: str
    input: str
    input_sha256: str
    metadata: Metadata


def make_records(source: Source, collection: str, settings: CollectionSettings) -> list[Record]:
    """The records of ``source`` in ``collection``, with ids that no other source has.

    ``line-context-v1``: a receipt's lines; ``word-context-v1``: its words; ``plain-v1``: a text, or a receipt's lines
    without context. A text in a context format is `BadSource`.
    """
    if isinstance(source, Receipt):
        make = _word_records if settings.input_format == "word-context-v1" else _line_records
        return list(make(source, collection, settings))
    if isinstance(source, Text) and settings.input_format == "plain-v1":
        return [_record(source, collection, source.id, text=source.text, metadata=source.own_metadata)]
    raise BadSource(
        f"The collection {collection!r} ({settings.input_format}) takes receipts, not {source.source_id!r}.",
        remedy="Name a collection whose input_format is plain-v1.",
    )


def _line_records(receipt: Receipt, collection: str, settings: CollectionSettings) -> Iterator[Record]:
    confidence = _word_confidence(receipt)
    plain = settings.input_format == "plain-v1"
    for line, near in lines_in_context(receipt):
        metadata = without_nulls(
            {
                **_common(receipt, line),
                "avg_word_confidence": confidence(line.line_id),
                "prev_line": near.previous,
                "next_line": near.next,
            }
        )
        yield _record(
            receipt,
            collection,
            format_line_id(receipt.image_id, receipt.receipt_id, line.line_id),
            text=line.text,
            embedding_input=None if plain else context_input(line.text, line_position(line), near),
            metadata=metadata,
        )


def _word_records(receipt: Receipt, collection: str, _: CollectionSettings) -> Iterator[Record]:
    confidence = _word_confidence(receipt)
    for word, near in words_in_context(receipt):
        metadata = without_nulls(
            {
                **_common(receipt, word),
                "word_id": word.word_id,
                "avg_word_confidence": confidence(word.line_id),
                "left": near.previous,
                "right": near.next,
            }
        )
        yield _record(
            receipt,
            collection,
            format_word_id(receipt.image_id, receipt.receipt_id, word.line_id, word.word_id),
            text=word.text,
            embedding_input=context_input(word.text, word_position(word), near),
            metadata=metadata,
        )


def _common(receipt: Receipt, item: Line) -> dict[str, MetadataValue | None]:
    return {
        "image_id": receipt.image_id,
        "receipt_id": receipt.receipt_id,
        "merchant_name": receipt.merchant_name,
        "line_id": item.line_id,
        "text": item.text,
        "confidence": item.confidence,
        "x": item.x,
        "y": item.y,
        "width": item.width,
        "height": item.height,
    }


def _word_confidence(receipt: Receipt) -> Callable[[int], float | None]:
    """The mean over those words of a line whose confidence is known; ``None`` if it is known of none."""
    known: defaultdict[int, list[float]] = defaultdict(list)
    for word in receipt.words:
        if word.confidence is not None:
            known[word.line_id].append(word.confidence)
    return lambda line_id: fmean(known[line_id]) if line_id in known else None


def _record(
    source: Source,
    collection: str,
    record_id: str,
    *,
    text: str,
    metadata: Metadata,
    embedding_input: str | None = None,  # None: the text
) -> Record:
    sent = text if embedding_input is None else embedding_input
    return Record(
        record_id=record_id,
        source_id=source.source_id,
        collection=collection,
        document=text,
        input=sent,
        input_sha256=sha256_hex(sent.encode()),
        metadata=metadata,
    )
