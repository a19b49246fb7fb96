"""A receipt: what it is made of, what it refuses, and what identifies it."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError
from siltstone.errors import BadSource, UnknownCollection
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.sources.receipt import Line, Receipt
from siltstone.sources.source import Source, source_from_body

from tests.unit.sources.examples import IMAGE, line, receipt


def parse(**other: object) -> Receipt:
    source = source_from_body("receipt", json.dumps(receipt(**other)).encode())
    assert isinstance(source, Receipt)
    return source


def refusal(body: object) -> str:
    with pytest.raises(BadSource) as caught:
        source_from_body("receipt", body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.remedy
    return str(caught.value)


class TestWords:
    def test_missing_words_come_from_the_text_and_share_the_box_by_length(self) -> None:
        words = parse(lines=[line(3, "ab  cde", x=0.2, width=0.7, y=0.5, height=0.1)]).words
        assert [(word.line_id, word.word_id, word.text) for word in words] == [(3, 1, "ab"), (3, 2, "cde")]
        assert [(word.x, word.width) for word in words] == [
            (pytest.approx(0.2), pytest.approx(0.2)),
            (pytest.approx(0.6), pytest.approx(0.3)),
        ]
        assert {(word.y, word.height) for word in words} == {(0.5, 0.1)}

    def test_a_derived_word_has_no_confidence_even_where_its_line_has(self) -> None:
        assert [word.confidence for word in parse(lines=[line(confidence=0.9)]).words] == [None] * 3

    def test_only_the_lines_that_have_none_get_words(self) -> None:
        given = parse(words=[line(2, "LATTE", word_id=7, confidence=0.8)])
        assert [(word.line_id, word.word_id) for word in given.words] == [(1, 1), (1, 2), (1, 3), (2, 7)]

    @pytest.mark.parametrize("words", [None, []])
    def test_null_and_empty_words_are_missing_words(self, words: object) -> None:
        assert len(parse(words=words).words) == 6

    def test_unicode_blanks_split_words_too(self) -> None:
        assert [word.text for word in parse(lines=[line(1, "1\u00a0kg\u3000Mehl")]).words] == ["1", "kg", "Mehl"]


class TestIdentity:
    def test_the_source_id_names_image_and_receipt(self) -> None:
        assert parse(receipt_id=42).source_id == f"{IMAGE}.00042"

    def test_a_uuid_has_one_spelling(self) -> None:
        assert parse(image_id=IMAGE.upper()) == parse()

    def test_the_body_reads_back_as_the_same_receipt(self) -> None:
        original = parse(merchant_name="Käse & Co", words=[line(1, "x", word_id=1)])
        assert source_from_body("receipt", original.to_body()) == original

    def test_the_revision_depends_on_content_and_on_nothing_else(self) -> None:
        original = parse()
        assert parse(lines=[line(2), line(1)]).revision == original.revision
        assert parse(words=[word.model_dump() for word in original.words]).revision == original.revision
        assert parse(merchant_name="Copper Kettles").revision != original.revision
        assert parse(lines=[line(1), line(2, x=0.11)]).revision != original.revision
        assert parse(lines=[line(1), line(2, confidence=0.5)]).revision != original.revision

    def test_a_blank_merchant_is_an_unknown_one(self) -> None:
        assert parse(merchant_name="  ").revision == parse(merchant_name=None).revision

    def test_it_can_be_made_in_python_too(self) -> None:
        made = Receipt(
            image_id=IMAGE,
            receipt_id=1,
            merchant_name="Copper Kettle",
            lines=(Line(**line(1)), Line(**line(2))),
        )
        assert made == parse()

    def test_it_is_a_source_and_frozen(self) -> None:
        source: Source = parse()
        assert source.kind == "receipt"
        with pytest.raises(ValidationError, match="frozen"):
            source.receipt_id = 2  # type: ignore[attr-defined]


class TestCollections:
    def test_it_goes_into_lines_and_words(self) -> None:
        assert parse().collections(CollectionBook()) == ("lines", "words")

    def test_a_new_collection_for_lines_fills_beside_the_old_one(self) -> None:
        book = CollectionBook()
        more = {
            **book.collections,
            "lines-large": CollectionSettings(model="text-embedding-3-large", input_format="line-context-v1"),
            "lines-*": CollectionSettings(input_format="line-context-v1"),
        }
        assert parse().collections(CollectionBook(collections=more)) == ("lines", "lines-large", "words")

    def test_a_stage_without_a_collection_for_receipts_says_so(self) -> None:
        with pytest.raises(UnknownCollection, match="takes receipts"):
            parse().collections(CollectionBook(collections={"texts": CollectionSettings()}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (receipt(lines=[]), "lines: "),
        (receipt(lines=None), "lines: "),
        ({"image_id": IMAGE, "receipt_id": 1}, "lines: Field required"),
        (receipt(image_id="42"), "image_id"),
        (receipt(image_id=f"urn:uuid:{IMAGE}"), "image_id"),
        (receipt(image_id=IMAGE + "\n"), "image_id"),
        (receipt(receipt_id=-1), "receipt_id"),
        (receipt(receipt_id="1"), "receipt_id"),
        (receipt(receipt_id=1.5), "receipt_id"),
        (receipt(receipt_id=True), "receipt_id"),
        (receipt(receipt_id=2**31), "receipt_id"),
        (receipt(merchant="misspelt"), "merchant"),
        (receipt(merchant_name="x" * 1001), "merchant_name"),
        (receipt(lines=[line(text="")]), "lines[0].text: is empty"),
        (receipt(lines=[line(1), line(2, " \t\u00a0")]), "lines[1].text: is empty"),
        (receipt(lines=[line(text="x" * 30_000)]), "lines[0].text: has 30000 characters"),
        (receipt(lines=[line(text=None)]), "lines[0].text"),
        (receipt(lines=[line(1), line(1)]), "line_id 1 is there more than once"),
        (receipt(lines=[line(x=-0.2)]), "lines[0].x"),
        (receipt(lines=[line(width=-0.2)]), "lines[0].width"),
        (receipt(lines=[line(x=412.0)]), "lines[0].x"),
        (receipt(lines=[line(x=0.8, width=0.5)]), "leaves the image"),
        (receipt(lines=[line(y=float("nan"))]), "lines[0].y"),
        (receipt(lines=[line(height=float("inf"))]), "lines[0].height"),
        (receipt(lines=[line(confidence=97.0)]), "lines[0].confidence"),
        (receipt(lines=[line(confidence="high")]), "lines[0].confidence"),
        (receipt(words=[line(9, "x", word_id=1)]), "line_id 9, which is not among the lines"),
        (receipt(words=[line(1, "x", word_id=1), line(1, "y", word_id=1)]), "is there more than once"),
        (receipt(words=[line(1, "x")]), "words[0].word_id: Field required"),
        (receipt(words=0), "words"),
        ([receipt()], "object"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"image_id": "\\ud800"}', "JSON"),
    ],
)
def test_a_bad_receipt_is_refused_by_naming_the_field(body: object, words: str) -> None:
    assert words in refusal(body)


def test_a_refusal_counts_what_else_is_wrong_and_stays_short() -> None:
    told = refusal({"image_id": "y" * 100_000, "receipt_id": "x", "zzz": "w" * 100_000})
    assert "and 3 more" in told
    assert len(told) < 600


def test_a_box_may_hang_over_the_edge_by_a_rounding_error() -> None:
    assert parse(lines=[line(x=-0.004, width=1.009)]).lines[0].x == -0.004


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadSource, match="'receipt' or 'text'"):
        source_from_body("invoice", b"{}")
