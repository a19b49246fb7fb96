"""Deltas in Parquet: valid ones of every encoding, and changes to their footers, page headers and pages.

Changed pages are appended and the footer made to point at them, with a right checksum or none: damage that a checksum
finds is not worth trying.
"""

from __future__ import annotations

import copy
import random
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, encode

from tests.faults.fuzz.bytewise import EDGES, mutated
from tests.faults.fuzz.thrift import BINARY, FALSE, INTEGERS, LIST, SET, STRUCT, TRUE, Struct, dump, parse

DIMENSION = 4
MAGIC = b"PAR1"
_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_DATA_PAGE, _DICTIONARY_PAGE, _COMPRESSED, _UNCOMPRESSED, _CODEC = 9, 11, 7, 6, 4
_CODECS = {0: None, 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


def header(count: int, **changes: Any) -> DeltaHeader:
    fields = {
        "delta_id": "d1",
        "collection": "texts",
        "count": count,
        "model": "text-embedding-3-small",
        "dimension": DIMENSION,
        "input_format": "plain-v1",
        "created_at": "2026-01-01T00:00:00Z",
    }
    return DeltaHeader.model_validate({**fields, **changes})


def rows(count: int, *, deletes: bool = True) -> DeltaRows:
    """Some of everything that a delta may hold."""
    rng = np.random.default_rng(count)
    found = DeltaRows.upserts(
        [f"id-{number}" for number in range(count)],
        rng.normal(size=(count, DIMENSION)).astype(np.float32),
        [None if number % 5 == 0 else f"text {number} " * (number % 7) for number in range(count)],
        [{"n": number, "t": "ä" * (number % 3), "l": [1, 2]} if number % 4 else {} for number in range(count)],
    )
    if deletes:
        found.deletes[::3] = True
        found.embeddings[::3] = 0
        for number in range(0, count, 3):
            found.documents[number], found.metadatas[number] = None, {}
    return found


@lru_cache(maxsize=1)
def seeds() -> tuple[bytes, ...]:
    """Valid deltas: the product's own, and the same rows in every layout that Parquet has for them."""
    own = [encode(rows(count), header(count)) for count in (1, 20, 300)]
    table = pq.read_table(pa.BufferReader(own[2]))
    texts = ["id", "op", "document", "metadata"]
    layouts: list[dict[str, Any]] = [
        {"data_page_version": "2.0", "use_dictionary": True},
        {"data_page_version": "2.0", "compression": "snappy", "use_dictionary": False},
        {"compression": "none", "row_group_size": 50, "data_page_size": 64},
        {"compression": "gzip", "use_dictionary": True, "dictionary_pagesize_limit": 100, "data_page_size": 100},
        {"compression": "lz4", "write_page_checksum": False},
        {"use_dictionary": False, "column_encoding": dict.fromkeys(texts, "DELTA_BYTE_ARRAY")},
        {"use_dictionary": False, "column_encoding": dict.fromkeys(texts, "DELTA_LENGTH_BYTE_ARRAY")},
        {"compression": "brotli", "store_schema": False, "write_page_index": True},
    ]
    found = list(own)
    for layout in layouts:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **{"compression": "zstd", "write_page_checksum": True, **layout})
        found.append(sink.getvalue().to_pybytes())
    return tuple(found)


def make(rng: random.Random) -> bytes:
    """A delta that is changed somewhere."""
    body = rng.choice(seeds())
    kind = rng.random()
    if kind < 0.2:
        return mutated(body, rng)
    if kind < 0.5:
        tree = footer_of(body)
        for _ in range(rng.choice((1, 1, 2, 5))):
            change_tree(tree, rng)
        return with_footer(body, tree)
    return _with_changed_page(body, rng)


def footer_of(body: bytes) -> Struct:
    size = int.from_bytes(body[-8:-4], "little")
    return parse(body, len(body) - 8 - size)[0]


def with_footer(body: bytes, tree: Struct) -> bytes:
    """``body`` with another footer; whatever stood before the old one stays in its place."""
    size = int.from_bytes(body[-8:-4], "little")
    footer = dump(tree)
    return body[: len(body) - 8 - size] + footer + len(footer).to_bytes(4, "little") + MAGIC


def change_tree(tree: Struct, rng: random.Random) -> None:
    """One change at a random place of the tree: an integer, a text, a list, a field that is missing."""
    places: list[tuple[Any, Any]] = []
    _collect(tree, places)
    holder, at = rng.choice(places)
    kind, value = holder[at] if isinstance(holder, dict) else (None, holder[at])
    new = _changed(kind, value, rng)
    if new is None and isinstance(holder, dict):
        del holder[at]
    elif isinstance(holder, dict):
        holder[at] = (kind, new)
    elif new is not None:
        holder[at] = new


