"""The process that reads a delta before anybody else does: ``python -m siltstone.deltas.delta_reader PATIENCE``.

A request is a line of JSON on its input, the path of a file in today's layout, or one in the oldest, the path of the
file to write, the collection and its settings. The answer is a line on its output: the delta's header, or ``{"error":
class name, "message", "remedy"}``. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_TEXT_BYTES, DeltaHeader, decode, encode, read_columns, read_header
from siltstone.deltas.legacy_json import decode_json, legacy_header, unpacked_size
from siltstone.deltas.limits import at_most, resident_bytes
from siltstone.deltas.validate import MAX_DOCUMENT_BYTES, MAX_ID_BYTES, MAX_METADATA_BYTES, validate_rows
from siltstone.errors import BadDelta, SchemaTooNew
from siltstone.settings import CollectionSettings

# What a delta may take of memory, beyond what the process has when it is idle. A page says itself how large it becomes:
# 64 KB of it can become 2 GB.
FOOTER_BYTES = 128 * 2**20
VECTORS_FACTOR = 4  # packed, as pages, as columns, as one array
TEXTS_FACTOR = 8  # as pages, as dictionaries (which grow by doubling), as columns, as strings

JSON_FACTOR = 8  # of the unpacked text: itself as bytes and as a string, Python's floats, the array

IDLE_BYTES = 256 * 2**20  # with more than this in memory the process starts anew

# What it may take of processor time: some damage sends Arrow into an endless loop. A healthy one takes a hundredth.
CPU_SECONDS = 5.0
CPU_BYTES_PER_SECOND = 100e6


def memory_for(rows: int, dimension: int) -> int:
    """Bytes that a delta may take while it is read."""
    texts = min(MAX_TEXT_BYTES, rows * (MAX_ID_BYTES + MAX_DOCUMENT_BYTES + MAX_METADATA_BYTES))
    return FOOTER_BYTES + VECTORS_FACTOR * rows * dimension * 4 + TEXTS_FACTOR * texts


def read_first(path: Path, patience: float = 1.0) -> DeltaHeader:
    """Read all of a delta within its memory; its header. Raises `BadDelta`, `SchemaTooNew`.

    The system ends the process (``SIGXCPU``) if it takes ``patience`` times as long as it may.
    """
    with _at_most(FOOTER_BYTES, patience):
        header = read_header(path)
    with _at_most(memory_for(header.count, header.dimension), patience):
        read_columns(path)
    return header


def convert(source: Path, target: Path, collection: str, settings: CollectionSettings) -> DeltaHeader:
    """Write a delta of the oldest layout in today's; its header. Raises `BadDelta`."""
    body = source.read_bytes()
    with _at_most(FOOTER_BYTES + JSON_FACTOR * unpacked_size(body), 1.0):
        rows = decode_json(body)
        validate_rows(rows, collection, settings)
        header = legacy_header(rows, collection, settings)
        target.write_bytes(encode(rows, header))
    return header


@contextmanager
def _at_most(size: int, patience: float) -> Generator[None]:
    """Let the process have ``size`` more bytes of memory than now, and time for as many."""
    try:
        with at_most(size, patience * (CPU_SECONDS + size / CPU_BYTES_PER_SECOND)):
            yield
    except MemoryError:
        raise BadDelta(
            f"The delta can't be used: reading it takes more than {size:,} bytes of memory.",
            remedy="Write it in several, with siltstone.deltas.writer.",
        ) from None


def _answer(request: list[Any], patience: float) -> str:
    try:
        if len(request) == 1:
            return read_first(Path(request[0]), patience).model_dump_json()
        source, target, collection, settings = request
        return convert(
            Path(source), Path(target), collection, CollectionSettings.model_validate(settings)
        ).model_dump_json()
    except (BadDelta, SchemaTooNew) as error:
        return json.dumps({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})


def _warm_up() -> None:
    """Let what is made once be made now: Arrow's first array takes 128 MB of address space and imports more of numpy,
    which would count against the first delta that comes."""
    rows = DeltaRows.upserts(["a"], np.ones((1, 1), np.float32), ["a"], [{"a": 1}])
    settings = CollectionSettings(dimension=1)
    decode(encode(rows, legacy_header(rows, "warm-up", settings)))


def main(patience: str) -> None:
    """Answer requests until there are no more."""
    _warm_up()
    for line in sys.stdin:
        sys.stdout.write(_answer(json.loads(line), float(patience)) + "\n")
        sys.stdout.flush()
        if resident_bytes() > IDLE_BYTES:
            # Allocators keep what they had. Whoever asked needs the memory now, to read the delta himself.
            os.execv(sys.executable, [sys.executable, "-m", __spec__.name, patience])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
