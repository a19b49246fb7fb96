"""The stores under contract: each in memory, on moto and on the emulated AWS, so that the twins can't drift apart."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any
from unittest import mock

import boto3
import pytest
from moto import mock_aws
from siltstone.clock import SystemClock
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.leases import LeaseStore
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.objects import ObjectStore
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.objects_s3 import S3Objects
from siltstone_local.emulator import Emulator

PART_BYTES = 5 * 2**20  # the least that S3 takes for a part
_ACCOUNT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
_names = count()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


class _OneAtATime:
    """A client whose calls wait for each other: moto's conditions are not atomic between threads, AWS's are."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **request: Any) -> Any:
            with self._lock:
                return found(*arguments, **request)

        return call


@pytest.fixture
def moto_client() -> Iterator[Any]:
    with mock.patch.dict(os.environ, _ACCOUNT), mock_aws():
        yield lambda service: _OneAtATime(boto3.client(service, config=CLIENT_CONFIG))


def _client(request: pytest.FixtureRequest, service: str) -> Any:
    """A client of the store that the test's parameter names; ``None`` for the one in memory."""
    if request.param == "moto":
        return request.getfixturevalue("moto_client")(service)
    if request.param == "emulator":
        return request.getfixturevalue("emulator").client(service)
    return None


def _make_bucket(client: Any) -> ObjectStore:
    if client is None:
        return MemoryObjects(SystemClock())
    name = f"objects-{next(_names)}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return S3Objects(name, client, part_bytes=PART_BYTES)


@pytest.fixture(params=["memory", "moto", "emulator"])
def objects(request: pytest.FixtureRequest) -> ObjectStore:
    return _make_bucket(_client(request, "s3"))


@pytest.fixture(params=["memory", "emulator"])
def strict_objects(request: pytest.FixtureRequest) -> ObjectStore:
    """Without moto, which ignores CopySourceIfMatch, takes a wrong SHA-256 and skips an entry after a KeyMarker."""
    return _make_bucket(_client(request, "s3"))


@pytest.fixture(params=["memory", "moto", "emulator"])
def two_buckets(request: pytest.FixtureRequest) -> tuple[ObjectStore, ObjectStore]:
    client = _client(request, "s3")
    return _make_bucket(client), _make_bucket(client)


@pytest.fixture(params=["memory", "moto", "emulator"])
def leases(request: pytest.FixtureRequest) -> LeaseStore:
    client = _client(request, "dynamodb")
    return MemoryLeases() if client is None else make_lock_table(client)


def make_lock_table(client: Any) -> DynamoLeases:
    name = f"locks-{next(_names)}"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "lock_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "lock_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return DynamoLeases(name, client)
