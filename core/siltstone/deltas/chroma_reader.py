"""The process that reads one Chroma directory into one Parquet file.

``python -m siltstone.deltas.chroma_reader FOLDER TARGET COLLECTION PATIENCE`` exits with 3 and the reason on its error
stream if the directory is no usable delta. ``PATIENCE`` times what is allowed of processor time, the system ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_ROWS, DeltaHeader, encode
from siltstone.deltas.limits import at_most
from siltstone.deltas.listing import CHROMA_FILE
from siltstone.snapshots.files import folder_bytes

BAD_DELTA = 3
_PAGE = 2_000

# A directory's own words decide what Chroma asks for. What healthy ones took, as the system counts (threads' stacks and
# what allocators reserve, too): 36 MB of files 1.2 GB, 85 MB 1.5 GB, 218 MB 2.9 GB. Half of it was in memory.
FIXED_BYTES = 2 * 2**30
FACTOR = 16
# And of processor time: 85 MB 4 s, and 30 s where all of it waits in the queue.
CPU_SECONDS = 20.0
CPU_BYTES_PER_SECOND = 5e5


def read_directory(folder: Path, collection: str) -> DeltaRows:
    """All rows of the directory's one collection, or of the one called ``collection``. Raises `ValueError`."""
    if not (folder / CHROMA_FILE).is_file():  # Chroma would make an empty one
        raise ValueError(f"it has no {CHROMA_FILE}")
    import chromadb  # noqa: PLC0415 - half a second, and whoever imports this module may never need it
    from chromadb.config import Settings  # noqa: PLC0415

    client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    names = [found.name for found in client.list_collections()]
    if collection not in names and len(names) != 1:
        raise ValueError(f"it has the collections {sorted(names)[:10]}, and none is {collection!r}")
    source = client.get_collection(collection if collection in names else names[0], embedding_function=None)
    count = source.count()
    if not 1 <= count <= MAX_ROWS:
        raise ValueError(f"it has {count:,} rows, not 1 to {MAX_ROWS:,}")
    pages: list[DeltaRows] = []
    for start in range(0, count, _PAGE):
        page: Any = source.get(limit=_PAGE, offset=start, include=["embeddings", "documents", "metadatas"])
        vectors = np.asarray(page["embeddings"], dtype=np.float32)
        pages.append(DeltaRows.upserts(page["ids"], vectors, page["documents"], page["metadatas"]))
    return DeltaRows.concat(pages)


def convert(folder: Path, target: Path, collection: str) -> None:
    """Write the directory's rows to ``target``. Raises whatever they cause."""
    rows = read_directory(folder, collection)
    header = DeltaHeader(
        delta_id="",
        collection=collection,
        count=len(rows),
        model="",
        dimension=rows.dimension,
        input_format="",
        created_at="",
    )
    target.write_bytes(encode(rows, header))


def main(folder: str, target: str, collection: str, patience: str) -> int:
    """Convert within the limits, return the exit status. The system ends the process if it takes more."""
    size = folder_bytes(Path(folder))
    memory = FIXED_BYTES + FACTOR * size
    try:
        with at_most(memory, float(patience) * (CPU_SECONDS + size / CPU_BYTES_PER_SECOND)):
            convert(Path(folder), Path(target), collection)
    except (KeyboardInterrupt, ImportError):
        raise
    except MemoryError:
        sys.stderr.write(f"reading it takes more than {memory:,} bytes of memory")
        return BAD_DELTA
    except BaseException as error:  # Chroma's Rust part panics with what is no Exception
        sys.stderr.write(f"{type(error).__name__}: {error}")
        return BAD_DELTA
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
