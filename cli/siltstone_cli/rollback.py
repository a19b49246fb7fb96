"""``siltstone rollback``"""

from __future__ import annotations

from typing import Annotated

import typer
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.rollback import rollback as roll_back
from siltstone.compaction.version import Version
from siltstone.errors import InvalidInput, UnknownCollection
from siltstone.stores import Stores

from siltstone_cli.collections import only
from siltstone_cli.console import human_bytes, output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target


def rollback(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(help="A collection; of a sharded one, a shard: lines.s00.")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="V", help="The version whose content becomes current again.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Make an older version's content current again, as a new version.

    Nothing is deleted, and a rollback can be rolled back. Deltas that wait are merged by the next compaction; those
    that newer versions had merged are not: write them again if they are wanted.

    Example: siltstone rollback lines --to 20260131_235959_00000042 --stage dev
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    target = find_target(context, stage, local)
    plan = _plan(only(target.stores, collection), to, target.stores)
    if not yes:
        output.print(f"{target.name}: {plan}", soft_wrap=True, markup=False)
        if not typer.confirm("Do it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    with problems.status(f"rolling {collection} back to {to}"):
        done = roll_back(collection, to, target.stores, target.clock)
    if as_json:
        print_json({"collection": collection, "restored_from": to, **done.model_dump(mode="json")})
        return
    output.print(f"[green]✓[/] {collection} is at {done.version}, which holds what {to} held. Before: {done.previous}.")


def _plan(collection: str, to: str, stores: Stores) -> str:
    """What will happen, once it is clear that it can. Raises what `siltstone.compaction.rollback` would."""
    current = read_pointer(stores.snapshots, collection).version
    if current is None:
        raise UnknownCollection(f"The collection {collection!r} has no version.", remedy="See `siltstone status`.")
    if Version.parse(to).token >= Version.parse(current).token:
        raise InvalidInput(f"{to} is not older than {current}.", remedy=f"See `siltstone versions {collection}`.")
    now, then = (read_manifest(stores.snapshots, collection, version) for version in (current, to))
    return (
        f"{collection} goes from {current} ({now.counts.after:,} rows) back to the content of {to} "
        f"({then.counts.after:,} rows, {human_bytes(then.total_bytes)} to copy), under a new version. Pending deltas "
        "stay pending; what newer versions merged is not merged again."
    )
