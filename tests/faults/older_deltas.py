"""Backlogs in the two older layouts, as producers of the reference design left them, and what they must become."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.messages import ListCollectionsInput
from siltstone.deltas.listing import CHROMA_QUIET_SECONDS
from siltstone.settings import CollectionBook, RunLimits
from siltstone.snapshots.chroma import persistent_client
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.vectors import CollectionSpec

from tests.unit.scrub.house import COLLECTION, DIMENSION, House

Content = dict[str, tuple[list[float], str, dict[str, Any]]]


class Backlog:
    """``house`` with deltas in the older layouts, and ``wanted``: what their rows are in the end, in their order.

    Keys are random, as UUIDs are: only the store's clock tells the order.
    """

    def __init__(self, folder: Path, *, max_rows: int, page_size: int, seed: int = 0) -> None:
        self.house = House(folder, legacy=True)
        self.house.deltas._page_size = page_size
        book = self.house.stores.settings
        one = book.collections[COLLECTION].model_copy(update={"limits": RunLimits(max_rows=max_rows, part_rows=1_000)})
        settings = CollectionBook(
            collections={COLLECTION: one}, legacy_delta_collection=COLLECTION, settle_seconds=book.settle_seconds
        )
        object.__setattr__(self.house.stores, "settings", settings)
        self.random = np.random.default_rng(seed)
        self.wanted: Content = {}
        self.bad: dict[str, str] = {}
        self.folder = folder

    def rows(self, ids: list[str], mark: int, dimension: int = DIMENSION) -> dict[str, list[Any]]:
        return {
            "ids": ids,
            "embeddings": self.random.normal(size=(len(ids), dimension)).astype(np.float32).tolist(),
            "documents": [f"{row} of {mark}" for row in ids],
            "metadatas": [{"mark": mark, "merchant": None, "text": row} for row in ids],
        }

    def json(self, ids: list[str], mark: int, *, dimension: int = DIMENSION, broken: bytes | None = None) -> str:
        """``deltas/{uuid}/embeddings.json.gz``"""
        rows = self.rows(ids, mark, dimension)
        name = self.uuid()
        body = gzip.compress(json.dumps({"batch_id": "b", **rows}).encode(), mtime=0) if broken is None else broken
        self.house.deltas.put(f"deltas/{name}/embeddings.json.gz", body)
        self._expect(name, rows, dimension, broken)
        return name

    def chroma(self, ids: list[str], mark: int, *, dimension: int = DIMENSION, broken: bytes | None = None) -> str:
        """``delta/{uuid}/chroma.sqlite3`` and its index folder"""
        rows, name = self.rows(ids, mark, dimension), self.uuid()
        directory = self.folder / "made" / name
        with closing(persistent_client(directory)) as client:
            made = client.create_collection("words" if mark % 2 else COLLECTION, embedding_function=None)
            metadatas = [{key: value for key, value in each.items() if value is not None} for each in rows["metadatas"]]
            made.upsert(ids, np.asarray(rows["embeddings"], np.float32), metadatas, rows["documents"])  # type: ignore[arg-type]
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                whole = broken is None or path.name != "chroma.sqlite3"
                body = path.read_bytes() if whole else broken
                self.house.deltas.put(f"delta/{name}/{path.relative_to(directory).as_posix()}", body or b"")
        self._expect(name, rows, dimension, broken)
        return name

    def uuid(self) -> str:
        return str(UUID(bytes=self.random.bytes(16), version=4))

    def drain(self) -> list[str]:
        """Compact as the machine does, while anything is due; the versions that came to be."""
        self.house.clock.advance(CHROMA_QUIET_SECONDS + 61)
        made: list[str] = []
        while list_collections(ListCollectionsInput(force=True), self.house.stores, self.house.clock).due:
            before = self.house.current
            self.house.compact()
            if self.house.current is not None and self.house.current != before:
                made.append(self.house.current)
        return made

    def content(self) -> Content:
        """What the current version holds."""
        from siltstone.snapshots.restore import restore_version

        assert self.house.current is not None
        manifest = self.house.manifest(self.house.current)
        folder = self.folder / f"copy-{self.house.current}"
        restore_version(self.house.snapshots, manifest, folder)
        with closing(self.house.open_store(folder, CollectionSpec.of(COLLECTION, manifest.settings))) as store:
            rows = store.get(store.ids())
        return {
            row: (vector.tolist(), document or "", metadata)
            for row, vector, document, metadata in zip(
                rows.ids, rows.embeddings, rows.documents, rows.metadatas, strict=True
            )
        }

    def reasons(self) -> dict[str, str]:
        """Why each delta in quarantine is there, by its folder."""
        found: dict[str, str] = {}
        for each in self.house.deltas.list(f"quarantine/{COLLECTION}/"):
            if each.key.endswith("/reason.json"):
                body = json.loads(self.house.deltas.get(each.key).body)
                found[each.key.split("/")[2]] = body["reason"]
        return found

    def pending(self) -> list[str]:
        deltas: MemoryObjects = self.house.deltas
        return [each.key for prefix in ("deltas/", "delta/") for each in deltas.list(prefix)]

    def _expect(self, name: str, rows: dict[str, list[Any]], dimension: int, broken: bytes | None) -> None:
        self.house.clock.advance(1)
        if broken is not None:
            self.bad[name] = ""
        elif dimension != DIMENSION:
            self.bad[name] = f"its dimension is {dimension}, not {DIMENSION}"
        else:
            for place, row in enumerate(rows["ids"]):
                metadata = {key: value for key, value in rows["metadatas"][place].items() if value is not None}
                self.wanted[row] = (rows["embeddings"][place], rows["documents"][place], metadata)


def merge_many(backlog: Backlog, deltas: int) -> None:
    """Of 400, one has another dimension, and one of all is broken; ids come again and again."""
    for number in range(deltas):
        ids = [f"r{number % 700:04d}", f"r{(number * 7) % 1_100:04d}", f"only-{number:05d}"]
        dimension = 3 if number % 400 == 13 else DIMENSION
        backlog.json(list(dict.fromkeys(ids)), number, dimension=dimension, broken=b"no" if number == 555 else None)
    made = backlog.drain()
    assert len(made) >= deltas / 500  # 3 rows each, at most 1,500 a run
    assert backlog.content() == backlog.wanted
    assert backlog.pending() == []
    reasons = backlog.reasons()
    assert reasons.keys() == backlog.bad.keys()
    assert len(reasons) == 1 + -(-(deltas - 13) // 400)
    for name, reason in backlog.bad.items():
        assert reason in reasons[name]
    manifests = [backlog.house.manifest(version) for version in made]
    assert [manifest.parent for manifest in manifests] == [None, *made[:-1]]
    merged = [applied.key for manifest in manifests for applied in manifest.applied]
    assert len(merged) == len(set(merged)) == deltas - len(reasons)
    assert backlog.house.codes() == []
