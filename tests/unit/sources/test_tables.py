"""Texts as CSV and Parquet: which column is what, and one bad row never costs the others."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from siltstone.errors import BadSource, InvalidInput, UnknownCollection
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.sources.csv_texts import FIELD_CHARACTERS
from siltstone.sources.files import Input
from siltstone.sources.problem import SourceProblem
from siltstone.sources.table import Columns
from siltstone.sources.text import Text, check_takes_texts
from siltstone.sources.texts import read_texts

Found = tuple[list[Text], list[SourceProblem]]


def split(items: Iterator[Text | SourceProblem]) -> Found:
    found = list(items)
    texts = [item for item in found if isinstance(item, Text)]
    return texts, [item for item in found if isinstance(item, SourceProblem)]


def from_csv(tmp_path: Path, content: str | bytes, name: str = "t.csv", **options: Any) -> Found:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return split(read_texts(Input.of(path), "notes", **options))


def from_parquet(tmp_path: Path, columns: dict[str, Any], **options: Any) -> Found:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return split(read_texts(Input.of(path), "notes", **options))


# CSV ----------------------------------------------------------------------------------------------
def test_the_other_columns_become_metadata_as_text_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    [a, b], problems = from_csv(
        tmp_path, 'id,text,year,place\na,"One, two",2024,Malmö\nb,"He said ""hi""\nand left",,\n'
    )
    assert problems == []
    assert (a.collection, a.id, a.text, a.metadata) == ("notes", "a", "One, two", {"year": "2024", "place": "Malmö"})
    assert (b.text, b.metadata) == ('He said "hi"\nand left', {})


def test_the_columns_can_be_named(tmp_path: Path) -> None:
    [found], _ = from_csv(tmp_path, "body;id;number\nHello;x;7\n", columns=Columns("number", "body"), separator=";")
    assert (found.id, found.text, found.metadata) == ("7", "Hello", {"id": "x"})
    [found], _ = from_csv(tmp_path, "id\ttext\n1\tTabs, of course\n", "t.tsv")
    assert found.text == "Tabs, of course"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_a_byte_order_mark_blank_lines_and_rows_of_nothing_are_all_one_file(tmp_path: Path, end: str) -> None:
    rows = ["", "id,text,year", "a,One,1", "", ",,", "b,Two,2"]
    texts, problems = from_csv(tmp_path, b"\xef\xbb\xbf" + end.join(rows).encode())
    assert ([text.id for text in texts], problems) == (["a", "b"], [])


def test_bad_rows_are_named_by_the_line_where_they_begin_and_the_others_go_on(tmp_path: Path) -> None:
    content = b"\n".join(
        [
            b"id,text,year",
            b'a,"Two\nlines",1',
            b"short,x",
            b"long,x,y,z",
            b"empty,,1",
            b",no id,1",
            b"latin,caf\xe9,1",
            b"wide," + b"ab " * 20_000 + b",1",
            b'quoted,"a"b,1',
            b"a,again,1",
            b'a,"Two\nlines",1',
            b"z,last,1",
        ]
    )
    texts, problems = from_csv(tmp_path, content)
    assert [text.id for text in texts] == ["a", "z"]
    assert [(problem.line, problem.item, problem.field, problem.duplicate) for problem in problems] == [
        (4, "short", None, False),
        (5, "long", None, False),
        (6, "empty", "text", False),
        (7, "", "id", False),
        (8, "latin", None, False),
        (9, "wide", "text", False),
        (10, None, None, False),
        (11, "a", None, False),
        (12, "a", None, True),
    ]
    assert "the row has 2 values, the header 3" in problems[0].what
    assert "byte 0xe9" in problems[4].what
    assert (problems[5].tokens, problems[5].limit) == (20_001, 8_192)
    assert "line 9: id 'wide': text: has 60000 characters, over 8192 tokens: 20001" in str(problems[5])


def test_a_quote_that_is_never_closed_is_named_with_the_lines_that_it_swallowed(tmp_path: Path) -> None:
    texts, [problem] = from_csv(tmp_path, 'id,text\na,One\nb,"Two\nc,Three\nd,Four\n')
    assert [text.id for text in texts] == ["a"]
    assert problem.line == 3
    assert "lines 3 to 5 are left out" in problem.what


def test_a_quote_that_is_never_closed_ends_where_no_text_can_be_that_long(tmp_path: Path) -> None:
    rows = FIELD_CHARACTERS // 1_000 + 100
    content = 'id,text\na,"One\n' + "".join(f"n{row},{'7' * 990}\n" for row in range(rows))
    texts, [problem] = from_csv(tmp_path, content)
    assert problem.line == 2
    assert 0 < len(texts) < rows
    assert texts[-1].id == f"n{rows - 1}"


def test_a_line_of_any_length_is_one_bad_row_and_is_not_held(tmp_path: Path) -> None:
    texts, [problem] = from_csv(tmp_path, "id,text\na," + "x" * 20 * 2**20 + "\nb,Two\n")
    assert ([text.id for text in texts], problem.line) == (["b"], 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("id,text\n", "holds no row"),
        ("id;text\na;b\n", "--separator ';'"),
        ("name,text\na,b\n", "has no column 'id'; it has 'name', 'text'"),
        ("id,body\na,b\n", "has no column 'text'"),
        ("id,text,text\na,b,c\n", "more than one column 'text'"),
        ("id,text,\na,b,c\n", "no name for its column 3"),
        ("id,text,model\na,b,c\n", "'model' is Siltstone's own"),
        ("id,text,$x\na,b,c\n", "begins with '$'"),
        (b"id,t\xe9xt\na,b\n", "header is not UTF-8"),
        (b"PK\x03\x04\x00\xff", "header is not UTF-8"),
        ('"id,text\na,b\n', "header can't be read"),
    ],
)
def test_a_header_that_cant_be_used_is_refused_once(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(BadSource) as caught:
        from_csv(tmp_path, content)
    assert words in str(caught.value)


# Parquet ------------------------------------------------------------------------------------------
def test_parquet_keeps_the_types_of_its_metadata(tmp_path: Path) -> None:
    when = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)
    columns = {
        "id": [7, 8],
        "text": pa.array(["One", "Two"]).dictionary_encode(),
        "year": [2024, None],
        "share": [0.5, None],
        "paid": [True, None],
        "tags": [["a", "b"], None],
        "day": [when.date(), None],
        "at": [when, None],
    }
    [first, second], problems = from_parquet(tmp_path, columns)
    assert problems == []
    assert (first.id, first.text) == ("7", "One")
    assert first.metadata == {
        "year": 2024,
        "share": 0.5,
        "paid": True,
        "tags": ["a", "b"],
        "day": "2024-02-29",
        "at": "2024-02-29 12:30:00.000000Z",
    }
    assert (second.id, second.metadata) == ("8", {})


def test_bad_rows_of_parquet_are_named_by_their_number(tmp_path: Path) -> None:
    raw = pa.array([b"One", b"caf\xe9", b"x", b"", b"ab " * 20_000, b"again", b"last"])
    broken = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    columns = {"id": ["a", "b", None, "d", "e", "a", "z"], "text": broken, "n": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, None]}
    texts, problems = from_parquet(tmp_path, columns)
    assert [text.id for text in texts] == ["a", "z"]
    assert [(problem.row, problem.line, problem.item, problem.field) for problem in problems] == [
        (2, None, None, None),
        (3, None, None, "id"),
        (4, None, "d", "text"),
        (5, None, "e", "text"),
        (6, None, "a", None),
    ]
    assert "byte 0xe9" in problems[0].what
    assert (problems[3].tokens, problems[3].limit) == (20_001, 8_192)
    assert "row 1 already, with other content" in problems[4].what


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"], "body": ["b"]}, "has no column 'text'"),
        ({"id": ["a"], "text": [1]}, "'text' is int64, not text"),
        ({"id": [0.5], "text": ["b"]}, "'id' is double, not text or whole numbers"),
        ({"id": ["a"], "text": ["b"], "m": [{"x": 1}]}, "'m' is struct"),
        ({"id": ["a"], "text": ["b"], "m": [b"x"]}, "'m' is binary"),
        ({"id": ["a"], "text": ["b"], "model": ["x"]}, "Siltstone's own"),
        ({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}, "holds no row"),
    ],
)
def test_columns_that_cant_be_used_are_refused_once(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSource) as caught:
        from_parquet(tmp_path, columns)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"id,text\na,b\n" * 9])
def test_what_is_not_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(BadSource, match="can't be read as Parquet"):
        read_texts(Input.of(path), "notes")


def test_a_column_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["b"], "place": ["c"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"place", b"pl\xffce"))
    with pytest.raises(BadSource, match="can't be read as Parquet"):
        list(read_texts(Input.of(path), "notes"))


def test_damage_in_the_middle_of_parquet_is_an_error_after_what_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = {"id": [f"n{row}" for row in range(2_000)], "text": [f"text {row}" for row in range(2_000)]}
    pq.write_table(pa.table(rows), path, row_group_size=500, use_dictionary=False)
    body = bytearray(path.read_bytes())
    middle = len(body) // 2
    body[middle : middle + 500] = b"\xff" * 500
    path.write_bytes(body)
    read: list[Text | SourceProblem] = []
    with pytest.raises(BadSource, match="what was loaded of it stays"):
        read.extend(read_texts(Input.of(path), "notes"))
    assert len(read) >= 500


# which is which -----------------------------------------------------------------------------------
def test_the_name_says_what_a_file_is_unless_it_is_said(tmp_path: Path) -> None:
    [found], _ = from_csv(tmp_path, "id,text\na,b\n", "t.txt", form="csv")
    assert found.id == "a"
    with pytest.raises(BadSource, match="--format"):
        from_csv(tmp_path, "id,text\na,b\n", "t.txt")
    with pytest.raises(BadSource, match="gzip -dc"):
        from_csv(tmp_path, b"", "t.jsonl.gz")
    for separator in ("", ",,", '"', "\n"):
        with pytest.raises(BadSource, match="can't separate"):
            from_csv(tmp_path, "id,text\na,b\n", separator=separator)


def test_a_stream_is_jsonl_unless_it_is_said_and_never_parquet() -> None:
    def stream(body: bytes) -> Input:
        return Input("standard input", stream=io.BytesIO(body))

    [found], [problem] = split(read_texts(stream(b'{"id": "a", "text": "b"}\n{\n'), "notes"))
    assert found.id == "a"
    assert str(problem).startswith("standard input, line 2: ")
    [found], _ = split(read_texts(stream(b"id,text\na,b\n"), "notes", form="csv"))
    assert found.id == "a"
    with pytest.raises(BadSource, match="from a stream"):
        read_texts(stream(b""), "notes", form="parquet")


def test_the_bytes_that_are_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text\n" + "".join(f"n{row},text {row}\n" for row in range(200)))
    pq.write_table(pa.table({"id": [str(row) for row in range(200)], "text": ["x"] * 200}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"id": "a", "text": "b"}\n' * 9)
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        told: list[int] = []
        list(read_texts(Input.of(tmp_path / name, told.append), "notes"))
        assert sum(told) == pytest.approx((tmp_path / name).stat().st_size, abs=len(told))


def test_a_collection_is_asked_before_anything_is_read(tmp_path: Path) -> None:
    sharded = CollectionSettings(shards=2)
    book = CollectionBook(collections={"notes": sharded, "lines": CollectionSettings(input_format="line-context-v1")})
    check_takes_texts("notes", book)
    with pytest.raises(UnknownCollection):
        check_takes_texts("other", book)
    with pytest.raises(BadSource, match="takes receipts"):
        check_takes_texts("lines", book)
    with pytest.raises(BadSource, match="is a shard"):
        check_takes_texts("notes.s00", book)
    with pytest.raises(InvalidInput, match="not usable"):
        read_texts(Input("x", stream=io.BytesIO()), "..")
