"""Receipts and texts in JSONL: one bad line never costs the others."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siltstone.errors import BadSource, InvalidInput
from siltstone.sources.files import ITEM_BYTES
from siltstone.sources.jsonl import read_receipts_jsonl, read_texts_jsonl
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Receipt
from siltstone.sources.receipts import read_receipts

from tests.unit.sources.examples import line, receipt, split, write_jsonl

GOOD = receipt(receipt_id=7)


@pytest.mark.parametrize(
    ("bad", "field", "words"),
    [
        (b"{", None, "JSON"),
        (b"null", None, "object"),
        (b"[]", None, "object"),
        (b"[" * 100_000, None, "recursion"),
        (b'{"a":' * 100_000, None, "recursion"),
        (b'{"receipt_id": ' + b"9" * 5_000 + b"}", None, "JSON"),
        (b"\xe4\xf6", None, "not UTF-8: byte 0xe4 at offset 0"),
        (receipt(lines=[]), "lines", "at least 1"),
        (receipt(lines=[line(), line(2, "")]), "lines[1].text", "is empty"),
        (receipt(lines=[line(y=float("nan"))]), "lines[0].y", "finite"),
        (receipt(receipt_id="3"), "receipt_id", "integer"),
    ],
)
def test_a_bad_line_is_named_and_the_others_go_on(tmp_path: Path, bad: object, field: str | None, words: str) -> None:
    path = write_jsonl(tmp_path / "r.jsonl", [receipt(), bad, GOOD])
    good, problems = split(read_receipts_jsonl(path))
    assert [found.receipt_id for found in good] == [1, 7]
    [problem] = problems
    assert (problem.path, problem.line, problem.field, problem.duplicate) == (str(path), 2, field, False)
    assert words in problem.what
    assert problem.remedy
    assert str(problem.error()).startswith(f"{path}, line 2: ")


def test_a_line_that_is_too_long_is_skipped_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with path.open("wb") as file:
        file.write(json.dumps(receipt()).encode() + b"\n")
        for _ in range(8):
            file.write(b"x" * ITEM_BYTES)
        file.write(b"\n" + json.dumps(GOOD).encode())
    tracemalloc.start()
    good, problems = split(read_receipts_jsonl(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [found.receipt_id for found in good] == [1, 7]
    assert [(problem.line, "longer than" in problem.what) for problem in problems] == [(2, True)]
    assert peak < 3 * ITEM_BYTES


def test_reading_is_a_stream(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "r.jsonl", (receipt(receipt_id=number) for number in range(3_000)))
    tracemalloc.start()
    count = sum(isinstance(item, Receipt) for item in read_receipts_jsonl(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3_000
    assert peak < 2 * 2**20  # the receipts themselves take some 20 MB


def test_a_receipt_that_is_there_again_is_counted_once_and_a_duplicate_if_nothing_is_missing_without_it(
    tmp_path: Path,
) -> None:
    path = write_jsonl(tmp_path / "r.jsonl", [receipt(), GOOD, receipt(merchant_name="Another"), receipt()])
    good, [other, same] = split(read_receipts_jsonl(path))
    assert [(found.receipt_id, found.merchant_name) for found in good] == [(1, "Copper Kettle"), (7, "Copper Kettle")]
    assert [(problem.line, problem.duplicate) for problem in (other, same)] == [(3, False), (4, True)]
    assert "line 1 already, with other content" in other.what
    assert "line 1 already, with the same content" in same.what


def test_a_receipt_that_was_refused_does_not_make_the_next_one_a_duplicate(tmp_path: Path) -> None:
    good, problems = split(read_receipts_jsonl(write_jsonl(tmp_path / "r.jsonl", [receipt(lines=[]), receipt()])))
    assert (len(good), [problem.duplicate for problem in problems]) == (1, [False])


def test_crlf_blank_lines_a_byte_order_mark_and_a_missing_last_line_end_are_all_one_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    rows = [json.dumps(receipt()).encode(), b"  ", b"", json.dumps(GOOD).encode()]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(rows))
    good, problems = split(read_receipts_jsonl(path))
    assert (len(good), problems) == (2, [])


def test_line_separators_of_unicode_do_not_end_a_line(tmp_path: Path) -> None:
    body = json.dumps(receipt(lines=[line(text="a\u2028b\u0085c")]), ensure_ascii=False).encode()
    good, problems = split(read_receipts_jsonl(write_jsonl(tmp_path / "r.jsonl", [body])))
    assert ([found.lines[0].text for found in good], problems) == (["a\u2028b\u0085c"], [])


def test_a_stored_body_is_a_line_of_the_file(tmp_path: Path) -> None:
    [original] = read_receipts_jsonl(write_jsonl(tmp_path / "a.jsonl", [receipt()]))
    assert isinstance(original, Receipt)
    assert list(read_receipts_jsonl(write_jsonl(tmp_path / "b.jsonl", [original.to_body()]))) == [original]


class TestPaths:
    def test_a_missing_file_is_known_before_the_first_item_is_asked_for(self, tmp_path: Path) -> None:
        for read in (read_receipts, read_receipts_jsonl, lambda path: read_texts_jsonl(path, "texts")):
            with pytest.raises(BadSource, match="does not exist"):
                read(tmp_path / "none.jsonl")

    def test_a_folder_or_a_pipe_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jsonl")
        for path in (tmp_path, tmp_path / "pipe.jsonl"):
            with pytest.raises(BadSource, match="not a file"):
                read_receipts_jsonl(path)

    @pytest.mark.parametrize("content", [b"", b"\n \r\n\n", b"\xef\xbb\xbf"])
    def test_a_file_that_holds_nothing_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "empty.jsonl"
        path.write_bytes(content)
        with pytest.raises(BadSource, match="is empty"):
            list(read_receipts(path))

    def test_a_name_that_says_neither_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "r.csv").write_text("1,2")
        with pytest.raises(BadSource, match="neither a folder nor"):
            read_receipts(tmp_path / "r.csv")

    @pytest.mark.parametrize("path", ["a\0b", "x" * 5_000])
    def test_a_path_that_no_system_takes_is_refused(self, path: str) -> None:
        with pytest.raises(BadSource, match="can't be read"):
            read_receipts(path)


class TestTexts:
    def test_each_line_goes_into_the_named_collection(self, tmp_path: Path) -> None:
        rows = [{"id": "a", "text": "One."}, {"id": "b", "text": "Two.", "metadata": {"n": 2, "gone": None}}]
        found = list(read_texts_jsonl(write_jsonl(tmp_path / "t.jsonl", rows), "merchant-notes"))
        assert [getattr(text, "collection", None) for text in found] == ["merchant-notes"] * 2
        assert [getattr(text, "metadata", None) for text in found] == [{}, {"n": 2}]

    def test_bad_ones_are_named(self, tmp_path: Path) -> None:
        rows = [
            {"id": "a", "text": "One."},
            {"id": "a", "text": "Again."},
            {"id": "b", "text": " "},
            {"id": "c", "text": "x" * 30_000},
            {"id": "d", "text": "x", "metadata": {"k": {}}},
            {"id": "e", "text": "x", "collection": "other"},
        ]
        found = list(read_texts_jsonl(write_jsonl(tmp_path / "t.jsonl", rows), "texts"))
        problems = [item for item in found if isinstance(item, SourceProblem)]
        assert len(found) - len(problems) == 1
        assert [(problem.line, problem.field, problem.duplicate) for problem in problems] == [
            (2, None, False),
            (3, "text", False),
            (4, "text", False),
            (5, "metadata", False),
            (6, "collection", False),
        ]
        assert [problem.item for problem in problems] == ["a", "b", "c", "d", "e"]
        assert [(problem.tokens, problem.limit) for problem in problems if problem.limit] == [(15_000, 8_192)]

    def test_a_name_that_no_collection_can_have_is_refused_at_once(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "t.jsonl", [{"id": "a", "text": "b"}])
        with pytest.raises(InvalidInput, match="not usable"):
            read_texts_jsonl(path, "..")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["image_id", "receipt_id", "merchant_name", "lines", "words"])
LINE_FIELDS = st.sampled_from(["line_id", "text", "confidence", "x", "y", "width", "height", "word_id"])
ROWS = st.lists(
    st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda field, value: json.dumps(receipt(**{field: value})).encode(), FIELDS, JSON)
    | st.builds(lambda field, value: json.dumps(receipt(lines=[{**line(), field: value}])).encode(), LINE_FIELDS, JSON),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_whatever_a_file_holds_every_line_is_a_receipt_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(b"\n".join([*rows, json.dumps(GOOD).encode()]))
    good, problems = split(read_receipts_jsonl(path))
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(good) + len(problems) == sum(not _blank(row) for row in lines)
    assert any(found.receipt_id == 7 for found in good)
    for found in good:
        assert Receipt.model_validate_json(found.to_body()) == found


def _blank(row: bytes) -> bool:
    return not row.decode(errors="replace").strip()
