"""The whole commit path over the S3 adapter: what holds in memory holds on the wire."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from siltstone import keys
from siltstone.compaction.documents import Plan, StagedFile, Work
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import PromotePointerInput
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.rollback import rollback
from siltstone.compaction.staging import read_document, write_document
from siltstone.compaction.upload import upload
from siltstone.errors import PointerMissing, PointerMoved
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.objects_s3 import S3Objects
from siltstone_local.emulator import Emulator

from tests.unit.compaction.commit_path import FILES, GOOD, House

PART_BYTES = 5 * 2**20
_names = count()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator")) as running:
        running.client("dynamodb").create_table(
            TableName="locks",
            KeySchema=[{"AttributeName": "lock_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "lock_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield running


@pytest.fixture
def house(emulator: Emulator) -> House:
    name = f"collection-{next(_names)}"
    house = House(collection=name)
    buckets: list[S3Objects] = []
    for kind in ("deltas", "snapshots"):
        emulator.client("s3").create_bucket(Bucket=f"{kind}-{name}")
        emulator.client("s3").put_bucket_versioning(
            Bucket=f"{kind}-{name}", VersioningConfiguration={"Status": "Enabled"}
        )
        buckets.append(S3Objects(f"{kind}-{name}", emulator.client("s3"), part_bytes=PART_BYTES))
    house.deltas, house.snapshots = buckets  # type: ignore[assignment]
    house.stores = replace(
        house.stores,
        deltas=buckets[0],
        snapshots=buckets[1],
        leases=DynamoLeases("locks", emulator.client("dynamodb")),
    )
    return house


def test_versions_follow_each_other_and_their_deltas_go(house: House) -> None:
    first = house.compact("a", house.delta("d1"))
    house.delta("d3")
    second = house.compact("b", house.delta("d2"), files={"chroma.sqlite3": b"more rows"})
    assert house.pin().version == second
    assert house.pending() == ["d3"]
    manifest = read_manifest(house.snapshots, house.collection, second)
    assert (manifest.parent, manifest.token) == (first, 2)
    restored = rollback(house.collection, first, house.stores, house.clock).version
    assert {path: house.read(restored, path) for path in FILES} == FILES


def test_of_two_runs_from_one_pin_one_promotes(house: House) -> None:
    house.compact("a")
    stale = house.publish(house.acquire("b"))
    house.release(stale.run)
    current = house.compact("c")
    lock_id = f"compaction#{house.collection}"
    item = house.stores.leases.read(lock_id)
    assert item is not None
    house.stores.leases._client.delete_item(  # type: ignore[attr-defined]
        TableName="locks", Key={"lock_id": {"S": lock_id}}
    )
    house.stores.leases.acquire(lock_id, stale.run.owner, now=house.clock.now(), seconds=1200, floor=1)
    with pytest.raises(PointerMoved):
        promote_pointer(stale, house.stores, house.clock)
    assert house.pin().version == current


def test_a_deleted_pointer_is_missing_and_stays_so(house: House) -> None:
    house.compact("a")
    request = house.publish(house.acquire("b"))
    house.snapshots.delete(keys.pointer(house.collection))
    with pytest.raises(PointerMissing):
        promote_pointer(request, house.stores, house.clock)
    with pytest.raises(PointerMissing):
        house.pin()


def test_a_file_that_was_staged_in_parts_is_copied_and_checked_as_one(house: House, tmp_path: Path) -> None:
    run = house.acquire("a")
    request = house.stage(run)
    body = os.urandom(2 * PART_BYTES + 5)
    (tmp_path / "large").write_bytes(body)
    sha256 = hashlib.sha256(body).hexdigest()
    key = keys.staging(house.collection, run.run_id, "Merge", "2") + "large"
    etag = house.snapshots.put_file(key, tmp_path / "large", sha256=sha256)
    work = Work(
        parts_done=len(read_document(house.snapshots, request.plan, Plan).parts),
        counts=read_document(house.snapshots, request.sealed, Work).counts,
        dead_slots=0,
        files=[StagedFile(path="large", key=key, etag=etag, size=len(body), sha256=sha256)],
        checks=GOOD,
    )
    sealed = write_document(house.snapshots, key + ".json", work)
    manifest = upload(request.model_copy(update={"sealed": sealed}), house.stores, house.clock).manifest
    promote_pointer(PromotePointerInput(run=run, plan=request.plan, manifest=manifest), house.stores, house.clock)
    house.snapshots.get_file(keys.version(house.collection, run.version) + "large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == body
