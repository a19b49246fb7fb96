"""``Upload``: publish the sealed files under the version id, the manifest last."""

from __future__ import annotations

from siltstone.compaction.messages import UploadInput, UploadOutput
from siltstone.compaction.upload import upload

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


@entry("Upload", UploadInput, measure=lambda output: {"SnapshotBytes": output.bytes})
def handler(request: UploadInput, _context: LambdaContext) -> UploadOutput:
    return upload(request, stores(), clock)
