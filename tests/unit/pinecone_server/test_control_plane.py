"""Indexes, through the real client: what is made, described, listed, protected and deleted."""

from __future__ import annotations

from collections.abc import Callable

import pinecone
import pytest
from pinecone.errors.exceptions import ConflictError, ForbiddenError, NotFoundError
from siltstone_local.pinecone_server import PineconeThread


def test_the_client_takes_a_plain_http_address_of_this_machine_without_a_warning(
    server: PineconeThread, recwarn: pytest.WarningsRecorder
):
    client = pinecone.Pinecone(api_key="any", host=server.base_url)
    assert server.base_url.startswith("http://127.0.0.1:")
    assert not client.has_index("nothing")
    assert not recwarn.list


def test_an_index_is_made_described_and_deleted(server: PineconeThread, client: pinecone.Pinecone):
    client.create_index(
        "made", dimension=8, metric="dotproduct", spec=pinecone.ServerlessSpec(cloud="aws", region="us-east-1")
    )
    index = client.describe_index("made")
    assert (index.dimension, index.metric, index.vector_type) == (8, "dotproduct", "dense")
    assert index.status.ready
    assert index.spec.serverless is not None
    assert index.host == server.host("made")
    client.delete_index("made")
    assert not client.has_index("made")


def test_the_host_that_is_described_serves_the_index(make_index: Callable[..., pinecone.Index], client):
    make_index("hosted").upsert(vectors=[("a", [1, 0, 0])])
    assert client.Index("hosted").describe_index_stats().total_vector_count == 1


def test_a_pod_based_index_is_described_as_one(client: pinecone.Pinecone):
    spec = pinecone.PodSpec(environment="us-east1-gcp", pod_type="p1.x1", pods=1)
    client.create_index("pods", dimension=8, metric="euclidean", spec=spec)
    index = client.describe_index("pods")
    assert index.metric == "euclidean"
    assert index.spec.pod is not None
    assert index.spec.serverless is None
    client.delete_index("pods")


def test_an_index_of_sparse_vectors_has_no_dimension(make_index: Callable[..., pinecone.Index], client):
    make_index("sparse", dimension=None, metric="dotproduct")
    index = client.describe_index("sparse")
    assert (index.dimension, index.metric, index.vector_type) == (None, "dotproduct", "sparse")


def test_indexes_are_listed_by_name(make_index: Callable[..., pinecone.Index], client: pinecone.Pinecone):
    for name in ("second", "first"):
        make_index(name)
    assert [name for name in client.list_indexes().names() if name in ("first", "second")] == ["first", "second"]


def test_what_does_not_exist_is_not_found(client: pinecone.Pinecone, server: PineconeThread):
    with pytest.raises(NotFoundError, match="nothing"):
        client.describe_index("nothing")
    with pytest.raises(NotFoundError, match="nothing"):
        client.Index(host=server.host("nothing")).describe_index_stats()


def test_a_name_is_taken_once(make_index: Callable[..., pinecone.Index], client: pinecone.Pinecone):
    make_index("taken")
    with pytest.raises(ConflictError):
        client.create_index("taken", dimension=3, spec=pinecone.ServerlessSpec(cloud="aws", region="us-east-1"))


def test_a_protected_index_is_not_deleted(make_index: Callable[..., pinecone.Index], client: pinecone.Pinecone):
    make_index("kept")
    client.configure_index("kept", deletion_protection="enabled")
    with pytest.raises(ForbiddenError, match="Deletion protection"):
        client.delete_index("kept")
    client.configure_index("kept", deletion_protection="disabled")
    client.delete_index("kept")
