"""Listing, fetching and counting 20,000 vectors in 3 namespaces, through the real client."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import httpx
import pinecone
import pytest
from pinecone.errors.exceptions import ApiError, PineconeValueError, UnauthorizedError
from siltstone_local.pinecone_server import Faults, PineconeThread, Seeded, Vector
from siltstone_local.pinecone_server.seed import AWKWARD_IDS, OLD_METADATA

from tests.unit.pinecone_server.clients import same

NAMESPACES = ("words", "lines", "")


def listed(index: pinecone.Index, namespace: str, **options: object) -> list[str]:
    return [item.id for page in index.list(namespace=namespace, **options) for item in page.vectors]


def test_the_statistics_count_each_namespace(receipts: pinecone.Index):
    stats = receipts.describe_index_stats()
    assert (stats.total_vector_count, stats.dimension, stats.metric) == (20_000, 64, "cosine")
    counts = {name: summary.vector_count for name, summary in stats.namespaces.items()}
    assert counts == {"words": 12_000, "lines": 7_000, "__default__": 1_000}


def test_namespaces_are_listed_in_pages(receipts: pinecone.Index):
    pages = list(receipts.list_namespaces(limit=2))
    assert [[(n.name, n.record_count) for n in page] for page in pages] == [
        [("__default__", 1_000), ("lines", 7_000)],
        [("words", 12_000)],
    ]
    assert pages[0].total_count == 3
    assert receipts.describe_namespace(name="__default__").record_count == 1_000


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_id_is_listed_once_in_the_order_of_its_bytes(receipts: pinecone.Index, seeded: Seeded, namespace: str):
    assert listed(receipts, namespace) == sorted(seeded.namespaces[namespace])


def test_the_nameless_namespace_has_a_name(receipts: pinecone.Index, seeded: Seeded):
    assert listed(receipts, "__default__") == sorted(seeded.namespaces[""])


def test_a_page_holds_a_hundred_ids_and_the_token_of_the_next(receipts: pinecone.Index):
    first = receipts.list_paginated(namespace="words")
    assert len(first.vectors) == 100
    second = receipts.list_paginated(namespace="words", pagination_token=first.pagination.next, limit=7)
    assert len(second.vectors) == 7
    assert first.vectors[-1].id < second.vectors[0].id


def test_a_last_page_that_is_full_has_no_token(make_index: Callable[..., pinecone.Index]):
    index = make_index()
    index.upsert(vectors=[(f"v{i:02}", [1, 2, 3]) for i in range(20)])
    assert [len(page.vectors) for page in index.list(limit=10)] == [10, 10]


@pytest.mark.parametrize("prefix", ["IMAGE#00000001", "upper", "x", "'", "no such id", ""])
def test_ids_are_listed_by_prefix(receipts: pinecone.Index, seeded: Seeded, prefix: str):
    assert listed(receipts, "words", prefix=prefix) == sorted(
        id_ for id_ in seeded.namespaces["words"] if id_.startswith(prefix)
    )


def test_a_token_stays_good_while_vectors_come_and_go(make_index: Callable[..., pinecone.Index]):
    index = make_index()
    index.upsert(vectors=[(f"v{i:02}", [1, 2, 3]) for i in range(20)])
    page = index.list_paginated(limit=10)
    index.delete(ids=[page.vectors[-1].id])
    index.upsert(vectors=[("v00a", [1, 2, 3]), ("v09a", [1, 2, 3])])
    following = index.list_paginated(limit=3, pagination_token=page.pagination.next)
    assert [item.id for item in following.vectors] == ["v09a", "v10", "v11"]


def test_a_namespace_that_does_not_exist_is_empty(receipts: pinecone.Index):
    assert listed(receipts, "nowhere") == []
    assert receipts.fetch(ids=["a"], namespace="nowhere").vectors == {}
    assert receipts.query(vector=[1.0] * 64, top_k=3, namespace="nowhere").matches == []


@pytest.mark.parametrize("limit", ["0", "101", "ten", "-1"])
def test_a_limit_beyond_a_hundred_is_refused_by_the_server_as_by_the_client(
    server: PineconeThread, receipts: pinecone.Index, limit: str
):
    with pytest.raises(PineconeValueError):
        receipts.list_paginated(namespace="words", limit=101)
    reply = httpx.get(f"{server.host('receipts')}/vectors/list", params={"limit": limit}, headers={"Api-Key": "any"})
    assert (reply.status_code, reply.json()["code"]) == (400, 3)


def test_a_broken_token_is_refused(receipts: pinecone.Index):
    with pytest.raises(ApiError, match="pagination token"):
        receipts.list_paginated(namespace="words", pagination_token="nonsense")


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_what_is_fetched_is_what_was_kept_to_the_bit(receipts: pinecone.Index, seeded: Seeded, namespace: str):
    kept: Mapping[str, Vector] = seeded.namespaces[namespace]
    ids = [*sorted(kept.keys() - set(AWKWARD_IDS))[:: len(kept) // 600 + 1], *AWKWARD_IDS]
    fetched = receipts.fetch(ids=ids, namespace=namespace).vectors
    assert fetched.keys() == set(ids)
    assert [id_ for id_ in ids if not same(fetched[id_], kept[id_])] == []


def test_the_awkward_is_there(seeded: Seeded):
    words = seeded.namespaces["words"].values()
    kinds = {type(value) for vector in words for value in (vector.metadata or {}).values()}
    assert kinds == {str, float, bool, list}
    assert any(vector.metadata is None for vector in words)
    assert any(vector.metadata == {} for vector in words)
    assert sum(vector.sparse is not None for vector in words) == 240


def test_ids_that_do_not_exist_are_not_fetched(receipts: pinecone.Index):
    assert receipts.fetch(ids=["upper", "neither", "upper"], namespace="words").vectors.keys() == {"upper"}


def test_a_thousand_ids_are_fetched_at_once_and_no_more(make_index: Callable[..., pinecone.Index]):
    index, ids = make_index(), [f"v{i}" for i in range(1001)]
    index.upsert(vectors=[(id_, [1, 2, 3]) for id_ in ids[:1000]])
    assert len(index.fetch(ids=ids[:1000]).vectors) == 1000
    with pytest.raises(ApiError, match="the limit is 1000"):
        index.fetch(ids=ids)


def test_the_client_itself_sends_no_url_of_more_than_64_kilobytes(receipts: pinecone.Index, seeded: Seeded):
    with pytest.raises(httpx.InvalidURL):  # no error of Pinecone's, and never sent
        receipts.fetch(ids=sorted(seeded.namespaces["lines"])[-1000:], namespace="lines")


def test_a_url_that_is_too_long_is_refused_by_what_stands_in_front(
    server: PineconeThread, receipts: pinecone.Index, seeded: Seeded
):
    server.set_faults(Faults(max_url_bytes=8192))
    ids = sorted(seeded.namespaces["lines"])[:200]
    with pytest.raises(ApiError, match="Request-URI Too Large") as refused:
        receipts.fetch(ids=ids, namespace="lines")
    assert refused.value.status_code == 414
    assert len(receipts.fetch(ids=ids[:50], namespace="lines").vectors) == 50


def test_vectors_are_fetched_by_their_metadata_in_pages(receipts: pinecone.Index, seeded: Seeded):
    wanted = {"merchant_name": "COSTCO", "valid": True}
    found: list[str] = []
    token = None
    while True:
        page = receipts.fetch_by_metadata(filter=wanted, namespace="", limit=30, pagination_token=token)
        found += page.vectors
        token = page.pagination and page.pagination.next
        if token is None:
            break
    matching = [
        id_
        for id_, vector in seeded.namespaces[""].items()
        if vector.metadata and all(vector.metadata.get(key) == value for key, value in wanted.items())
    ]
    assert sorted(found) == sorted(matching)
    assert len(found) > 60


def test_without_a_key_nothing_is_answered(server: PineconeThread, seeded: Seeded):
    reply = httpx.get(f"{server.host(seeded.index)}/vectors/list")
    assert (reply.status_code, reply.text) == (401, "Unauthorized")
    client = pinecone.Pinecone(api_key="any", host=server.base_url, additional_headers={"Api-Key": ""})
    with pytest.raises(UnauthorizedError):
        client.describe_index(seeded.index)


def test_a_pod_based_index_refuses_to_list_and_still_fetches(server: PineconeThread, client: pinecone.Pinecone):
    seeded = server.fill("pods", vectors=100, pod_based=True)
    index = client.Index("pods")
    with pytest.raises(ApiError, match="only for serverless") as refused:
        listed(index, "words")
    assert refused.value.status_code == 400
    with pytest.raises(ApiError, match="only for serverless"):
        list(index.list_namespaces())
    assert len(index.fetch(ids=list(seeded.namespaces["words"]), namespace="words").vectors) == 60
    valid = index.describe_index_stats(filter={"valid": True}).total_vector_count
    assert 0 < valid < 100


def test_a_serverless_index_refuses_to_filter_its_statistics(receipts: pinecone.Index):
    with pytest.raises(ApiError, match="Serverless"):
        receipts.describe_index_stats(filter={"valid": True})


def test_an_old_index_may_hold_what_is_refused_today(server: PineconeThread, client: pinecone.Pinecone):
    seeded = server.fill("old", vectors=200, old_metadata=True)
    fetched = client.Index("old").fetch(ids=list(seeded.namespaces["words"]), namespace="words").vectors.values()
    for metadata in OLD_METADATA:
        assert sum(vector.metadata == metadata for vector in fetched) == 1


def test_the_same_seed_fills_an_index_with_the_same(server: PineconeThread):
    one, other, another = (server.fill(name, vectors=40, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    values = [[vector.dense.tobytes() for vector in s.namespaces["words"].values()] for s in (one, other, another)]
    assert values[0] == values[1] != values[2]
    assert all(math.isfinite(x) for vector in one.namespaces["words"].values() for x in vector.dense)
