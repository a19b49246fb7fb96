"""``Download``: pin the pointer, read and check the settled deltas, stage their operations as parts."""

from __future__ import annotations

from siltstone.compaction.download import download
from siltstone.compaction.messages import DownloadOutput, RunInput

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._stores import clock, stores


@entry("Download", RunInput, measure=lambda output: {"DeltasQuarantined": output.quarantined})
def handler(request: RunInput, _context: LambdaContext) -> DownloadOutput:
    return download(request, stores(), clock, workspace=environment().scratch_dir / "download")
