"""The real Pinecone client against the local server on one side, an index over collections in memory on the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pinecone
import pytest
from siltstone import connect
from siltstone.dual import Counters, DualIndex, FolderJournal, JsonLines, Phases
from siltstone.pinecone_like import Index
from siltstone_local.pinecone_server import IndexSpec, PineconeThread

from tests.unit.query.house import DIMENSION, MEMORY, House


class Side:
    """A side whose calls can be made to fail, to hang, or to be watched. What it does else is the real thing."""

    def __init__(self, index: Any) -> None:
        self.index = index
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}

    def fails(self, call: str, error: BaseException, *, behind: bool = False) -> None:
        """``behind``: the call happens, its reply is lost."""

        def fail() -> None:
            raise error

        (self.after if behind else self.before)[call] = fail

    def recovers(self) -> None:
        self.before.clear()
        self.after.clear()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self.index, name)

        def call(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            self.before.get(name, _nothing)()
            answer = real(*args, **more)
            self.after.get(name, _nothing)()
            return answer

        return call


def _nothing() -> None:
    pass


@dataclass
class Both:
    """Two sides, and what looks at them."""

    pinecone: Side
    siltstone: Side
    index: DualIndex
    house: House
    folder: Path
    phases: dict[str, str]

    @property
    def counters(self) -> dict[str, int]:
        return self.index.counters.as_dict()

    @property
    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "differences.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def journal(self) -> FolderJournal:
        return FolderJournal(self.folder / "journal")

    def heal(self, seconds: float = 301.0) -> Any:
        self.house.clock.advance(seconds)
        return self.index.heal()

    def again(self) -> DualIndex:
        """As another process sees it, over the same sides and the same journal."""
        return dual(self)


def dual(both: Both, **more: Any) -> DualIndex:
    return DualIndex(
        both.pinecone,
        both.siltstone,
        journal=both.journal,
        log=JsonLines(both.folder / "differences.jsonl"),
        phases=lambda: Phases.parse(json.dumps(both.phases)),
        counters=Counters(),
        clock=both.house.clock,
        **more,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PineconeThread]:
    with PineconeThread(tmp_path_factory.mktemp("pinecone")) as server:
        yield server


@pytest.fixture(scope="module")
def filled(server: PineconeThread) -> pinecone.Index:
    """Its client takes longer to come into being than a test to run: one for a module."""
    server.create_index(IndexSpec(name="receipts", dimension=DIMENSION, metric="cosine"))
    return pinecone.Pinecone(api_key="any", host=server.base_url).Index(host=server.host("receipts"))


@pytest.fixture
def theirs(filled: pinecone.Index) -> pinecone.Index:
    for namespace in filled.describe_index_stats().namespaces:
        filled.delete(delete_all=True, namespace=namespace)
    return filled


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    return boto3.Session(region_name="us-east-1")


@pytest.fixture
def both(theirs: pinecone.Index, session: boto3.Session, tmp_path: Path) -> Iterator[Both]:
    house = House(tmp_path / "house", MEMORY, collections=("lines", "words", "receipts", "never-written"))
    with connect(stores=house.stores, clock=house.clock, session=session) as client:
        both = Both(
            Side(theirs),
            Side(Index(client, default="receipts")),
            None,  # type: ignore[arg-type]
            house,
            tmp_path,
            {"*": "both"},
        )
        both.index = dual(both)
        yield both
    house.close()


def vectors(*ids: str, seed: int = 0, **metadata: Any) -> list[dict[str, Any]]:
    def values(row: str) -> list[float]:
        return np.random.default_rng([seed, *row.encode()]).normal(size=DIMENSION).astype(np.float32).tolist()

    return [{"id": row, "values": values(row), "metadata": {"n": seed, **metadata}} for row in ids]


def held(side: Side, *ids: str) -> dict[str, Any]:
    """The seed that each row was written with."""
    found = side.index.fetch(ids=list(ids), namespace="lines").vectors
    return {row: vector.metadata["n"] for row, vector in sorted(found.items())}


class Gate:
    """Holds whoever comes until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.open.wait(30)
