"""Deltas that were found to end the process that reads them, or to ask it for far more than they are."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from tests.faults.fuzz import parquet

_ABORTS = Path(__file__).with_name("aborts.parquet")  # a page that is a row short of its header's word


def aborting() -> bytes:
    """Found by this fuzzer; reading it ends the process: "Check failed: (off) <= (length)" in Arrow 26."""
    return _ABORTS.read_bytes()


@lru_cache(maxsize=1)
def _two_gigabytes() -> tuple[bytes, int]:
    """Zeros, packed to 64 KB, and how many."""
    sink = pa.BufferOutputStream()
    size = 0
    with pa.CompressedOutputStream(sink, "zstd") as packer:
        while size < 2**31 - 2**20:
            packer.write(bytes(2**20))
            size += 2**20
    return sink.getvalue().to_pybytes(), size


def page_bomb(column: int) -> bytes:
    """A delta of 20 rows whose footer is modest, and one page of this column becomes 2 GB."""
    body = parquet.seeds()[1]
    tree = parquet.footer_of(body)
    meta = tree[4][1][1][0][1][1][1][column][3][1]
    start = meta.get(11, meta[9])[1]
    pages = parquet.pages_of(body[start : start + meta[7][1]])
    packed, size = _two_gigabytes()
    head = copy.deepcopy(pages[-1][0])
    head.pop(4, None)
    head[2], head[3] = (5, size), (5, len(packed))
    return parquet.with_pages(body, tree, meta, [*pages[:-1], (head, packed)])
