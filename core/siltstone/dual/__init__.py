"""Two vector stores at once, while one takes over from the other.

`DualIndex` has Pinecone's calls over two that have them: Pinecone's own client, and `siltstone.pinecone_like.Index`.
A setting says for each namespace which one answers and which are written to (docs/migration.md).
"""

from siltstone.dual.index import DualIndex
from siltstone.dual.journal import BucketJournal, FolderJournal
from siltstone.dual.phases import Phase, Phases, phases_from_environment, phases_from_file
from siltstone.dual.records import Counters, JsonLines

__all__ = [
    "BucketJournal",
    "Counters",
    "DualIndex",
    "FolderJournal",
    "JsonLines",
    "Phase",
    "Phases",
    "phases_from_environment",
    "phases_from_file",
]
