"""The bundled sample: whole, varied, and what its script makes."""

from __future__ import annotations

from pathlib import Path

from siltstone.records.record import make_records
from siltstone.settings import CollectionBook
from siltstone.sources.jsonl import read_texts_jsonl
from siltstone.sources.receipts import read_receipts
from siltstone.sources.text import Text
from siltstone_local.sample import RECEIPTS, TEXTS, generate

from tests.unit.sources.examples import split


def test_the_script_makes_exactly_the_files_that_are_bundled(tmp_path: Path) -> None:
    generate.write(tmp_path / "r.jsonl", tmp_path / "t.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == RECEIPTS.read_bytes()
    assert (tmp_path / "t.jsonl").read_bytes() == TEXTS.read_bytes()


def test_forty_receipts_and_twenty_notes_read_without_a_problem() -> None:
    receipts, problems = split(read_receipts(RECEIPTS))
    texts = list(read_texts_jsonl(TEXTS, generate.TEXT_COLLECTION))
    assert (len(receipts), problems, len(texts)) == (40, [], 20)
    assert {type(text) for text in texts} == {Text}
    book = CollectionBook()
    assert all(make_records(found, name, book.resolve(name)) for found in receipts for name in ("lines", "words"))


def test_it_shows_what_real_receipts_show() -> None:
    receipts, _ = split(read_receipts(RECEIPTS))
    lines = [line for found in receipts for line in found.lines]
    assert len({found.merchant_name for found in receipts}) > 30
    assert any(found.merchant_name is None for found in receipts)
    assert any(line.confidence is None for line in lines)
    assert any(line.confidence is not None and line.confidence < 0.8 for line in lines)
    assert any(word.confidence is not None for found in receipts for word in found.words)
    assert any(word.confidence is None for found in receipts for word in found.words)
    assert any(not line.text.isascii() for line in lines)


def test_it_is_small() -> None:
    assert RECEIPTS.stat().st_size + TEXTS.stat().st_size < 300_000
