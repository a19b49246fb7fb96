"""``embed_now``: a few sources through the embeddings API, at once; their deltas are durable when it returns."""

from __future__ import annotations

from siltstone.embedding.embed_now import EmbedNowInput, EmbedNowOutput, embed_now

from functions._entry import LambdaContext, entry
from functions._provider import provider
from functions._stores import clock, stores


@entry("EmbedNow", EmbedNowInput)
def handler(request: EmbedNowInput, _context: LambdaContext) -> EmbedNowOutput:
    return embed_now(request, stores(), clock, provider())
