"""A DynamoDB table as the ledger and the source table need it: conditional puts, batched reads, plain values.

Values are what JSON knows, plus ``bytes``. Floats survive exactly: they go as their shortest decimal form.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from siltstone.errors import StoreUnavailable
from siltstone.parallel import chunks
from siltstone.stores.aws import code_of, store_errors

Item = dict[str, Any]

_BATCH = 100  # BatchGetItem's limit
_ROUNDS = 8  # of asking again for what a throttled BatchGetItem left out
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class DynamoTable:
    """One table with one string key. ``client``: a boto3 DynamoDB client; safe for threads."""

    def __init__(self, name: str, key: str, client: Any) -> None:
        self._name = name
        self._key = key
        self._client = client

    def get(self, key: str) -> Item | None:
        """The item, read consistently."""
        with store_errors(f"Reading {key} in {self._name}"):
            reply = self._client.get_item(TableName=self._name, Key=self._at(key), ConsistentRead=True)
        return _from_wire(reply["Item"]) if "Item" in reply else None

    def get_many(self, keys: Iterable[str]) -> Iterator[Item]:
        """Those that exist, read consistently, in no order."""
        for chunk in chunks(dict.fromkeys(keys), _BATCH):
            wanted: dict[str, Any] = {self._name: {"Keys": [self._at(key) for key in chunk], "ConsistentRead": True}}
            for turn in range(_ROUNDS):
                with store_errors(f"Reading {len(chunk)} items of {self._name}"):
                    reply = self._client.batch_get_item(RequestItems=wanted)
                yield from map(_from_wire, reply["Responses"].get(self._name, []))
                wanted = reply.get("UnprocessedKeys") or {}
                if not wanted:
                    break
                time.sleep(0.05 * 2**turn)
            else:
                raise StoreUnavailable(f"{self._name} left items of a batch unread {_ROUNDS} times.")

    def put(self, item: Item, *, version: int) -> bool:
        """Store if the stored ``version`` is this one (0: there is no item). ``False``: it is not."""
        if version:
            condition: dict[str, Any] = {
                "ConditionExpression": "version = :version",
                "ExpressionAttributeValues": {":version": {"N": str(version)}},
            }
        else:
            condition = {
                "ConditionExpression": "attribute_not_exists(#key)",
                "ExpressionAttributeNames": {"#key": self._key},
            }
        wire = {name: _to_wire(value) for name, value in item.items() if value is not None}
        return self._conditional("put_item", item[self._key], Item=wire, **condition)

    def update(self, key: str, changes: Item, *, version: int | None = None) -> bool:
        """Set these attributes of an item that exists and, if given, has this version; a dot goes into a map.

        ``False``: there is no such item, and none was made.
        """
        names = {"#key": self._key}
        values: Item = {}
        assignments: list[str] = []
        for number, (path, value) in enumerate(changes.items()):
            steps = path.split(".", 1)
            names |= {f"#n{number}_{depth}": step for depth, step in enumerate(steps)}
            values[f":v{number}"] = _to_wire(value)
            assignments.append(".".join(f"#n{number}_{depth}" for depth in range(len(steps))) + f" = :v{number}")
        condition = "attribute_exists(#key)"
        if version is not None:
            condition += " AND version = :version"
            values[":version"] = {"N": str(version)}
        return self._conditional(
            "update_item",
            key,
            Key=self._at(key),
            UpdateExpression=f"SET {', '.join(assignments)}",
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )

    def scan(self, **request: Any) -> Iterator[Item]:
        """Every item, read consistently, page by page."""
        return self._pages("scan", ConsistentRead=True, **request)

    def query(self, **request: Any) -> Iterator[Item]:
        """What the query finds, page by page."""
        return self._pages("query", **request)

    def _pages(self, operation: str, **request: Any) -> Iterator[Item]:
        while True:
            with store_errors(f"{operation} of {self._name}"):
                reply = getattr(self._client, operation)(TableName=self._name, **request)
            yield from map(_from_wire, reply["Items"])
            if "LastEvaluatedKey" not in reply:
                return
            request["ExclusiveStartKey"] = reply["LastEvaluatedKey"]

    def _conditional(self, operation: str, key: str, **request: Any) -> bool:
        try:
            with store_errors(f"{operation} {key} in {self._name}"):
                getattr(self._client, operation)(TableName=self._name, **request)
        except ClientError as error:
            if code_of(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _at(self, key: str) -> Item:
        return {self._key: {"S": key}}


def _to_wire(value: Any) -> Any:
    return _serialize(_plain(value))


def _plain(value: Any) -> Any:
    match value:
        case float():
            return Decimal(repr(value))
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value


def _from_wire(item: Item) -> Item:
    return {name: _natural(_deserialize(value)) for name, value in item.items()}


def _natural(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case Binary():
            return bytes(value.value)
        case dict():
            return {name: _natural(inner) for name, inner in value.items()}
        case list():
            return [_natural(inner) for inner in value]
        case _:
            return value
