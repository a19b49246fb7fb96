"""The process that reads a delta before anybody else does: ``python -m siltstone.deltas.delta_reader``.

A request is a line of JSON on its input, the path of a file; the answer a line on its output: the delta's header, or
``{"error": class name, "message", "remedy"}``. It ends with its input.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from siltstone.deltas.codec import MAX_TEXT_BYTES, DeltaHeader, read_columns, read_header
from siltstone.deltas.validate import MAX_DOCUMENT_BYTES, MAX_ID_BYTES, MAX_METADATA_BYTES
from siltstone.errors import BadDelta, SchemaTooNew

# What a delta may take of memory, beyond what the process has when it is idle. A page says itself how large it becomes:
# 64 KB of it can become 2 GB.
FOOTER_BYTES = 128 * 2**20
VECTORS_FACTOR = 4  # packed, as pages, as columns, as one array
TEXTS_FACTOR = 8  # as pages, as dictionaries (which grow by doubling), as columns, as strings


def memory_for(rows: int, dimension: int) -> int:
    """Bytes that a delta may take while it is read."""
    texts = min(MAX_TEXT_BYTES, rows * (MAX_ID_BYTES + MAX_DOCUMENT_BYTES + MAX_METADATA_BYTES))
    return FOOTER_BYTES + VECTORS_FACTOR * rows * dimension * 4 + TEXTS_FACTOR * texts


def read_first(path: Path) -> DeltaHeader:
    """Read all of a delta within its memory; its header. Raises `BadDelta`, `SchemaTooNew`."""
    with _at_most(FOOTER_BYTES):
        header = read_header(path)
    with _at_most(memory_for(header.count, header.dimension)):
        read_columns(path)
    return header


@contextmanager
def _at_most(size: int) -> Generator[None]:
    """Let the process have ``size`` more bytes of memory than now, where the system can hold it to that (Linux)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + size, hard))
    try:
        yield
    except MemoryError:
        raise BadDelta(
            f"The delta can't be used: reading it takes more than {size:,} bytes of memory.",
            remedy="Write it in several, with siltstone.deltas.writer.",
        ) from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _answer(path: str) -> str:
    try:
        return read_first(Path(path)).model_dump_json()
    except (BadDelta, SchemaTooNew) as error:
        return json.dumps({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})


def main() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(_answer(json.loads(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
