"""The delta queue on SQS."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from siltstone.stores.hints import HintQueue

_log = logging.getLogger(__name__)


class SqsHints:
    """`HintQueue` over a standard queue. Standard, not FIFO: order and single delivery are worth nothing here."""

    def __init__(self, queue_url: str, client: Any) -> None:
        self._queue_url = queue_url
        self._client = client

    def tell(self, *, collection: str, delta_key: str, embedding_count: int) -> None:
        """Send one hint. A queue that is down is logged and nothing more: the hourly run lists S3 anyway."""
        body = {"collection": collection, "delta_key": delta_key, "embedding_count": embedding_count}
        try:
            self._client.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps(body))
        except (BotoCoreError, ClientError) as error:
            _log.warning("The delta queue did not take a hint: %s", error)


if TYPE_CHECKING:
    _: type[HintQueue] = SqsHints
