"""State Merge with the real Chroma: content for content what the operations say, over turns, versions and crashes."""

from __future__ import annotations

import chromadb
import numpy as np

from siltstone.settings import CollectionSettings
from tests.unit.compaction.merging import Bench, deletes, names, upserts


def test_first_version_of_a_collection(tmp_path):
    bench = Bench(tmp_path)
    manifest = bench.compact(upserts(names(300), 1))
    assert (manifest.counts.before, manifest.counts.inserted, manifest.counts.after) == (0, 300, 300)
    assert all(check.passed for check in manifest.checks)
    bench.assert_content()
