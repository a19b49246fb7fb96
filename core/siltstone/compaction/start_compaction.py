"""What the delta queue triggers: one execution for however many hints were gathered.

The hints' content is not needed: ``ListCollections`` asks S3 what is pending and decides what is due. A message that is
no hint is handed back, so that the queue's redrive moves it where a person can see it.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from siltstone.stores.machines import Machine


class Hint(BaseModel):
    """One message of the delta queue. Unknown fields are ignored: a newer producer may say more."""

    model_config = ConfigDict(frozen=True)

    collection: str
    delta_key: str
    embedding_count: int


def start_compaction(messages: Mapping[str, str], machine: Machine) -> list[str]:
    """Start the compaction machine if any of ``messages`` (body by message id) is a hint; ids of those that are not.

    Raises `StoreUnavailable` if the machine can't be started: all messages stay in the queue.
    """
    strangers = [message_id for message_id, body in messages.items() if not _is_hint(body)]
    if len(strangers) < len(messages):
        machine.start({"operation": "compact"})
    return strangers


def _is_hint(body: str) -> bool:
    try:
        Hint.model_validate_json(body)
    except ValidationError:
        return False
    return True
