"""Two collections in memory, and an index over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from siltstone import Client, connect
from siltstone.pinecone_like import Index

from tests.unit.query.house import CHROMA, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house", CHROMA, collections=("receipts", "words"))
    yield house
    house.close()


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with connect(stores=house.stores, clock=house.clock) as client:
        yield client


@pytest.fixture
def index(client: Client) -> Index:
    return Index(client, default="receipts")
