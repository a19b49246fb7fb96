"""S3 on a bad day: what the adapter makes of refusals, lost replies and broken bodies."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from siltstone import keys
from siltstone.compaction.documents import Pin
from siltstone.compaction.pointer import promote, read_pointer
from siltstone.errors import BadSettings, InvalidInput, PreconditionFailed, StoreUnavailable
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.objects_s3 import S3Objects
from siltstone_local.aws import CREDENTIALS, REGION
from siltstone_local.emulator import Emulator

from tests.unit.stores.conftest import PART_BYTES
from tests.unit.stores.unkind_network import UnkindNetwork, unkind_network

V1, V2 = "20260101_000000_00000001", "20260101_010000_00000002"


def client_of(endpoint: str, attempts: int = 5) -> Any:
    config = CLIENT_CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": attempts}))
    return boto3.Session(region_name=REGION, **CREDENTIALS).client("s3", endpoint_url=endpoint, config=config)


@pytest.fixture
def network(emulator: Emulator) -> Iterator[tuple[UnkindNetwork, S3Objects]]:
    with unkind_network(emulator.port) as network:
        client = client_of(network.endpoint)
        bucket = f"bad-day-{os.urandom(4).hex()}"
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        network.seen.clear()
        yield network, S3Objects(bucket, client, part_bytes=PART_BYTES)


def test_a_lost_reply_of_a_create_only_put_looks_like_a_lost_race_and_reading_resolves_it(
    network: tuple[UnkindNetwork, S3Objects],
) -> None:
    unkind, store = network
    unkind.mishaps["PUT"] = ["lose the reply"]
    with pytest.raises(PreconditionFailed):
        store.put("k", b"mine", create_only=True)
    assert unkind.seen == ["PUT", "PUT"]  # botocore sent it again by itself
    assert store.get("k").body == b"mine"


def test_a_promotion_whose_reply_was_lost_is_known_to_have_happened(network: tuple[UnkindNetwork, S3Objects]) -> None:
    unkind, store = network
    etag = promote(store, "lines", pinned=Pin(version=None, etag=None), version=V1)
    unkind.mishaps["PUT"] = ["lose the reply"]
    second = promote(store, "lines", pinned=Pin(version=V1, etag=etag), version=V2)
    assert read_pointer(store, "lines") == Pin(version=V2, etag=second)
    assert len(list(store.list_versions(keys.pointer("lines")))) == 2


def test_a_conflict_is_sent_again(network: tuple[UnkindNetwork, S3Objects]) -> None:
    unkind, store = network
    unkind.mishaps["PUT"] = ["conflict", "conflict"]
    store.put("k", b"mine", create_only=True)
    assert store.get("k").body == b"mine"


def test_a_conflict_that_stays_makes_the_store_unavailable(network: tuple[UnkindNetwork, S3Objects]) -> None:
    unkind, store = network
    unkind.mishaps["PUT"] = ["conflict"] * 20
    with pytest.raises(StoreUnavailable, match="ConditionalRequestConflict"):
        store.put("k", b"mine", create_only=True)
    assert store.head("k") is None


def test_throttling_is_outlasted_or_reported_as_unavailable(network: tuple[UnkindNetwork, S3Objects]) -> None:
    unkind, store = network
    unkind.mishaps["PUT"] = ["slow down"]
    store.put("k", b"mine")
    impatient = S3Objects(store.bucket, client_of(unkind.endpoint, attempts=1))
    unkind.mishaps["GET"] = ["slow down"]
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        impatient.get("k")
    unkind.mishaps["GET"] = ["slow down"]
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        list(impatient.list("k"))


def test_no_connection_is_unavailable_and_names_the_request(emulator: Emulator) -> None:
    with unkind_network(emulator.port) as gone:
        pass  # nobody listens there any more
    with pytest.raises(StoreUnavailable, match="get_object nowhere/k"):
        S3Objects("nowhere", client_of(gone.endpoint, attempts=1)).get("k")


def test_a_bucket_that_does_not_exist_is_a_wrong_setting_not_a_missing_object(emulator: Emulator) -> None:
    store = S3Objects("no-such-bucket", emulator.client("s3"))
    with pytest.raises(BadSettings, match="no-such-bucket"):
        store.get("k")
    with pytest.raises(BadSettings, match="no-such-bucket"):
        store.put("k", b"", create_only=True)
    with pytest.raises(BadSettings, match="no-such-bucket"):
        list(store.list("k"))


def test_a_body_that_breaks_off_is_unavailable_never_a_short_body(network: tuple[UnkindNetwork, S3Objects]) -> None:
    unkind, store = network
    store.put("k", os.urandom(100_000))
    unkind.mishaps["GET"] = ["cut the body"]
    with pytest.raises(StoreUnavailable):
        store.get("k")


@pytest.mark.parametrize("place", [0, 1])
def test_a_range_that_breaks_off_is_fetched_again(
    network: tuple[UnkindNetwork, S3Objects], tmp_path: Path, place: int
) -> None:
    unkind, store = network
    body = os.urandom(PART_BYTES + 1_000)
    (tmp_path / "up").write_bytes(body)
    etag = store.put_file("k", tmp_path / "up", sha256=hashlib.sha256(body).hexdigest())
    unkind.seen.clear()

    unkind.mishaps["GET"] = [*["none"] * place, "cut the body"]
    store.get_file("k", tmp_path / "down", if_match=etag)
    assert (tmp_path / "down").read_bytes() == body
    assert len(unkind.seen) == 3


def test_a_stream_goes_on_after_a_body_that_broke_off_and_never_mixes_two(
    network: tuple[UnkindNetwork, S3Objects],
) -> None:
    unkind, store = network
    body = os.urandom(2 * PART_BYTES)
    store.put("file", body)
    unkind.mishaps["GET"] = ["cut the body", "none", "cut the body"]
    assert b"".join(store.stream("file")) == body
    pieces = store.stream("file")
    next(pieces)
    store.put("file", os.urandom(2 * PART_BYTES))
    with pytest.raises(PreconditionFailed):
        next(pieces)


def test_an_upload_in_parts_that_fails_leaves_no_parts_behind(emulator: Emulator, tmp_path: Path) -> None:
    client = emulator.client("s3")
    client.create_bucket(Bucket="parts-left")
    (tmp_path / "up").write_bytes(os.urandom(PART_BYTES + 1))
    with pytest.raises(InvalidInput):
        S3Objects("parts-left", client, part_bytes=PART_BYTES).put_file("k", tmp_path / "up", sha256="0" * 64)
    assert client.list_multipart_uploads(Bucket="parts-left").get("Uploads", []) == []


def test_the_service_itself_refuses_bytes_that_were_damaged_on_their_way(
    network: tuple[UnkindNetwork, S3Objects],
) -> None:
    _, store = network
    wrong = base64.b64encode(hashlib.sha256(b"whole").digest()).decode()
    with pytest.raises(StoreUnavailable, match="BadDigest"):
        store.call("put_object", "k", Body=b"damaged", ChecksumSHA256=wrong)
    assert store.head("k") is None
