"""A takeover over the S3 and DynamoDB adapters: what holds in memory holds on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from siltstone import keys
from siltstone.compaction.pointer import read_pointer
from siltstone.errors import InvalidInput, PointerMissing
from siltstone.migration import takeover
from siltstone.migration.takeover import take_over
from siltstone.migration.takeover_reader import prepare_here
from siltstone.migration.takeover_source import BucketPrefix, LocalDirectory
from siltstone.snapshots.chroma import open_chroma, persistent_client
from siltstone.stores import Stores
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.objects_s3 import S3Objects
from siltstone_local.emulator import Emulator

from tests.unit.scrub.house import COLLECTION, DIMENSION, House


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    with Emulator(tmp_path / "emulator") as running:
        dynamo, s3 = running.client("dynamodb"), running.client("s3")
        dynamo.create_table(
            TableName="locks",
            KeySchema=[{"AttributeName": "lock_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "lock_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for bucket in ("snapshots", "theirs"):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield replace(
            House(tmp_path / "house", open_store=open_chroma).stores,
            snapshots=S3Objects("snapshots", s3),
            deltas=S3Objects("theirs", s3),
            leases=DynamoLeases("locks", dynamo),
        )


def test_a_bucket_is_taken_over_once_and_a_lost_pointer_is_not_healed(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "prepare", prepare_here)
    house = House(tmp_path / "clock")
    for name, seed in (("old", 0), ("another", 1)):
        with closing(persistent_client(tmp_path / name)) as client:
            made = client.create_collection("receipt_lines", configuration={"hnsw": {"space": "cosine"}})
            rows = np.random.default_rng(seed).normal(size=(20, DIMENSION)).astype(np.float32)
            made.upsert([f"r{place}" for place in range(20)], rows)
    theirs = stores.deltas
    for path in (tmp_path / "old").rglob("*"):
        if path.is_file():
            theirs.put(f"snapshots/20240803_130000/{path.relative_to(tmp_path / 'old').as_posix()}", path.read_bytes())
    theirs.put("snapshots/latest/pointer.txt", b"snapshots/20240803_130000/")
    bucket = BucketPrefix(theirs, "snapshots/", "s3://theirs/snapshots/")

    done = take_over(bucket, COLLECTION, stores, house.clock, workspace=tmp_path / "w")
    assert (done.rows, read_pointer(stores.snapshots, COLLECTION).version) == (20, done.version)
    again = take_over(bucket, COLLECTION, stores, house.clock, workspace=tmp_path / "w")
    assert (again.version, again.already) == (done.version, True)
    with pytest.raises(InvalidInput, match="a version already"):
        take_over(LocalDirectory(tmp_path / "another"), COLLECTION, stores, house.clock, workspace=tmp_path / "w")
    stores.snapshots.delete(keys.pointer(COLLECTION))
    with pytest.raises(PointerMissing):
        take_over(bucket, COLLECTION, stores, house.clock, workspace=tmp_path / "w")
