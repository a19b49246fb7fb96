"""Every fault that can be switched on does what it says to the real client, and is gone when it is cleared."""

from __future__ import annotations

import time
from collections.abc import Callable

import pinecone
import pytest
from pinecone.errors.exceptions import (
    ApiError,
    PineconeConnectionError,
    PineconeTimeoutError,
    RateLimitError,
    ServiceError,
)
from siltstone_local.pinecone_server import Faults, PineconeThread, ReplyFault

from tests.unit.pinecone_server.clients import impatient

MakeIndex = Callable[..., pinecone.Index]
LIST = "GET /vectors/list"


@pytest.fixture
def patient(make_index: MakeIndex) -> pinecone.Index:
    """With the retries that the client has by default."""
    index = make_index()
    index.upsert(vectors=[(f"v{i:02}", [1, 2, 3]) for i in range(30)])
    return index


@pytest.fixture
def index(patient: pinecone.Index) -> pinecone.Index:
    """That tries once."""
    return impatient(patient.host)


def ids(index: pinecone.Index) -> list[str]:
    return [item.id for page in index.list(limit=5) for item in page]


class Counted:
    """How many answers of a kind came since this was made."""

    def __init__(self, server: PineconeThread) -> None:
        self._server, self._before = server, server.requests()

    def __getitem__(self, kind: str) -> int:
        return self._server.requests().get(kind, 0) - self._before.get(kind, 0)


def test_a_throttled_request_says_when_to_come_back(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(replies=(ReplyFault(kind="429"),), retry_after_seconds=7))
    with pytest.raises(RateLimitError) as throttled:
        ids(index)
    assert throttled.value.retry_after == 7
    assert throttled.value.body["code"] == 8
    assert len(ids(index)) == 30


def test_every_nth_request_is_throttled(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(throttle_every_nth=3, retry_after_seconds=None))
    counted = Counted(server)
    statuses = []
    for _ in range(9):
        try:
            index.fetch(ids=["v00"])
            statuses.append(200)
        except RateLimitError as error:
            assert error.retry_after is None
            statuses.append(429)
    assert statuses == [200, 200, 429] * 3
    assert (counted["GET /vectors/fetch 200"], counted["GET /vectors/fetch 429"]) == (6, 3)


def test_the_client_comes_through_throttling_and_failures(server: PineconeThread, patient: pinecone.Index):
    server.set_faults(Faults(throttle_every_nth=4, fail_every_nth=5, retry_after_seconds=0.01))
    counted = Counted(server)
    assert len(ids(patient)) == 30
    assert counted[f"{LIST} 429"] > 0
    assert counted[f"{LIST} 500"] > 0


def test_requests_beyond_a_rate_are_throttled(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(requests_per_second=0.01))  # one, and the next in a hundred seconds
    index.fetch(ids=["v00"])
    for _ in range(3):
        with pytest.raises(RateLimitError):
            index.fetch(ids=["v00"])
    server.set_faults(Faults(requests_per_second=100_000))
    for _ in range(3):
        index.fetch(ids=["v00"])


@pytest.mark.parametrize("kind", ["500", "503"])
def test_a_failing_server(server: PineconeThread, index: pinecone.Index, kind: str):
    server.set_faults(Faults(replies=(ReplyFault.model_validate({"kind": kind}),)))
    with pytest.raises(ServiceError) as failed:
        ids(index)
    assert failed.value.status_code == int(kind)


def test_a_silent_server(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(replies=(ReplyFault(kind="timeout", seconds=30),)))
    with pytest.raises(PineconeTimeoutError):
        index.fetch(ids=["v00"], timeout=0.2)


def test_a_slow_server(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(delay_seconds=0.2))
    started = time.monotonic()
    index.fetch(ids=["v00"])
    assert time.monotonic() - started >= 0.2


def test_half_an_answer_is_an_error_and_not_half_a_page(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(cut_every_nth=2))
    counted = Counted(server)
    index.list_paginated()
    with pytest.raises(PineconeConnectionError):
        index.list_paginated()
    assert counted[f"{LIST} 0"] == 1


def test_a_lost_answer_was_done_all_the_same(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(replies=(ReplyFault(kind="lost", path="/vectors/upsert"),)))
    with pytest.raises(PineconeConnectionError):
        index.upsert(vectors=[("lost", [1, 2, 3])])
    assert index.fetch(ids=["lost"]).vectors.keys() == {"lost"}


def test_a_fault_waits_for_its_request(server: PineconeThread, index: pinecone.Index):
    server.set_faults(Faults(replies=(ReplyFault(kind="500", path="/vectors/*", method="GET", skip=2, times=2),)))
    index.query(vector=[1, 2, 3], top_k=1)
    outcomes = []
    for _ in range(6):
        try:
            index.fetch(ids=["v00"])
            outcomes.append("well")
        except ServiceError:
            outcomes.append("failed")
    assert outcomes == ["well", "well", "failed", "failed", "well", "well"]
    assert server.faults() == Faults()


def test_faults_leave_the_control_plane_alone(server: PineconeThread, client: pinecone.Pinecone, patient):
    server.set_faults(Faults(throttle_every_nth=1))
    assert client.describe_index("small").name == "small"
    server.clear_faults()
    assert len(ids(patient)) == 30


def test_a_thread_can_not_be_told_to_die(server: PineconeThread):
    with pytest.raises(OSError, match="400"):
        server.set_faults(Faults(replies=(ReplyFault(kind="die"),)))


def test_what_is_not_served_says_so(server: PineconeThread, index: pinecone.Index):
    with pytest.raises(ApiError, match="not served here"):
        index.search(namespace="n", inputs={"text": "coffee"}, top_k=3)
