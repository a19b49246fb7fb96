"""Stores that allow what the roles of a template allow, and nothing else: emulators do not check IAM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from siltstone.stores import Stores

from tests.infrastructure.template import Template

# What the adapters call for each method (core/siltstone/stores/*_s3*.py, *_dynamo.py, hints_sqs.py).
_KEYED = {
    "get": ["s3:GetObject"],
    "get_if_changed": ["s3:GetObject"],
    "head": ["s3:GetObject"],
    "get_file": ["s3:GetObject"],
    "put": ["s3:PutObject"],
    "put_file": ["s3:PutObject"],
    "delete": ["s3:DeleteObject"],
}
_LISTING = {"list_page": "s3:ListBucket", "list": "s3:ListBucket", "list_prefixes": "s3:ListBucket"}
_LISTING["list_versions"] = "s3:ListBucketVersions"
_LEASES = {
    "read": ["GetItem"],
    "acquire": ["GetItem", "PutItem"],
    "renew": ["UpdateItem"],
    "release": ["UpdateItem"],
}
_LEDGER = {
    "create": ["PutItem", "GetItem"],
    "read": ["GetItem"],
    "read_many": ["BatchGetItem"],
    "save": ["PutItem", "GetItem"],
    "touch": ["UpdateItem"],
    "note_quarantine": ["UpdateItem"],
    "list": ["Scan"],
}
_SOURCES = {
    "read": ["GetItem"],
    "read_many": ["BatchGetItem"],
    "save": ["PutItem", "GetItem"],
    "save_many": ["PutItem", "GetItem"],
    "list_open": ["Query"],
    "list": ["Scan"],
}


class Denied(Exception):
    """The role may not do it."""


@dataclass(frozen=True)
class Role:
    """A function's role in a template."""

    template: Template
    name: str

    def need(self, action: str, resource: str) -> None:
        camel = "".join(part.capitalize() for part in self.name.split("_"))
        if not self.template.allows(f"Functions{camel}Role", action, resource):
            raise Denied(f"{self.name} may not {action} {resource}")


class GuardedObjects:
    """A bucket behind a role."""

    def __init__(self, inner: Any, role: Role, bucket: str) -> None:
        self._inner, self._role, self._bucket = inner, role, bucket

    def copy(self, source_key: str, key: str, *, if_match: str, source: Any = None) -> Any:
        origin = source or self
        origin._role.need("s3:GetObject", f"<{origin._bucket}>/{source_key}")
        self._role.need("s3:PutObject", f"<{self._bucket}>/{key}")
        return self._inner.copy(source_key, key, if_match=if_match, source=origin._inner)

    def delete_many(self, keys: list[str]) -> None:
        for key in keys:
            self._role.need("s3:DeleteObject", f"<{self._bucket}>/{key}")
        self._inner.delete_many(keys)

    def __getattr__(self, method: str) -> Any:
        if method not in _KEYED and method not in _LISTING:
            raise AttributeError(method)

        def call(*arguments: Any, **options: Any) -> Any:
            if method in _LISTING:
                self._role.need(_LISTING[method], f"<{self._bucket}>")
            else:
                for action in [*_KEYED[method], *(["s3:GetObject"] if options.get("if_match") else [])]:
                    self._role.need(action, f"<{self._bucket}>/{arguments[0]}")
                # Without it a missing key is a 403.
                self._role.need("s3:ListBucket", f"<{self._bucket}>")
            return getattr(self._inner, method)(*arguments, **options)

        return call


class GuardedTable:
    """A lease store, ledger or source table behind a role."""

    def __init__(self, inner: Any, role: Role, table: str, actions: dict[str, list[str]]) -> None:
        self._inner, self._role, self._table, self._actions = inner, role, table, actions

    def __getattr__(self, method: str) -> Any:
        for action in self._actions[method]:
            index = "/index/open" if action == "Query" else ""
            self._role.need(f"dynamodb:{action}", f"<{self._table}>{index}")
        return getattr(self._inner, method)


class GuardedHints:
    def __init__(self, inner: Any, role: Role) -> None:
        self._inner, self._role = inner, role

    def tell(self, **hint: Any) -> None:
        self._role.need("sqs:SendMessage", "<HintsQueue>")
        self._inner.tell(**hint)


def behind(role: Role, stores: Stores) -> Any:
    """The same stores as the function of ``role`` may use them."""
    guarded: Any = replace(
        stores,
        deltas=GuardedObjects(stores.deltas, role, "DeltaBucket"),  # type: ignore[arg-type]
        snapshots=GuardedObjects(stores.snapshots, role, "SnapshotBucket"),  # type: ignore[arg-type]
        leases=GuardedTable(stores.leases, role, "LockTable", _LEASES),  # type: ignore[arg-type]
        ledger=GuardedTable(stores.ledger, role, "LedgerTable", _LEDGER),  # type: ignore[arg-type]
        sources=GuardedTable(stores.sources, role, "SourceTable", _SOURCES),  # type: ignore[arg-type]
        hints=GuardedHints(stores.hints, role),
    )
    return guarded
