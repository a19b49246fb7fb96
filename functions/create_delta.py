"""``CreateDelta``: match the output with what was sent and write one immutable delta."""

from __future__ import annotations

from siltstone.embedding.create_delta import create_delta
from siltstone.embedding.messages import CreateDeltaInput, CreateDeltaOutput

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._provider import provider
from functions._stores import clock, stores


@entry("CreateDelta", CreateDeltaInput)
def handler(request: CreateDeltaInput, _context: LambdaContext) -> CreateDeltaOutput:
    workspace = environment().scratch_dir / "create_delta"
    return create_delta(request, stores(), clock, provider(), workspace=workspace)
