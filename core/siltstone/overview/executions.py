"""The latest executions of the machines, and what became of each collection in a compaction."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from siltstone.clock import Clock, iso
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import Message
from siltstone.errors import Damage, SchemaTooNew, UnknownVersion
from siltstone.parallel import in_parallel
from siltstone.stores import Stores
from siltstone.stores.machines import Execution, Machine

_MAP = "CompactCollections"
_MESSAGE = re.compile(r'\{"errorMessage":\s*"((?:[^"\\]|\\.)*)')


class CollectionOutcome(Message):
    """What one execution did for one collection. ``rows``: of the version, where it was asked for and is known.

    ``busy``: another run held the lock and does this work. ``idle``: no delta was there to merge. ``more``: a backlog
    is left, and the machine has started itself again for it.
    """

    collection: str
    status: Literal["compacted", "idle", "busy", "failed"]
    version: str | None
    more: bool
    cause: str | None
    rows: int | None = None


class ExecutionInfo(Message):
    """One execution. ``seconds``: how long it took, or has run until now. ``cause``: why it failed."""

    name: str
    status: str
    started_at: str
    seconds: float
    cause: str | None = None
    collections: tuple[CollectionOutcome, ...] = ()


def list_executions(machine: Machine, clock: Clock, limit: int) -> list[ExecutionInfo]:
    """The latest executions of a machine, newest first, by status and time alone. Raises `StoreUnavailable`."""
    return [_info(each, clock) for each in machine.list(limit)]


def list_compactions(machine: Machine, clock: Clock, limit: int) -> list[ExecutionInfo]:
    """The latest executions of the compaction machine with what became of each collection."""
    return in_parallel(lambda each: _compaction(each.name, machine, clock), machine.list(limit))


def read_compaction(name: str, machine: Machine, stores: Stores, clock: Clock) -> ExecutionInfo:
    """One execution, with the rows of each version that it made. Raises `UnknownExecution`, `StoreUnavailable`."""
    found = _compaction(name, machine, clock)
    counted = in_parallel(lambda one: _counted(one, stores), found.collections)
    return found.model_copy(update={"collections": tuple(counted)})


def _compaction(name: str, machine: Machine, clock: Clock) -> ExecutionInfo:
    found = machine.look(name)
    results: Any = found.output["collections"] if found.status == "SUCCEEDED" else None
    if results is None and not found.running:
        results = machine.output_of(name, _MAP)  # a failed execution has no output, but what its map handed on
    return _info(found, clock).model_copy(update={"collections": tuple(_outcome(one) for one in _rows(results))})


def _rows(results: Any) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", results) if isinstance(results, list) else []


def _outcome(result: dict[str, Any]) -> CollectionOutcome:
    cause = result.get("cause")
    return CollectionOutcome.model_validate(result | {"cause": None if cause is None else readable(cause)})


def _info(found: Execution, clock: Clock) -> ExecutionInfo:
    end = clock.now() if found.stopped_at is None else found.stopped_at
    return ExecutionInfo(
        name=found.name,
        status=found.status,
        started_at=iso(found.started_at),
        seconds=round(max(0.0, end - found.started_at), 1),
        cause=readable(f"{found.error}: {found.cause}") if found.error or found.cause else None,
    )


def readable(cause: str) -> str:
    """Lambda's JSON of a raised error replaced by its message: ``Download: DiskFull: The scratch disk is full.``"""
    return _MESSAGE.sub(lambda found: found[1].replace('\\"', '"') + "\0", cause).partition("\0")[0]


def _counted(outcome: CollectionOutcome, stores: Stores) -> CollectionOutcome:
    if outcome.version is None:
        return outcome
    try:
        manifest = read_manifest(stores.snapshots, outcome.collection, outcome.version)
    except (UnknownVersion, Damage, SchemaTooNew):
        return outcome  # retention has removed it since
    return outcome.model_copy(update={"rows": manifest.counts.after})
