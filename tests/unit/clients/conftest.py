"""One stage in memory with `ROWS` merged, and every kind of client to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from siltstone import Client, connect, keys

from tests.contracts.collections import fill
from tests.unit.clients.front_end import ACCESS_KEY, FUNCTION, REGION, SECRET_KEY, FrontEnd
from tests.unit.query.house import CHROMA, House


@dataclass
class Stage:
    house: House
    front: FrontEnd
    copy: Path
    session: boto3.Session
    version: str

    def client(self, kind: str) -> Client:
        """``stores``, ``path``, ``function`` or ``url``."""
        place = {
            "stores": {"stores": self.house.stores},
            "path": {"path": self.copy},
            "function": {"function": FUNCTION},
            "url": {"url": self.front.url},
        }[kind]
        return connect(
            **place,
            producer=None if kind == "path" else self.house.stores,
            provider=lambda: self.house.provider,
            session=self.session,
            clock=self.house.clock,
        )


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    house = House(tmp_path_factory.mktemp("house"), CHROMA)
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    variables = {
        "SILTSTONE_STAGE": "test",
        "DELTA_BUCKET": "the-deltas",
        "SNAPSHOT_BUCKET": "the-snapshots",
        "LOCK_TABLE": "locks",
        "LEDGER_TABLE": "ledger",
        "SOURCE_TABLE": "sources",
        "DELTA_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/deltas",
        "SCRATCH_DIR": str(tmp_path_factory.mktemp("scratch")),
        "POWERTOOLS_TRACE_DISABLED": "1",
        "POWERTOOLS_SERVICE_NAME": "siltstone",
        "POWERTOOLS_METRICS_NAMESPACE": "ChromaDB/Compaction",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        from functions import query as module
        from functions._environment import environment

        environment.cache_clear()
        module._readers.cache_clear()
        patch.setattr(module, "stores", lambda: house.stores)
        patch.setattr(module, "clock", house.clock)
        patch.setattr(module, "provider", lambda: house.provider)
        with FrontEnd(module.handler) as front:
            patch.setenv("AWS_ENDPOINT_URL_LAMBDA", front.endpoint)
            with connect(stores=house.stores, provider=lambda: house.provider, clock=house.clock) as client:
                fill(client.collection("texts"))
            version = house.compact()
            copy = tmp_path_factory.mktemp("copy")
            prefix = keys.version("texts", version)
            for found in list(house.snapshots.list(prefix)):
                target = copy / found.key.removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(house.snapshots.get(found.key).body)
            yield Stage(house, front, copy, session, version)
        module._readers().close()
        module._readers.cache_clear()
        environment.cache_clear()
    house.close()
