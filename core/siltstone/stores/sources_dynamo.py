"""The source table on DynamoDB, with the sparse index ``open`` over what is left to do.

Statuses and claims are plain attributes that the console shows. What the store may hold is one compressed value per
collection: a receipt's two hundred words take about 3 KB.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from siltstone.errors import BadSource, SourceChanged
from siltstone.parallel import in_parallel
from siltstone.stores.aws import code_of
from siltstone.stores.dynamo import DynamoTable, Item
from siltstone.stores.sources import (
    OPEN_INDEX,
    OPEN_SHARDS,
    CollectionState,
    SourceItem,
    open_shard,
    stored,
)

_ROWS = ("settled", "refused", "pending", "stray")


class DynamoSources:
    """`siltstone.stores.sources.SourceTable` over a table with the string key ``source_id``.

    Its index ``open``: partition key ``open_shard`` (string), sort key ``source_id``; ``open_shard`` is there only
    while the source is open. ``client``: a boto3 DynamoDB client, made with `siltstone.stores.aws.CLIENT_CONFIG`.
    """

    def __init__(self, table: str, client: Any) -> None:
        self._table = DynamoTable(table, "source_id", client)

    def read(self, source_id: str) -> SourceItem | None:
        found = self._table.get(source_id)
        return None if found is None else _decode(found)

    def read_many(self, source_ids: Iterable[str]) -> dict[str, SourceItem]:
        return {item.source_id: item for item in map(_decode, self._table.get_many(source_ids))}

    def save(self, item: SourceItem, *, now: float) -> SourceItem:
        wanted = stored(item, now=now)
        try:
            if self._table.put(_encode(wanted), version=item.version):
                return wanted
        except ClientError as error:
            if code_of(error) == "ValidationException" and "size" in str(error):
                raise BadSource(
                    f"Source {item.source_id} has more records than its item can list.", remedy="Split it."
                ) from error
            raise
        found = self.read(item.source_id)
        if found is not None and found.write_id == wanted.write_id:
            return wanted  # the reply was lost, and the client sent it again
        raise SourceChanged(f"Source {item.source_id} changed since it was read.")

    def save_many(self, items: Iterable[SourceItem], *, now: float) -> tuple[dict[str, SourceItem], set[str]]:
        def attempt(item: SourceItem) -> SourceItem | None:
            try:
                return self.save(item, now=now)
            except SourceChanged:
                return None

        todo = list(items)
        done = dict(zip((item.source_id for item in todo), in_parallel(attempt, todo), strict=True))
        saved = {source_id: item for source_id, item in done.items() if item is not None}
        return saved, done.keys() - saved.keys()

    def list_open(self) -> Iterator[str]:
        for shard in range(OPEN_SHARDS):
            found = self._table.query(
                IndexName=OPEN_INDEX,
                KeyConditionExpression="open_shard = :shard",
                ExpressionAttributeValues={":shard": {"S": str(shard)}},
                ProjectionExpression="source_id",
            )
            for item in found:
                yield item["source_id"]

    def list(self) -> Iterator[SourceItem]:
        return map(_decode, self._table.scan())


def _encode(item: SourceItem) -> Item:
    plain = item.model_dump(mode="json", exclude={"collections"})
    plain["collections"] = {name: _encode_state(state) for name, state in item.collections.items()}
    if item.open:
        plain["open_shard"] = open_shard(item.source_id)
    return plain


def _encode_state(state: CollectionState) -> Item:
    plain = state.model_dump(mode="json", exclude_none=True)
    # Sorted: ids that share their beginning compress to almost nothing.
    rows = {name: sorted(value) if isinstance(value, list) else value for name in _ROWS if (value := plain.pop(name))}
    if rows:
        plain["rows"] = zlib.compress(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode())
    return plain


def _decode(found: Item) -> SourceItem:
    found.pop("open_shard", None)
    for state in found["collections"].values():
        rows = state.pop("rows", None)
        state.update(json.loads(zlib.decompress(rows)) if rows else {})
    return SourceItem.model_validate(found)
