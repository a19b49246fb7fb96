"""Every fault that can be switched on does what it says, once, and is gone when it is cleared."""

from __future__ import annotations

import io
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator

import numpy as np
import openai
import pytest
from openai.types import Batch
from siltstone.embedding.requests import EmbeddedRow, MalformedRow, RefusedRow, ResultRow
from siltstone_local.batch_server import BatchFaults, BatchServer, Faults, ReplyFault

from tests.unit.local.batch_files import MODEL, request_file, results, run, submit, wait_for

ALL = {f"id-{i}" for i in range(10)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("faulty-server"), speed=3000) as server:
        yield server


@pytest.fixture
def server(running: BatchServer) -> Iterator[BatchServer]:
    yield running
    running.clear_faults()


@pytest.fixture
def client(server: BatchServer) -> openai.OpenAI:
    return openai.OpenAI(api_key="any", base_url=server.base_url, max_retries=0, timeout=20)


def faulty(server: BatchServer, client: openai.OpenAI, faults: BatchFaults) -> tuple[Batch, list[ResultRow]]:
    """Run ten rows under ``faults``: the batch and its output rows."""
    server.set_faults(Faults(batch=faults, batches=1))
    batch = run(client, request_file(10))
    assert server.faults().batches == 0
    return batch, results(client, batch.output_file_id)


def ids(rows: list[ResultRow]) -> Counter[str | None]:
    return Counter(row.custom_id for row in rows)


def test_a_fault_for_one_batch_spares_the_next(server: BatchServer, client: openai.OpenAI):
    faulty(server, client, BatchFaults(fail_validation=True))
    assert run(client, request_file(2)).status == "completed"


def test_fail_validation(server: BatchServer, client: openai.OpenAI):
    batch, _ = faulty(server, client, BatchFaults(fail_validation=True))
    assert batch.status == "failed"
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == ("invalid_json_line", 1)


def test_token_limit_exceeded(server: BatchServer, client: openai.OpenAI):
    batch, _ = faulty(server, client, BatchFaults(token_limit_exceeded=True))
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "token_limit_exceeded"
    assert "Enqueued token limit" in batch.errors.data[0].message


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_end_half_done(server: BatchServer, client: openai.OpenAI, end: str):
    batch, rows = faulty(server, client, BatchFaults(end_half_done=end))
    errors = results(client, batch.error_file_id)
    assert batch.status == end
    assert (len(rows), len(errors)) == (5, 5)
    assert set(ids(rows)) | set(ids(errors)) == ALL
    assert all(isinstance(row, RefusedRow) and row.code == f"batch_{end}" and row.status is None for row in errors)


def test_drop_rows(server: BatchServer, client: openai.OpenAI):
    batch, rows = faulty(server, client, BatchFaults(drop_rows=3))
    assert (len(rows), batch.error_file_id, batch.request_counts.completed) == (7, None, 10)


def test_repeat_rows(server: BatchServer, client: openai.OpenAI):
    _, rows = faulty(server, client, BatchFaults(repeat_rows=2))
    assert sorted(ids(rows).values()) == [1] * 8 + [2, 2]


def test_unknown_rows(server: BatchServer, client: openai.OpenAI):
    batch, rows = faulty(server, client, BatchFaults(unknown_rows=2))
    assert set(ids(rows)) - ALL == {"nobody-sent-this-0", "nobody-sent-this-1"}
    assert set(ids(rows)) >= ALL
    assert batch.request_counts.completed == 10


@pytest.mark.parametrize(("order", "step"), [("input", 1), ("reversed", -1)])
def test_other_orders(server: BatchServer, client: openai.OpenAI, order: str, step: int):
    _, rows = faulty(server, client, BatchFaults(order=order))
    assert [row.custom_id for row in rows] == [f"id-{i}" for i in range(10)][::step]


def test_vectors_that_are_no_good(server: BatchServer, client: openai.OpenAI):
    _, rows = faulty(server, client, BatchFaults(other_dimension_rows=1, nan_rows=2, zero_rows=3))
    vectors = [row.vector for row in rows if isinstance(row, EmbeddedRow)]
    assert len(vectors) == 10
    assert Counter(len(vector) for vector in vectors) == {16: 9, 15: 1}
    assert sum(bool(np.isnan(vector).any()) for vector in vectors) == 2
    assert sum(not vector.any() for vector in vectors) == 3


