"""The batch server, asked by the real openai client, does what OpenAI does."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from siltstone.embedding.requests import EmbeddedRow, RefusedRow, request_line
from siltstone_local.batch_server import BatchServer
from siltstone_local.embedder import embed

from tests.unit.local.batch_files import MODEL, raw_rows, request_file, results, run, submit, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("batch-server"), speed=3000) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: BatchServer) -> openai.OpenAI:
    return openai.OpenAI(api_key="any", base_url=server.base_url, max_retries=0, timeout=10)


def row(custom_id: str | None = "a", **changes: Any) -> bytes:
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": {"model": MODEL, "input": "x"}}
    whole |= changes
    return json.dumps({key: value for key, value in whole.items() if value is not None}).encode() + b"\n"


# A batch's life -----------------------------------------------------------------------------------
def test_a_batch_answers_every_row_exactly_and_in_another_order(client: openai.OpenAI):
    batch = run(client, request_file(700, dimension=32))
    assert batch.status == "completed"
    assert batch.error_file_id is None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (700, 700, 0)
    rows = results(client, batch.output_file_id)
    assert sorted(row.custom_id for row in rows) == sorted(f"id-{i}" for i in range(700))
    assert [row.custom_id for row in rows] != [f"id-{i}" for i in range(700)]
    assert batch.usage.total_tokens == sum(row.tokens for row in rows if isinstance(row, EmbeddedRow))
    expected = embed([f"text number {i}" for i in range(700)], 32)
    for found in rows:
        assert np.array_equal(found.vector, expected[int(found.custom_id.removeprefix("id-"))])


def test_the_order_of_the_answers_is_the_same_again(client: openai.OpenAI):
    first, second = (results(client, run(client, request_file(50)).output_file_id) for _ in range(2))
    assert [row.custom_id for row in first] == [row.custom_id for row in second]


def test_rows_that_are_refused_stand_in_the_error_file_with_the_reason(client: openai.OpenAI):
    content = row("good") + row("empty", body={"model": MODEL, "input": ""})
    content += row("long", body={"model": MODEL, "input": "word " * 10_000})
    batch = run(client, content)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    assert [found.custom_id for found in results(client, batch.output_file_id)] == ["good"]
    refused = {found.custom_id: found for found in results(client, batch.error_file_id)}
    assert set(refused) == {"empty", "long"}
    assert isinstance(refused["long"], RefusedRow)
    assert (refused["long"].code, refused["long"].status) == ("context_length_exceeded", 400)


def test_a_batch_without_one_success_has_no_output_file(client: openai.OpenAI):
    batch = run(client, row("empty", body={"model": MODEL, "input": ""}))
    assert batch.status == "completed"
    assert batch.output_file_id is None
    assert batch.error_file_id is not None


def test_a_row_with_many_inputs_is_answered_by_many_vectors_as_floats_that_are_exact(client: openai.OpenAI):
    texts = ["one", "two", "three"]
    batch = run(client, row(body={"model": MODEL, "input": texts, "dimensions": 24}))
    (found,) = raw_rows(client, batch.output_file_id)
    vectors = np.array([item["embedding"] for item in found["response"]["body"]["data"]], dtype=np.float32)
    assert np.array_equal(vectors, embed(texts, 24))


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", None),
        (b"\n\n", "empty_file", None),
        (row("a") + b"{broken\n", "invalid_json_line", 2),
        (row("a") + b"[1]\n", "invalid_json_line", 2),
        (row("a") + b"\n" + row("a"), "duplicate_custom_id", 3),
        (row(None), "missing_required_parameter", 1),
        (row("a", body=None), "missing_required_parameter", 1),
        (row("a", body={"input": "x"}), "missing_required_parameter", 1),
        (row("a", method="GET"), "invalid_method", 1),
        (row("a", url="/v1/chat/completions"), "invalid_url", 1),
        (row("a") + row("b", body={"model": "text-embedding-3-large", "input": "x"}), "mismatched_model", 2),
        (b"".join(row(str(i)) for i in range(50_001)), "too_many_tasks", None),
        (
            b"".join(row(str(i), body={"model": MODEL, "input": ["x"] * 2048}) for i in range(25)),
            "too_many_tasks",
            None,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_input_file_that_is_no_good_fails_the_batch_and_says_where(
    client: openai.OpenAI, content: bytes, code: str, line: int | None
):
    batch = run(client, content)
    assert batch.status == "failed"
    assert batch.output_file_id is None
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, line)
    assert batch.errors.data[0].message


def test_batches_are_listed_newest_first_page_by_page(client: openai.OpenAI):
    made = [submit(client, row(), number=str(number)).id for number in range(5)]
    page = client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:2:-1]
    assert page.has_more
    listed = [batch.id for batch, _ in zip(client.batches.list(limit=2), range(5), strict=False)]
    assert listed == made[::-1]
    with pytest.raises(openai.BadRequestError, match="limit"):
        client.batches.list(limit=101)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_file_id": "file-nope"}, "No such File"),
        ({"endpoint": "/v1/chat/completions"}, "only runs '/v1/embeddings'"),
        ({"completion_window": "1h"}, "24h"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "At most 16"),
        ({"metadata": {"k" * 65: "x"}}, "longer than 64"),
        ({"metadata": {"k": "x" * 513}}, "at most 512"),
        ({"metadata": {"k": 1}}, "expected a string"),
        ({"extra_body": {"surprise": 1}}, "Unknown parameter"),
        ({"endpoint": None}, "Missing required parameter: 'endpoint'"),
    ],
)
def test_a_batch_that_is_asked_for_wrongly_is_not_made(client: openai.OpenAI, changes: dict[str, Any], words: str):
    file_id = client.files.create(file=("a.jsonl", io.BytesIO(row())), purpose="batch").id
    newest = client.batches.list(limit=1).data
    asked = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"} | changes
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**asked)
    assert words in str(caught.value)
    assert [batch.id for batch in client.batches.list(limit=1).data] == [batch.id for batch in newest]


# Files --------------------------------------------------------------------------------------------
def test_files_are_kept_listed_and_deleted(client: openai.OpenAI):
    content = os.urandom(3 * 2**20)  # more than is spooled in memory
    file = client.files.create(file=("notes.bin", io.BytesIO(content)), purpose="user_data")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "notes.bin", "user_data")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == content
    assert [found.id for found in client.files.list(purpose="user_data")] == [file.id]
    assert client.files.delete(file.id).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File"):
            gone(file.id)


def test_files_are_listed_page_by_page_either_way(client: openai.OpenAI):
    made = [client.files.create(file=(f"{n}", io.BytesIO(b"x")), purpose="vision").id for n in range(5)]
    assert [file.id for file in client.files.list(purpose="vision", limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(purpose="vision", limit=2, order="asc")] == made


def test_a_request_file_must_be_jsonl_and_have_a_purpose(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
        client.files.create(file=("a.txt", io.BytesIO(b"x")), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="is not one of"):
        client.files.create(file=("a.txt", io.BytesIO(b"x")), purpose="nothing")  # type: ignore[arg-type]


# Embeddings ---------------------------------------------------------------------------------------
def test_base64_and_float_are_the_same_numbers(client: openai.OpenAI):
    texts = ["TAN WOON YANN", "Ünïcödé", "%"]
    floats = client.embeddings.create(input=texts, model=MODEL, dimensions=256, encoding_format="float")
    coded = client.embeddings.create(input=texts, model=MODEL, dimensions=256, encoding_format="base64")
    expected = embed(texts, 256)
    for index in range(3):
        raw = base64.b64decode(str(coded.data[index].embedding))
        assert raw == expected[index].tobytes()
        assert np.array_equal(np.array(floats.data[index].embedding, np.float32), expected[index])
    assert floats.usage.total_tokens == coded.usage.total_tokens > 0


@pytest.mark.parametrize(
    ("model", "dimension"),
    [("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072), ("text-embedding-ada-002", 1536)],
)
def test_each_model_has_its_own_dimension_unless_asked(client: openai.OpenAI, model: str, dimension: int):
    assert len(client.embeddings.create(input="x", model=model).data[0].embedding) == dimension


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"input": ""}, "empty string"),
        ({"input": []}, "too short"),
        ({"input": ["x"] * 2049}, "maximum array size is 2048"),
        ({"input": [1, 2, 3]}, "not token arrays"),
        ({"input": "word " * 10_000}, "maximum context length is 8192"),
        ({"input": ["word " * 6_000] * 45}, "max 300000 tokens per request"),
        ({"dimensions": 1537}, "between 1 and 1536"),
        ({"dimensions": 0}, "between 1 and 1536"),
        ({"model": "text-embedding-ada-002", "dimensions": 8}, "does not support specifying dimensions"),
        ({"encoding_format": "hex"}, "Supported values are"),
        ({"extra_body": {"surprise": 1}}, "Unknown parameter"),
    ],
)
def test_embeddings_beyond_the_limits_are_refused(client: openai.OpenAI, asked: dict[str, Any], words: str):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**{"input": "x", "model": MODEL, **asked})
    assert words in str(caught.value)


def test_models_say_what_stands_behind_them(client: openai.OpenAI):
    found = client.models.list().data
    assert MODEL in [model.id for model in found]
    assert all("lexical" in model.description for model in found)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.embeddings.create(input="x", model="gpt-nothing")


# Around -------------------------------------------------------------------------------------------
def test_a_key_is_needed_and_any_will_do(server: BatchServer):
    for header in ({}, {"authorization": "Bearer "}, {"authorization": "Basic abc"}):
        request = urllib.request.Request(f"{server.base_url}/models", headers=header)  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=5)  # noqa: S310
        assert caught.value.code == 401
        assert json.loads(caught.value.read())["error"]["code"] == "invalid_api_key"


def test_an_unknown_path_has_an_error_in_openais_shape(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError, match=r"Invalid URL \(GET /v1/nothing\)"):
        client.get("/nothing", cast_to=object)
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        client.batches.retrieve("batch_nope")


def test_a_server_that_cannot_start_says_why(server: BatchServer, tmp_path: Path):
    port = int(server.base_url.split(":")[2].split("/")[0])
    with pytest.raises(RuntimeError, match="Address already in use"):
        BatchServer(tmp_path / "second", port=port).start()


# Cancelling and starting again, at a pace that leaves time for it -----------------------------------
@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("slow"), speed=200) as running:  # 0.15, 0.6 and 0.15 seconds
        yield running


def patient(server: BatchServer) -> openai.OpenAI:
    return openai.OpenAI(api_key="any", base_url=server.base_url, max_retries=5, timeout=10)


def test_a_cancelled_batch_keeps_what_was_finished_and_names_the_rest(slow: BatchServer):
    client = patient(slow)
    content = b"".join(request_line(f"id-{i}", "x" * 400, model=MODEL, dimension=1536) for i in range(6_000))
    batch = wait_for(client, submit(client, content), "in_progress")
    while not (batch := client.batches.retrieve(batch.id)).request_counts.completed:
        pass
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert client.batches.cancel(batch.id).status == "cancelling"  # again: no harm
    batch = wait_for(client, batch)
    assert batch.status == "cancelled"
    done, left = results(client, batch.output_file_id), results(client, batch.error_file_id)
    assert 0 < len(done) < 6_000
    assert {row.custom_id for row in done} | {row.custom_id for row in left} == {f"id-{i}" for i in range(6_000)}
    assert len(done) + len(left) == 6_000
    assert {row.code for row in left if isinstance(row, RefusedRow)} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError, match="Cannot cancel"):
        client.with_options(max_retries=0).batches.cancel(batch.id)


def test_a_batch_cancelled_before_it_ran_has_no_files(slow: BatchServer):
    client = patient(slow)
    batch = submit(client, row())
    client.batches.cancel(batch.id)
    batch = wait_for(client, batch)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path):
    folder = tmp_path / "state"
    content = b"".join(request_line(f"id-{i}", f"text number {i}", model=MODEL, dimension=256) for i in range(2_500))
    with BatchServer(folder, speed=1000) as first:
        client = patient(first)
        done = run(client, request_file(10))
        batch = wait_for(client, submit(client, content, key="value"), "in_progress")
        while not client.batches.retrieve(batch.id).request_counts.completed:
            pass
        os.kill(first.pid or 0, signal.SIGKILL)
    with BatchServer(folder, speed=1000) as second:
        client = patient(second)
        assert client.batches.retrieve(done.id) == done
        assert len(results(client, done.output_file_id)) == 10
        batch = wait_for(client, batch)
        assert batch.metadata == {"key": "value"}
        assert batch.request_counts.completed == 2_500
        found = results(client, batch.output_file_id)
        assert sorted(row.custom_id for row in found) == sorted(f"id-{i}" for i in range(2_500))
        assert all(isinstance(row, EmbeddedRow) for row in found)


def test_deleting_the_input_file_does_not_stop_a_batch_that_runs(slow: BatchServer):
    client = patient(slow)
    batch = wait_for(client, submit(client, request_file(5)), "in_progress")
    client.files.delete(batch.input_file_id)
    assert wait_for(client, batch).request_counts.completed == 5
