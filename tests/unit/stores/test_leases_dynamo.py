"""DynamoDB on a bad day: a write whose reply was lost is sent again by botocore and must not count twice."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from siltstone.errors import LockBusy, StoreUnavailable
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone_local.aws import CREDENTIALS, REGION
from siltstone_local.emulator import Emulator

from tests.unit.stores.conftest import make_lock_table
from tests.unit.stores.unkind_network import UnkindNetwork, unkind_network

LOCK = "compaction#lines"
NOW = 1_700_000_000.5


@pytest.fixture
def network(emulator: Emulator) -> Iterator[tuple[UnkindNetwork, DynamoLeases]]:
    with unkind_network(emulator.port) as network:
        session = boto3.Session(region_name=REGION, **CREDENTIALS)
        yield (
            network,
            make_lock_table(session.client("dynamodb", endpoint_url=network.endpoint, config=CLIENT_CONFIG)),
        )


def test_a_lost_reply_of_an_acquisition_takes_one_token(network: tuple[UnkindNetwork, DynamoLeases]) -> None:
    unkind, leases = network
    unkind.mishaps["POST"] = ["none", "lose the reply"]  # the read, the write
    lease = leases.acquire(LOCK, "a", now=NOW, seconds=1200, floor=0)
    assert (lease.token, lease.owner) == (1, "a")
    with pytest.raises(LockBusy):
        leases.acquire(LOCK, "b", now=NOW, seconds=1200, floor=0)


def test_a_lost_reply_of_a_renewal_is_no_lost_lock(network: tuple[UnkindNetwork, DynamoLeases]) -> None:
    unkind, leases = network
    leases.acquire(LOCK, "a", now=NOW, seconds=1200, floor=0)
    unkind.mishaps["POST"] = ["lose the reply"]
    assert leases.renew(LOCK, "a", 1, now=NOW + 5, seconds=1200).expires == NOW + 1205


def test_a_table_that_does_not_answer_is_unavailable(network: tuple[UnkindNetwork, DynamoLeases]) -> None:
    unkind, leases = network
    unkind.mishaps["POST"] = ["slow down"] * 5
    with pytest.raises(StoreUnavailable, match=LOCK):
        leases.read(LOCK)


def test_a_renewal_between_the_reading_and_the_taking_keeps_the_lock_where_it_is(emulator: Emulator) -> None:
    """Owner and token still match what was read; only the expiry tells that the holder is alive."""
    client = boto3.Session(region_name=REGION, **CREDENTIALS).client("dynamodb", endpoint_url=emulator.endpoint)
    holder = make_lock_table(emulator.client("dynamodb"))
    holder.acquire(LOCK, "a", now=NOW, seconds=1200, floor=0)

    def renew_first(**_: object) -> None:
        holder.renew(LOCK, "a", 1, now=NOW + 1201, seconds=1200)

    client.meta.events.register("before-call.dynamodb.PutItem", renew_first)
    with pytest.raises(LockBusy):
        DynamoLeases(holder.table, client).acquire(LOCK, "b", now=NOW + 1201, seconds=1200, floor=0)
    assert holder.renew(LOCK, "a", 1, now=NOW + 1202, seconds=1200).owner == "a"