def test_garbled_rows(server: BatchServer, client: openai.OpenAI):
    _, rows = faulty(server, client, BatchFaults(garbled_rows=2))
    assert sum(isinstance(row, MalformedRow) for row in rows) == 2
    assert len(rows) == 10


def test_refused_rows(server: BatchServer, client: openai.OpenAI):
    batch, rows = faulty(server, client, BatchFaults(refused_rows=4, refused_status=429))
    errors = results(client, batch.error_file_id)
    assert (len(rows), len(errors), batch.request_counts.failed) == (6, 4, 4)
    assert all(isinstance(row, RefusedRow) and row.status == 429 for row in errors)


@pytest.mark.parametrize(("kind", "error"), [("429", openai.RateLimitError), ("500", openai.InternalServerError)])
def test_an_error_for_the_next_requests_of_a_path(
    server: BatchServer, client: openai.OpenAI, kind: str, error: type[openai.APIStatusError]
):
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/embeddings", kind=kind, times=2),)))
    client.batches.list(limit=1)  # another path is spared
    for _ in range(2):
        with pytest.raises(error):
            client.embeddings.create(input="x", model=MODEL)
    client.embeddings.create(input="x", model=MODEL)
    assert server.faults() == Faults()


def test_an_error_for_a_whole_folder_and_one_method(server: BatchServer, client: openai.OpenAI):
    batch = submit(client, request_file(1))
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/batches/*", method="GET", kind="503", times=1),)))
    client.batches.list(limit=1)
    with pytest.raises(openai.InternalServerError):
        client.batches.retrieve(batch.id)
    assert client.batches.retrieve(batch.id).id == batch.id


def test_an_upload_is_refused_properly_while_it_is_being_sent(server: BatchServer, client: openai.OpenAI):
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/files", kind="429"),)))
    with pytest.raises(openai.RateLimitError):
        client.files.create(file=("a.jsonl", io.BytesIO(b"x" * 5_000_000)), purpose="batch")


def test_a_time_out_does_nothing(server: BatchServer, client: openai.OpenAI):
    file_id = client.files.create(file=("a.jsonl", io.BytesIO(request_file(1))), purpose="batch").id
    before = client.batches.list(limit=1).data
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/batches", method="POST", kind="timeout"),)))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).batches.create(
            input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h"
        )
    assert [batch.id for batch in client.batches.list(limit=1).data] == [batch.id for batch in before]


def test_a_lost_reply_did_make_the_batch(server: BatchServer, client: openai.OpenAI):
    file_id = client.files.create(file=("a.jsonl", io.BytesIO(request_file(3))), purpose="batch").id
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/batches", method="POST", kind="lost"),)))
    with pytest.raises(openai.APIConnectionError):
        client.batches.create(
            input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h", metadata={"mine": "1"}
        )
    (batch,) = [batch for batch in client.batches.list(limit=5) if batch.input_file_id == file_id]
    assert batch.metadata == {"mine": "1"}
    assert wait_for(client, batch).request_counts.completed == 3


def test_a_new_batch_is_listed_late(server: BatchServer, client: openai.OpenAI):
    server.set_faults(Faults(list_lag_seconds=3600))
    batch = submit(client, request_file(1))
    assert batch.id not in [listed.id for listed in client.batches.list()]
    assert client.batches.retrieve(batch.id).id == batch.id
    time.sleep(0.01)
    server.set_faults(Faults(list_lag_seconds=0.01))
    assert batch.id in [listed.id for listed in client.batches.list()]


def test_a_misspelt_fault_is_refused_and_changes_nothing(server: BatchServer):
    server.set_faults(Faults(list_lag_seconds=1))
    with pytest.raises(urllib.error.HTTPError, match="400"):
        server._call("POST", "/_faults", b'{"bach": {}}')
    assert server.faults() == Faults(list_lag_seconds=1)
    server.clear_faults()
    assert server.faults() == Faults()
