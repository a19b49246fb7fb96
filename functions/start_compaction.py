"""The starter that the delta queue triggers: one execution for however many hints were gathered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import boto3
from pydantic import BaseModel, ConfigDict, Field
from siltstone.compaction.start_compaction import start_compaction
from siltstone.errors import BadSettings
from siltstone.stores.machines import Machine, StepFunctionsMachine

from functions._entry import LambdaContext, entry
from functions._environment import environment


class QueueMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message_id: str = Field(alias="messageId")
    body: str


class QueueEvent(BaseModel):
    records: list[QueueMessage] = Field(alias="Records")


class QueueAnswer(BaseModel):
    """Which messages go back to the queue, and in the end to its dead-letter queue."""

    batchItemFailures: list[dict[str, str]]  # noqa: N815 - Lambda's name


@lru_cache(maxsize=1)
def _machine() -> Machine:
    arn = environment().compaction_machine_arn
    if arn is None:
        raise BadSettings("COMPACTION_MACHINE_ARN is not set.", remedy="Deploy the stage again.")
    client: Any = boto3.client("stepfunctions")
    return StepFunctionsMachine(arn, client)


@entry("StartCompaction", QueueEvent)
def handler(request: QueueEvent, _context: LambdaContext) -> QueueAnswer:
    strangers = start_compaction({message.message_id: message.body for message in request.records}, _machine())
    return QueueAnswer(batchItemFailures=[{"itemIdentifier": message_id} for message_id in strangers])
