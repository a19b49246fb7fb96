"""The lease store on DynamoDB: every write is conditional, so a race has one winner.

Acquiring reads the item (consistently), applies `siltstone.stores.leases.claim`, and writes the outcome only if the
item is still the one that was read. Renewing and releasing are one conditional update each.

    time      run A (owner A)                      run B (owner B)
    0         acquire: token 7, expires 1200
    600       renew: expires 1800
    700                                            acquire: B reads expires 1800 >= 700     -> LockBusy
    1500      (A's process hangs)
    1801                                           acquire: reads 1800 < 1801, writes
                                                   IF token = 7 AND owner = A AND expires = 1800
                                                   -> token 8, owner B
    1802      renew IF owner = A AND token = 7     -> refused: LockLost, A stops
    1803      release, the same condition          -> refused: B's lock stays

Why `expires` is in the condition of acquire: had A renewed between B's read and B's write, owner and token would still
match, and B would take a lock that is alive.
Why `token` is in the condition of renew and release: an owner's name can come back (an execution restarted under its
name after its lease was taken over), a token can't.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from siltstone.errors import LockLost, StoreUnavailable
from siltstone.stores.aws import code_of, store_errors
from siltstone.stores.leases import Lease, claim

_Item = dict[str, dict[str, str]]
_RACES = 10  # each lost race means that another acquired, renewed or released: the next read shows it
_MINE = "#owner = :owner AND #token = :token"
_NAMES = {"#owner": "owner", "#token": "token"}  # both are reserved words of DynamoDB


class DynamoLeases:
    """`siltstone.stores.leases.LeaseStore` over a table with the string key ``lock_id``.

    ``client``: a boto3 DynamoDB client, made with `siltstone.stores.aws.CLIENT_CONFIG`.
    """

    def __init__(self, table: str, client: Any) -> None:
        self.table = table
        self._client = client

    def read(self, lock_id: str) -> Lease | None:
        item = self._read(lock_id)
        return None if item is None else _lease(item)

    def acquire(self, lock_id: str, owner: str, *, now: float, seconds: float, floor: int) -> Lease:
        for _ in range(_RACES):
            item = self._read(lock_id)
            found = None if item is None else _lease(item)
            lease = claim(found, lock_id, owner, now=now, seconds=seconds, floor=floor)
            # Also after a lost reply: the write that botocore repeats is refused, the next read shows it is ours.
            if self._conditional("put_item", lock_id, Item=_item(lease), **_still(item)):
                return lease
        raise StoreUnavailable(f"{lock_id} changed {_RACES} times while it was read.", remedy="Try again.")

    def renew(
        self,
        lock_id: str,
        owner: str,
        token: int,
        *,
        now: float,
        seconds: float,
        taking: int | None = None,
        alone: str | None = None,
    ) -> Lease:
        values = {":expires": _number(now + seconds), ":heartbeat": _number(now)}
        update = "SET expires = :expires, heartbeat = :heartbeat"
        if taking is not None:
            values[":taking"] = _number(taking)
            update += ", taking = :taking"
            update += _set_or_remove(values, {"alone": None if alone is None else {"S": alone}})
        reply = self._update(lock_id, owner, token, update=update, values=values)
        if reply is None:
            raise LockLost(
                f"{lock_id} is no longer held by {owner} with token {token}.",
                remedy="Nothing is lost: whoever has the lock does the work.",
            )
        return _lease(reply["Attributes"])

    def release(
        self, lock_id: str, owner: str, token: int, *, take: int | None, failures: int, suspect: str | None = None
    ) -> bool:
        values = {":zero": _number(0), ":failures": _number(failures)}
        update = "SET expires = :zero, failures = :failures"
        update += _set_or_remove(
            values,
            {
                "#take": None if take is None else _number(take),
                "suspect": None if suspect is None else {"S": suspect},
                "#owner": None,
                "taking": None,
                "alone": None,
            },
        )
        return self._update(lock_id, owner, token, update=update, values=values, names={"#take": "take"}) is not None

    def _read(self, lock_id: str) -> _Item | None:
        with store_errors(f"Reading {lock_id}"):
            reply = self._client.get_item(TableName=self.table, Key={"lock_id": {"S": lock_id}}, ConsistentRead=True)
        return reply.get("Item")

    def _update(
        self,
        lock_id: str,
        owner: str,
        token: int,
        *,
        update: str,
        values: _Item,
        names: dict[str, str] | None = None,
    ) -> dict[str, Any] | None:
        """Update the item if it is mine. A missing item fails the condition too, so none is ever made here."""
        return self._conditional(
            "update_item",
            lock_id,
            Key={"lock_id": {"S": lock_id}},
            UpdateExpression=update,
            ConditionExpression=_MINE,
            ExpressionAttributeNames=_NAMES | (names or {}),
            ExpressionAttributeValues={":owner": {"S": owner}, ":token": _number(token), **values},
            ReturnValues="ALL_NEW",
        )

    def _conditional(self, operation: str, lock_id: str, **request: Any) -> dict[str, Any] | None:
        """The reply, or ``None`` if the condition does not hold."""
        try:
            with store_errors(f"{operation} {lock_id}"):
                return getattr(self._client, operation)(TableName=self.table, **request)
        except ClientError as error:
            if code_of(error) == "ConditionalCheckFailedException":
                return None
            raise


def _still(item: _Item | None) -> dict[str, Any]:
    """The condition "the item is the one that was read", over all that decides who may take the lock."""
    if item is None:
        return {"ConditionExpression": "attribute_not_exists(lock_id)"}
    values = {":token": item["token"], ":expires": item["expires"]}
    if "owner" in item:
        values[":owner"] = item["owner"]
        owner = "#owner = :owner"
    else:
        owner = "attribute_not_exists(#owner)"
    return {
        "ConditionExpression": f"#token = :token AND expires = :expires AND {owner}",
        "ExpressionAttributeNames": _NAMES,
        "ExpressionAttributeValues": values,
    }


def _set_or_remove(values: _Item, fields: Mapping[str, dict[str, str] | None]) -> str:
    """The rest of an update expression that began with SET; what has no value is removed. Adds to ``values``."""
    given = {name: value for name, value in fields.items() if value is not None}
    values |= {f":{name.lstrip('#')}": value for name, value in given.items()}
    sets = "".join(f", {name} = :{name.lstrip('#')}" for name in given)
    removed = ", ".join(name for name in fields if name not in given)
    return sets + (f" REMOVE {removed}" if removed else "")


def _number(value: float) -> dict[str, str]:
    return {"N": repr(value)}


def _item(lease: Lease) -> _Item:
    item: _Item = {
        "lock_id": {"S": lease.lock_id},
        "token": _number(lease.token),
        "expires": _number(lease.expires),
        "acquired_at": _number(lease.acquired_at),
        "heartbeat": _number(lease.heartbeat),
        "failures": _number(lease.failures),
    }
    if lease.owner is not None:
        item["owner"] = {"S": lease.owner}
    if lease.take is not None:
        item["take"] = _number(lease.take)
    if lease.taking is not None:
        item["taking"] = _number(lease.taking)
    if lease.alone is not None:
        item["alone"] = {"S": lease.alone}
    if lease.suspect is not None:
        item["suspect"] = {"S": lease.suspect}
    return item


def _lease(item: _Item) -> Lease:
    def number(name: str) -> float:
        return float(item[name]["N"]) if name in item else 0.0

    def optional(name: str) -> int | None:
        return int(item[name]["N"]) if name in item else None

    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    return Lease(
        lock_id=item["lock_id"]["S"],
        token=int(item["token"]["N"]),
        owner=text("owner"),
        expires=number("expires"),
        acquired_at=number("acquired_at"),
        heartbeat=number("heartbeat"),
        take=optional("take"),
        taking=optional("taking"),
        alone=text("alone"),
        failures=int(number("failures")),
        suspect=text("suspect"),
    )
