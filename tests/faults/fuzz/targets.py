"""The readers of bytes that others wrote, each with how to make its input and which errors are a verdict."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from siltstone.clock import ManualClock
from siltstone.compaction.documents import Manifest, Plan, Work
from siltstone.compaction.messages import Message
from siltstone.compaction.staging import parse_document
from siltstone.deltas.codec import decode
from siltstone.deltas.listing import CHROMA_FILE, PendingDelta
from siltstone.deltas.reading import fetch_delta, read_fetched
from siltstone.deltas.validate import validate_header, validate_rows
from siltstone.deltas.vetting import Vetting
from siltstone.embedding.answers import Answers
from siltstone.embedding.requests import read_requests
from siltstone.errors import (
    BadDelta,
    BadSource,
    InvalidInput,
    ManifestDamaged,
    SchemaTooNew,
    SiltstoneError,
    SnapshotDamaged,
)
from siltstone.settings import CollectionSettings
from siltstone.snapshots.files import files_in
from siltstone.snapshots.restore import RemoteFile, restore_files
from siltstone.sources.jsonl import read_receipts_jsonl, read_texts_jsonl
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipts import read_receipts
from siltstone.sources.source import source_from_body
from siltstone.stores.objects_memory import MemoryObjects

from tests.faults.fuzz import chroma, jsonwise, parquet, samples
from tests.faults.fuzz.bytewise import mutated

MB = 2**20
SETTINGS = CollectionSettings(dimension=parquet.DIMENSION)
IDS = [f"r{number}" for number in range(6)]

_vetting = Vetting(0.05)  # so that an endless loop costs seconds


@dataclass(frozen=True)
class Target:
    """``read`` gets the input and an empty folder; it returns what it made of it, or raises one of ``verdicts``.

    ``fixed`` and ``factor``: reading n bytes may take ``fixed + factor * n`` bytes of memory in this process.
    ``at_once``: how many inputs go through one process.
    """

    name: str
    make: Callable[[random.Random], bytes]
    read: Callable[[bytes, Path], str]
    verdicts: tuple[type[SiltstoneError], ...]
    fixed: int = 64 * MB
    factor: int = 40
    at_once: int = 2_000


def _parquet(body: bytes, folder: Path) -> str:
    path = folder / "delta.parquet"
    path.write_bytes(body)
    promised = _vetting.header(path).count
    header, rows = decode(path)
    assert header.count == promised == len(rows.ids) == len(rows.embeddings) == len(rows.metadatas)
    validate_header(header, "texts", SETTINGS)
    validate_rows(rows, "texts", SETTINGS)
    return "whole"


def _packed_json(rng: random.Random) -> bytes:
    what = rng.random()
    if what < 0.05:
        return gzip.compress(rng.choice((b"[],", b"0,", b'{"a":1},')) * rng.choice((10**5, 10**6)), 1)
    body = gzip.compress(jsonwise.make(samples.LEGACY_DELTA, rng), 1)
    return mutated(body, rng) if what < 0.2 else body


def _legacy(body: bytes, folder: Path) -> str:
    store = MemoryObjects(ManualClock())
    store.put("deltas/x/embeddings.json.gz", body)
    [info] = store.list("deltas/")
    delta = PendingDelta("texts", info.key, info.etag, info.size, 0, "json", (info,))
    fetched = fetch_delta(store, delta, SETTINGS, folder)
    rows = read_fetched(fetched, SETTINGS)
    assert len(rows) == fetched.rows
    return "whole"


def _chroma(body: bytes, folder: Path) -> str:
    store = MemoryObjects(ManualClock())
    for name, content in chroma.unpacked(body).items():
        store.put(f"delta/x/{name}", content)
    objects = tuple(store.list("delta/x/"))
    delta = PendingDelta("texts", f"delta/x/{CHROMA_FILE}", "e", len(body), 0, "chroma", objects)
    try:
        fetched = fetch_delta(store, delta, SETTINGS, folder)
    except BadDelta:
        assert files_in(folder) == [], "a refused directory leaves something"
        raise
    assert len(read_fetched(fetched, SETTINGS)) == fetched.rows
    return "whole"


def _lines(seeds: list[dict[str, object]]) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        lines = [jsonwise.make(rng.choice(seeds), rng) for _ in range(rng.choice((1, 3)))]
        body = rng.choice((b"\n", b"\r\n", b"\n\n", b"\r")).join([*lines, json.dumps(seeds[0]).encode()])
        if rng.random() < 0.02:
            body += b"\n" + b'{"id": "' + b"x" * (9 * MB) + b'"}\n'  # longer than a line may be
        return body if rng.random() < 0.9 else mutated(body, rng)

    return make


def _items(items: object) -> str:
    found = list(items)  # type: ignore[call-overload]
    bad = [item for item in found if isinstance(item, SourceProblem)]
    for item in found:
        if isinstance(item, SourceProblem):
            assert len(str(item)) < 3_000, "a problem is one readable sentence"
        else:
            assert source_from_body(item.kind, item.to_body()) == item
    return f"{'some' if len(bad) < len(found) else 'none'} usable, {'some' if bad else 'no'} problems"


def _receipts(body: bytes, folder: Path) -> str:
    (folder / "r.jsonl").write_bytes(body)
    return _items(read_receipts_jsonl(folder / "r.jsonl"))


def _texts(body: bytes, folder: Path) -> str:
    (folder / "t.jsonl").write_bytes(body)
    return _items(read_texts_jsonl(folder / "t.jsonl", "texts"))


def _body(kind: str) -> Callable[[bytes, Path], str]:
    def read(body: bytes, _: Path) -> str:
        source = source_from_body(kind, body)
        assert source_from_body(kind, source.to_body()).revision == source.revision
        return "whole"

    return read


def _sroie_file(rng: random.Random) -> bytes:
    rows = [rng.choice(samples.SROIE_ROWS) for _ in range(rng.choice((1, 5, 50)))]
    if rng.random() < 0.5:
        rows[0] = ",".join(rng.choice(("1e9", "-1", "NaN", "9" * 400, "", " 7 ", "\u0663", "10")) for _ in range(9))
    box = "\n".join(rows).encode()
    key = jsonwise.make({"company": "KIOSK", "date": "1", "address": "x", "total": "1"}, rng)
    return (box if rng.random() < 0.4 else mutated(box, rng)) + b"\0key\0" + key


def _sroie(body: bytes, folder: Path) -> str:
    box, _, key = body.partition(b"\0key\0")
    for name, content in (("box/000.csv", box), ("key/000.json", key)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    (folder / "box/001.csv").symlink_to("/etc/passwd")
    return _items(read_receipts(folder))


def _document(kind: type[Message]) -> Callable[[bytes, Path], str]:
    def read(body: bytes, folder: Path) -> str:
        document = parse_document(kind, body, "manifest.json")
        _restore(document, folder)
        return "whole"

    return read


def _restore(document: Message, folder: Path) -> None:
    """What the product does next with a document: fetch its files into a folder."""
    store = MemoryObjects(ManualClock())
    listed = [part.file for part in document.parts] if isinstance(document, Plan) else document.files  # type: ignore
    files: list[RemoteFile] = []
    for number, file in enumerate(listed):
        store.put(f"k{number}", samples.CONTENT)
        files.append(RemoteFile(file.path, f"k{number}", file.size, file.sha256))
    target = folder / "restored"
    try:
        restore_files(store, files, target)
    except SnapshotDamaged:
        assert files_in(folder) == [], "a failed restore leaves something"
        raise
    assert files_in(target) == sorted(file.path for file in files)


def _results(body: bytes, folder: Path) -> str:
    path = folder / "output.jsonl"
    path.write_bytes(body)
    answers = Answers(IDS, SETTINGS)
    answers.read(path)
    counts = answers.outcome.counts
    assert counts.balanced and counts.submitted == len(IDS)
    assert set(answers.outcome.reasons) == set(range(len(IDS))) - set(answers.outcome.places(1).tolist())
    embedded = answers.vectors[answers.outcome.places(1)]
    assert bool((embedded**2).sum(axis=1).all())
    assert isinstance(answers.outcome.tokens, int) and 0 <= answers.outcome.tokens < 2**63
    answers.outcome.decode(answers.outcome.encode(), len(IDS))
    return f"{counts.embedded} embedded"


def _requests(body: bytes, folder: Path) -> str:
    (folder / "input.jsonl").write_bytes(body)
    with (folder / "input.jsonl").open("rb") as file:
        return " ".join(sorted({type(row).__name__ for row in read_requests(file)}))


def _of(seed: object) -> Callable[[random.Random], bytes]:
    return lambda rng: jsonwise.make(seed, rng)


_DOCUMENT = (ManifestDamaged, SchemaTooNew, SnapshotDamaged)
TARGETS = {
    target.name: target
    for target in (
        Target("parquet", parquet.make, _parquet, (BadDelta, SchemaTooNew), fixed=192 * MB),
        Target("legacy_json", _packed_json, _legacy, (BadDelta,)),
        Target("chroma", chroma.make, _chroma, (BadDelta,), fixed=192 * MB, at_once=8),
        Target("receipts", _lines(samples.RECEIPTS), _receipts, (BadSource,)),
        Target("texts", _lines(samples.TEXTS), _texts, (BadSource, InvalidInput)),
        Target("receipt_body", _of(samples.RECEIPTS[0]), _body("receipt"), (BadSource,)),
        Target("text_body", _of({**samples.TEXTS[0], "collection": "texts"}), _body("text"), (BadSource,)),
        Target("sroie", _sroie_file, _sroie, (BadSource,)),
        Target("manifest", _of(samples.MANIFEST), _document(Manifest), _DOCUMENT),
        Target("plan", _of(samples.PLAN), _document(Plan), _DOCUMENT),
        Target("work", _of(samples.WORK), _document(Work), _DOCUMENT),
        Target("results", _lines(samples.RESULTS), _results, ()),
        Target("requests", _lines(samples.REQUESTS), _requests, ()),
    )
}
