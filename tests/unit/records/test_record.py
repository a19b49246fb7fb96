"""Records: one for each line, word or text, with what stands beside the vector."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import chromadb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from siltstone.errors import BadSource
from siltstone.records.ids import TextId, family, parse_record_id
from siltstone.records.metadata import PROVENANCE_KEYS, check_metadata, provenance
from siltstone.records.record import Record, make_records
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.sources.receipt import Receipt
from siltstone.sources.source import source_from_body
from siltstone.sources.text import Text

IMAGE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
BOOK = CollectionBook()


def receipt(**other: Any) -> Receipt:
    fields = {
        "image_id": IMAGE,
        "receipt_id": 2,
        "merchant_name": "Copper Kettle",
        "lines": [
            {"line_id": 1, "text": "Tea 2.95", "confidence": 0.9, "x": 0.1, "y": 0.1, "width": 0.8, "height": 0.1},
            {"line_id": 2, "text": "TOTAL", "x": 0.1, "y": 0.8, "width": 0.5, "height": 0.1},
        ],
        "words": [
            {
                "line_id": 1,
                "word_id": 1,
                "text": "Tea",
                "confidence": 0.8,
                "x": 0.1,
                "y": 0.1,
                "width": 0.3,
                "height": 0.1,
            },
            {
                "line_id": 1,
                "word_id": 2,
                "text": "2.95",
                "confidence": 0.7,
                "x": 0.5,
                "y": 0.1,
                "width": 0.4,
                "height": 0.1,
            },
            {"line_id": 1, "word_id": 3, "text": "*", "x": 0.9, "y": 0.1, "width": 0.01, "height": 0.1},
        ],
        **other,
    }
    source = source_from_body("receipt", json.dumps(fields).encode())
    assert isinstance(source, Receipt)
    return source


def records(collection: str, source: Receipt | Text | None = None) -> dict[str, Record]:
    made = make_records(source or receipt(), collection, BOOK.resolve(collection))
    return {record.record_id: record for record in made}


LINE_1 = f"IMAGE#{IMAGE}#RECEIPT#00002#LINE#00001"
LINE_2 = f"IMAGE#{IMAGE}#RECEIPT#00002#LINE#00002"


def test_a_line_with_all_that_is_known_of_it() -> None:
    record = records("lines")[LINE_1]
    sent = "<TARGET>Tea 2.95</TARGET> <POS>top</POS> <CONTEXT><EDGE> TOTAL</CONTEXT>"
    assert record == Record(
        record_id=LINE_1,
        source_id=f"{IMAGE}.00002",
        collection="lines",
        document="Tea 2.95",
        input=sent,
        input_sha256=hashlib.sha256(sent.encode()).hexdigest(),
        metadata={
            "image_id": IMAGE,
            "receipt_id": 2,
            "merchant_name": "Copper Kettle",
            "line_id": 1,
            "text": "Tea 2.95",
            "confidence": 0.9,
            "avg_word_confidence": pytest.approx(0.75),  # over the two words whose confidence is known
            "x": 0.1,
            "y": 0.1,
            "width": 0.8,
            "height": 0.1,
            "next_line": "TOTAL",
        },
    )


def test_what_is_unknown_is_left_out() -> None:
    metadata = records("lines", receipt(merchant_name=None))[LINE_2].metadata
    assert metadata.keys() == {"image_id", "receipt_id", "line_id", "text", "x", "y", "width", "height", "prev_line"}


def test_a_word_has_its_own_neighbours_and_its_lines_average() -> None:
    words = records("words")
    assert list(words) == [f"{LINE_1}#WORD#0000{number}" for number in (1, 2, 3)] + [f"{LINE_2}#WORD#00001"]
    record = words[f"{LINE_1}#WORD#00002"]
    assert record.input == "<TARGET>2.95</TARGET> <POS>top-right</POS> <CONTEXT>Tea *</CONTEXT>"
    assert record.metadata == {
        "image_id": IMAGE,
        "receipt_id": 2,
        "merchant_name": "Copper Kettle",
        "line_id": 1,
        "word_id": 2,
        "text": "2.95",
        "confidence": 0.7,
        "avg_word_confidence": pytest.approx(0.75),
        "x": 0.5,
        "y": 0.1,
        "width": 0.4,
        "height": 0.1,
        "left": "Tea",
        "right": "*",
    }


def test_plain_embeds_a_receipts_lines_without_context() -> None:
    made = make_records(receipt(), "plain-lines", CollectionSettings(input_format="plain-v1"))
    assert [(record.record_id, record.input) for record in made] == [(LINE_1, "Tea 2.95"), (LINE_2, "TOTAL")]
    assert made[0].metadata == records("lines")[LINE_1].metadata


def test_a_text_is_one_record_with_its_own_metadata() -> None:
    text = Text(collection="texts", id="note 1/ü", text="Paper fades.", metadata={"tags": ["a", "b"], "gone": None})
    [record] = records("texts", text).values()
    assert (record.record_id, record.document, record.input) == ("note 1/ü", "Paper fades.", "Paper fades.")
    assert (record.source_id, record.metadata) == (text.source_id, {"tags": ["a", "b"]})
    assert parse_record_id(record.record_id) == TextId("note 1/ü")


def test_a_text_in_a_collection_for_receipts_is_refused() -> None:
    with pytest.raises(BadSource, match="takes receipts"):
        records("lines", Text(collection="texts", id="a", text="b"))


def test_the_metadata_is_what_chroma_takes_and_the_provenance_fits_beside_it(tmp_path: Path) -> None:
    told = provenance(
        model="text-embedding-3-small", input_format="word-context-v1", input_sha256="ab", batch_id="b", delta_id="d"
    )
    assert told.keys() == PROVENANCE_KEYS
    rows = [record for collection in ("lines", "words") for record in records(collection).values()]
    for record in rows:
        assert not told.keys() & record.metadata.keys()
        assert check_metadata(record.metadata) == record.metadata
    with chromadb.PersistentClient(tmp_path) as client:
        collection = client.create_collection("records-metadata")
        collection.upsert(
            ids=[record.record_id for record in rows],
            embeddings=[[1.0, 0.0]] * len(rows),
            documents=[record.document for record in rows],
            metadatas=[{**record.metadata, **told} for record in rows],
        )
        found = collection.get(ids=[record.record_id for record in rows])
    assert dict(zip(found["ids"], found["metadatas"] or [], strict=True)) == {
        record.record_id: {**record.metadata, **told} for record in rows
    }


def test_without_a_batch_the_provenance_names_none() -> None:
    assert "batch_id" not in provenance(model="m", input_format="plain-v1", input_sha256="ab", delta_id="d")


LINES = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.text(min_size=1, max_size=12).filter(lambda text: bool(text.strip())),
            "x": st.floats(0, 0.5),
            "y": st.floats(0, 0.5),
            "width": st.floats(0, 0.5),
            "height": st.floats(0, 0.5),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(LINES)
def test_every_line_and_every_word_is_exactly_one_record_of_its_receipt(lines: list[dict[str, Any]]) -> None:
    source = receipt(lines=[{"line_id": number, **line} for number, line in enumerate(lines)], words=None)
    for collection, texts in (
        ("lines", [line["text"] for line in lines]),
        ("words", [part for line in lines for part in line["text"].split()]),
    ):
        made = make_records(source, collection, BOOK.resolve(collection))
        assert sorted(record.document for record in made) == sorted(texts)
        assert len({record.record_id for record in made}) == len(texts)
        assert {family(record.record_id) for record in made} == {source.source_id}
        assert made == make_records(source, collection, BOOK.resolve(collection))


def test_a_change_touches_only_the_inputs_that_show_it() -> None:
    """A line's text is in its own input and its two neighbours', nowhere else."""
    lines = [{"line_id": n, "text": f"row {n}", "x": 0.1, "y": n / 10, "width": 0.5, "height": 0.05} for n in range(6)]
    before = records("lines", receipt(lines=lines, words=None))
    lines[3] = {**lines[3], "text": "changed"}
    after = records("lines", receipt(lines=lines, words=None))
    changed = [key for key in before if before[key].input_sha256 != after[key].input_sha256]
    assert [parse_record_id(key) for key in changed] == [
        parse_record_id(f"IMAGE#{IMAGE}#RECEIPT#00002#LINE#0000{number}") for number in (2, 3, 4)
    ]
