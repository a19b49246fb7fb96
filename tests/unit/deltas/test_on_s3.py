"""Where S3 itself matters: conditional writes, delete markers, copies; and a producer that knows its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import boto3
import pytest
from moto import mock_aws
from siltstone.deltas import produce
from siltstone.deltas.listing import list_pending
from siltstone.deltas.produce import produce_deletes, produce_embedding_delta
from siltstone.deltas.quarantine import list_quarantined, quarantine_delta, replay
from siltstone.deltas.retire import retire_delta, with_earlier_life
from siltstone.deltas.writer import write_delta
from siltstone.errors import BadSettings
from siltstone.stores import Stores
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.objects_s3 import S3Objects

from tests.unit.deltas.house import House, upserts, vectors

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "DELTA_BUCKET": "deltas",
    "SILTSTONE_COLLECTIONS": json.dumps({"collections": {"texts": {"dimension": 4}}}),
}


@pytest.fixture
def bucket() -> Iterator[S3Objects]:
    with mock.patch.dict(os.environ, ENVIRONMENT), mock_aws():
        client = boto3.client("s3", config=CLIENT_CONFIG)
        client.create_bucket(Bucket="deltas")
        client.put_bucket_versioning(Bucket="deltas", VersioningConfiguration={"Status": "Enabled"})
        produce.producer_from_environment.cache_clear()
        yield S3Objects("deltas", client)
        produce.producer_from_environment.cache_clear()


@pytest.fixture
def stores(bucket: S3Objects) -> Stores:
    return replace(House().stores, deltas=bucket)


def test_a_derived_id_is_written_once_also_over_a_delete_marker(stores: Stores) -> None:
    clock = House().clock

    def write(seed: int) -> tuple[str, str | None]:
        rows = upserts(["a"], seed=seed)
        written = write_delta(rows, collection="texts", stores=stores, clock=clock, delta_id="batch-1")
        return written.delta_key, written.etag

    first = write(0)
    assert write(1) == first
    assert retire_delta(stores.deltas, first[0], first[1] or "") is True
    assert write(2) == (first[0], None)
    assert list(stores.deltas.list("")) == []
    stores.deltas.put(first[0], b"late", create_only=True)
    (pending,) = list_pending(stores.deltas, "texts", stores.settings).deltas
    assert with_earlier_life(stores.deltas, [pending]) == [pending]


def test_a_delta_goes_to_quarantine_and_comes_back(stores: Stores, tmp_path: Path) -> None:
    clock = House().clock
    write_delta(upserts(["a"]), collection="texts", stores=stores, clock=clock)
    (pending,) = list_pending(stores.deltas, "texts", stores.settings).deltas
    quarantine_delta(pending, "why", header=None, run="r", stores=stores, clock=clock)
    assert [note.records for note in list_quarantined(stores.deltas)] == [1]
    written = replay("texts", pending.delta_id, stores=stores, clock=clock, workspace=tmp_path)
    assert [found.key for found in stores.deltas.list("")] == [written.delta_key]


def test_a_producer_needs_nothing_but_its_environment(bucket: S3Objects) -> None:
    client = boto3.client("sqs", config=CLIENT_CONFIG)
    url = client.create_queue(QueueName="hints")["QueueUrl"]
    with mock.patch.dict(os.environ, {"DELTA_QUEUE_URL": url}):
        produced = produce_embedding_delta(
            ids=["a"], embeddings=vectors(1), documents=["x"], metadatas=[{"k": 1}], collection="texts"
        )
        produce_deletes(["a"], "texts")
    assert bucket.head(produced["delta_key"]) is not None
    (message,) = client.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"])["delta_key"] == produced["delta_key"]


def test_without_a_bucket_the_producer_is_told_what_to_set(bucket: S3Objects) -> None:
    del bucket
    with mock.patch.dict(os.environ), pytest.raises(BadSettings, match="DELTA_BUCKET"):
        del os.environ["DELTA_BUCKET"]
        produce_deletes(["a"], "texts")
