"""The files of a batch: formats are exact, and nothing in them can break the reading."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from siltstone.embedding.requests import (
    MAX_LINE_BYTES,
    EmbeddedRow,
    MalformedRow,
    RefusedRow,
    RequestRow,
    read_requests,
    read_results,
    request_line,
    write_requests,
)
from siltstone.errors import BadRecord

MODEL = "text-embedding-3-small"


def result(custom_id: object, embedding: object, **changes: Any) -> dict[str, Any]:
    body = {"data": [{"index": 0, "embedding": embedding}], "usage": {"total_tokens": 7}}
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None} | changes


def read(*rows: object) -> list[EmbeddedRow | RefusedRow | MalformedRow]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return list(read_results(io.BytesIO(b"\n".join(lines))))


def b64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.tobytes()).decode()


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.text(min_size=1), st.integers(1, 4096))
def test_what_is_written_as_a_request_is_read_back(custom_id: str, text: str, dimension: int):
    try:
        line = request_line(custom_id, text, model=MODEL, dimension=dimension)
    except BadRecord:
        assert any("\ud800" <= character <= "\udfff" for character in custom_id + text)
        return
    assert line.count(b"\n") == 1
    assert list(read_requests(io.BytesIO(line))) == [RequestRow(1, custom_id, text, MODEL, dimension)]


def test_a_request_row_is_what_the_api_takes(tmp_path: Path):
    size = write_requests(tmp_path / "r.jsonl", [("a", "TAN WOON YANN"), ("b", "மளிகை")], model=MODEL, dimension=1536)
    written = (tmp_path / "r.jsonl").read_bytes()
    assert size == len(written)
    assert json.loads(written.splitlines()[0]) == {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": MODEL, "input": "TAN WOON YANN", "dimensions": 1536, "encoding_format": "base64"},
    }


def test_a_model_of_one_dimension_is_not_asked_for_it():
    assert b"dimensions" not in request_line("a", "x", model="text-embedding-ada-002", dimension=1536)


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_a_text_that_the_api_would_refuse_is_named_before_it_is_sent(text: str):
    with pytest.raises(BadRecord, match="'IMAGE#1'"):
        request_line("IMAGE#1", text, model=MODEL, dimension=8)


def test_requests_that_others_wrote_are_read_or_named():
    def row(**body: Any) -> bytes:
        whole = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": MODEL, **body}}
        return json.dumps(whole).encode()

    rows = list(
        read_requests(
            io.BytesIO(
                b"\n".join(
                    [
                        row(input=["one"]),
                        row(input=["one", "two"]),
                        row(input=[1, 2]),
                        row(input="x", dimensions="8"),
                        row(input="x").replace(b"embeddings", b"chat"),
                        row(input="x").replace(b'"a"', b'""'),
                        row(input="x").replace(MODEL.encode(), b""),
                    ]
                )
            )
        )
    )
    assert rows[0] == RequestRow(1, "a", "one", MODEL, None)
    assert all(isinstance(found, MalformedRow) for found in rows[1:])
    assert [found.line for found in rows] == [1, 2, 3, 4, 5, 6, 7]


def test_vectors_are_exact_from_base64_and_from_decimals():
    vector = np.random.default_rng(1).standard_normal(1536).astype(np.float32)
    vector[:3] = np.float32(1e-42), np.finfo(np.float32).max, -0.0
    coded, floats, doubles = read(
        result("a", b64(vector)),
        result("b", json.loads("[" + ",".join(map(str, vector)) + "]")),
        result("c", vector.tolist()),
    )
    for row in (coded, floats, doubles):
        assert isinstance(row, EmbeddedRow)
        assert row.vector.dtype == np.float32
        assert row.vector.tobytes() == vector.tobytes()
        assert row.tokens == 7


def test_values_are_not_judged_here():
    (row,) = read(result("a", b64(np.array([np.nan, np.inf, 0], np.float32))))
    assert isinstance(row, EmbeddedRow)


def test_errors_keep_the_providers_words_wherever_they_stand():
    inside = {"status_code": 400, "body": {"error": {"message": "too long", "type": "x", "code": "context_length"}}}
    untyped = {"status_code": 500, "body": {"error": {"message": "oops", "type": "server_error", "code": None}}}
    expired = {"code": "batch_expired", "message": "could not be executed"}
    assert read(
        result("a", None, response=inside),
        result("b", None, response=untyped),
        result("c", None, response=None, error=expired),
    ) == [
        RefusedRow(1, "a", "context_length", "too long", 400),
        RefusedRow(2, "b", "server_error", "oops", 500),
        RefusedRow(3, "c", "batch_expired", "could not be executed", None),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{broken", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (result(None, "AAAA"), "custom_id"),
        (result("", "AAAA"), "custom_id"),
        (result("a", "!!!"), "embedding"),
        (result("a", "AAA="), "2 bytes"),
        (result("a", ""), "0 bytes"),
        (result("a", None), "embedding"),
        (result("a", []), "embedding"),
        (result("a", [1.0, None]), "no number"),
        (result("a", ["1.0"]), "no number"),
        (result("a", [True]), "no number"),
        (result("a", [10**400]), "beyond float64"),
        (result("a", [[1.0]]), "no number"),
        (result("a", "AAAA", response=None), "neither an answer nor an error"),
        (result("a", "AAAA", response={"status_code": 200, "body": {"data": []}}), "one embedding"),
        (result("a", "AAAA", response={"status_code": 200, "body": "oops"}), "one embedding"),
        (result("a", "AAAA", response=[1]), "neither"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_row_is_a_problem_and_not_an_exception(row: object, reason: str):
    good = result("good", b64(np.ones(4, np.float32)))
    first, problem, last = read(good, row, good)
    assert isinstance(first, EmbeddedRow)
    assert isinstance(last, EmbeddedRow)
    assert isinstance(problem, MalformedRow)
    assert problem.line == 2
    assert reason in problem.reason


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading(noise: bytes):
    list(read_results(io.BytesIO(noise)))
    list(read_requests(io.BytesIO(noise)))


def test_an_endless_line_is_skipped_without_being_held():
    good = json.dumps(result("good", b64(np.ones(4, np.float32)))).encode()
    stream = io.BytesIO(b"x" * (8 * MAX_LINE_BYTES) + b"\n" + good + b"\n" + b"y" * (MAX_LINE_BYTES + 1))
    tracemalloc.start()
    rows = list(read_results(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(row) for row in rows] == [MalformedRow, EmbeddedRow, MalformedRow]
    assert [row.line for row in rows] == [1, 2, 3]
    assert peak < 3 * MAX_LINE_BYTES


def test_blank_lines_count_but_are_no_rows():
    (row,) = read(b"", b"  ", result("a", b64(np.ones(1, np.float32))), b"")
    assert row.line == 3
