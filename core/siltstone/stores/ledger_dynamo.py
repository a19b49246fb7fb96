"""The ledger on DynamoDB: every move is one update, conditional on the version that was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from siltstone.errors import LedgerChanged, UnknownBatch
from siltstone.stores.dynamo import DynamoTable, Item
from siltstone.stores.ledger import CLOSED, BatchItem, stored
from siltstone.stores.migrations import KEY_PREFIX, MigrationItem, migration_key, stored_migration

_NOT_MOVED = {"batch_id", "quarantined", "cancel_requested_at"}  # the key; what others write, without a version


class DynamoLedger:
    """`siltstone.stores.ledger.Ledger` over a table with the string key ``batch_id``.

    ``client``: a boto3 DynamoDB client, made with `siltstone.stores.aws.CLIENT_CONFIG`.
    """

    def __init__(self, table: str, client: Any) -> None:
        self._table = DynamoTable(table, "batch_id", client)

    def create(self, item: BatchItem, *, now: float) -> BatchItem:
        wanted = stored(item, now=now)
        return self._written(wanted, self._table.put(wanted.model_dump(mode="json"), version=item.version))

    def read(self, batch_id: str) -> BatchItem:
        found = self._table.get(batch_id)
        if found is None:
            raise UnknownBatch(f"The ledger has no batch {batch_id!r}.")
        return _item(found)

    def read_many(self, batch_ids: Iterable[str]) -> dict[str, BatchItem]:
        return {item.batch_id: item for item in map(_item, self._table.get_many(batch_ids))}

    def save(self, item: BatchItem, *, now: float) -> BatchItem:
        if not item.version:
            return self.create(item, now=now)
        wanted = stored(item, now=now)
        changes = wanted.model_dump(mode="json", exclude=_NOT_MOVED)
        return self._written(wanted, self._table.update(item.batch_id, changes, version=item.version))

    def touch(self, batch_id: str, *, now: float) -> None:
        self._table.update(batch_id, {"seen_at": now})

    def note_quarantine(self, batch_id: str, *, delta_key: str, records: int) -> bool:
        # A path of two steps, so the delta's key may hold dots and slashes.
        return self._table.update(batch_id, {f"quarantined.{delta_key}": records})

    def request_cancel(self, batch_id: str, *, now: float) -> bool:
        return self._table.update(batch_id, {"cancel_requested_at": now})

    def list(self, *, open_only: bool = False) -> Iterator[BatchItem]:
        condition, names = "NOT begins_with(batch_id, :migration)", dict[str, str]()
        values = {":migration": {"S": KEY_PREFIX}}
        if open_only:
            closed = {f":{status}": {"S": status} for status in sorted(CLOSED)}
            condition += f" AND NOT #status IN ({', '.join(closed)})"
            names, values = {"#status": "status"}, values | closed
        request: dict[str, Any] = {"FilterExpression": condition, "ExpressionAttributeValues": values}
        if names:
            request["ExpressionAttributeNames"] = names
        return map(_item, self._table.scan(**request))

    def read_migration(self, name: str, namespace: str) -> MigrationItem | None:
        found = self._table.get(migration_key(name, namespace))
        return None if found is None else _migration(found)

    def save_migration(self, item: MigrationItem, *, now: float) -> MigrationItem:
        wanted = stored_migration(item, now=now)
        # As text: metadata has keys, the empty one among them, that no attribute may be called.
        row: Item = {"batch_id": item.key, "version": wanted.version, "write_id": wanted.write_id}
        if self._table.put({**row, "migration": wanted.model_dump_json()}, version=item.version):
            return wanted
        found = self._table.get(item.key)
        if found is not None and found["write_id"] == wanted.write_id:
            return wanted  # the reply was lost, and the client sent it again
        raise LedgerChanged(
            f"The migration {item.name} of {item.namespace!r} moved on since it was read.",
            remedy="Somebody else runs it, too: let one of the two go on.",
        )

    def _written(self, wanted: BatchItem, done: bool) -> BatchItem:
        if done:
            return wanted
        found = self._table.get(wanted.batch_id)
        if found is not None and found["write_id"] == wanted.write_id:
            return wanted  # the reply was lost, and the client sent it again
        raise LedgerChanged(f"Batch {wanted.batch_id} changed since it was read.")


def _item(found: Item) -> BatchItem:
    return BatchItem.model_validate(found)


def _migration(found: Item) -> MigrationItem:
    return MigrationItem.model_validate_json(found["migration"])