def _collect(tree: Struct, places: list[tuple[Any, Any]]) -> None:
    for number, (kind, value) in tree.items():
        places.append((tree, number))
        if kind == STRUCT:
            _collect(value, places)
        elif kind in (LIST, SET):
            for at, each in enumerate(value[1]):
                places.append((value[1], at))
                if isinstance(each, dict):
                    _collect(each, places)


def _changed(kind: int | None, value: Any, rng: random.Random) -> Any:
    if rng.random() < 0.1:
        return None
    if isinstance(value, bool) or kind in (TRUE, FALSE):
        return not value
    if isinstance(value, int) or kind in INTEGERS:
        return rng.choice((*EDGES, value + 1, value - 1, value * 2, value // 2, -value, rng.randrange(20)))
    if isinstance(value, bytes) or kind == BINARY:
        return rng.choice((mutated(value, rng), b"", value * 2, b"\xff\xfe", b"x" * 100_000))
    if isinstance(value, tuple):
        return _changed_list(value, rng)
    return copy.deepcopy(value)


def _changed_list(value: tuple[int, list[Any]], rng: random.Random) -> tuple[int, list[Any]]:
    element, items = value
    choice = rng.randrange(5)
    if choice == 0 or not items:
        return element, []
    if choice == 1:
        return element, items[:-1]
    if choice == 2:
        return element, items[::-1]
    if choice == 3:
        return element, items * rng.choice((2, 50))
    place = rng.randrange(len(items))
    return element, [*items[:place], copy.deepcopy(rng.choice(items)), *items[place + 1 :]]


def _with_changed_page(body: bytes, rng: random.Random) -> bytes:
    """One column chunk again at the end of the file, one of its pages changed; the footer points there."""
    tree = footer_of(body)
    groups = tree[_ROW_GROUPS][1][1]
    column = rng.choice(rng.choice(groups)[_COLUMNS][1][1])
    meta = column[_META][1]
    start = meta.get(_DICTIONARY_PAGE, meta[_DATA_PAGE])[1]
    pages = pages_of(body[start : start + meta[_COMPRESSED][1]])
    chosen = rng.randrange(len(pages))
    codec = _CODECS.get(meta[_CODEC][1])
    pages[chosen] = _changed_page(*pages[chosen], codec, rng)
    if rng.random() < 0.1:
        pages.append(rng.choice(pages))
    return with_pages(body, tree, meta, pages)


def with_pages(body: bytes, tree: Struct, meta: Struct, pages: list[tuple[Struct, bytes]]) -> bytes:
    """``body`` with these pages for the column chunk ``meta`` of ``tree``."""
    size = int.from_bytes(body[-8:-4], "little")
    data = body[: len(body) - 8 - size]
    chunk = b"".join(dump(head) + page for head, page in pages)
    at = len(data)
    if _DICTIONARY_PAGE in meta:
        meta[_DICTIONARY_PAGE] = (6, at)
        at += len(dump(pages[0][0])) + len(pages[0][1])
    meta[_DATA_PAGE] = (6, at)
    meta[_COMPRESSED] = (6, len(chunk))
    footer = dump(tree)
    return data + chunk + footer + len(footer).to_bytes(4, "little") + MAGIC


def pages_of(chunk: bytes) -> list[tuple[Struct, bytes]]:
    """Headers and bodies of a column chunk's pages."""
    found: list[tuple[Struct, bytes]] = []
    at = 0
    while at < len(chunk):
        head, at = parse(chunk, at)
        size = head[3][1]
        found.append((head, chunk[at : at + size]))
        at += size
    return found


def _changed_page(head: Struct, page: bytes, codec: str | None, rng: random.Random) -> tuple[Struct, bytes]:
    head = copy.deepcopy(head)
    kind = rng.random()
    if kind < 0.45:
        change_tree(head, rng)
        return _signed(head, page, rng)
    if kind < 0.6 or codec is None or 8 in head:
        page = mutated(page, rng)
    else:
        plain = mutated(pa.Codec(codec).decompress(page, head[2][1]).to_pybytes(), rng)
        page = pa.Codec(codec).compress(plain).to_pybytes()
        head[2] = (5, len(plain))
    head[3] = (5, len(page))
    return _signed(head, page, rng)


def _signed(head: Struct, page: bytes, rng: random.Random) -> tuple[Struct, bytes]:
    head.pop(4, None)
    if rng.random() < 0.5:
        crc = zlib.crc32(page)
        head[4] = (5, crc - 2**32 if crc >= 2**31 else crc)
    return head, page
