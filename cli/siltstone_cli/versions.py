"""``siltstone versions``"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.overview.versions import VersionInfo, list_versions

from siltstone_cli.collections import only
from siltstone_cli.console import human_bytes, human_count, output, print_json
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target


def versions(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(help="A collection; of a sharded one, a shard: lines.s00.")],
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """List a collection's versions, the newest first: those that a reader can ask for and a rollback can restore.

    Example: siltstone versions lines --stage dev
    """
    stores = find_target(context, stage, local).stores
    found = list_versions(stores, only(stores, collection))
    if as_json:
        print_json({"collection": collection, "versions": [version.model_dump(mode="json") for version in found]})
        return
    table = Table("", "version", "made (UTC)", "rows", "new", "changed", "deleted", "size", "deltas", "what")
    for version in found:
        table.add_row(
            ("→" if version.current else "") + ("📌" if version.pinned else ""),
            version.version,
            version.created_at or "",
            human_count(version.rows),
            human_count(version.inserted),
            human_count(version.updated),
            human_count(version.deleted),
            human_bytes(version.bytes),
            human_count(version.deltas),
            escape(_what(version)),
        )
    output.print(table)
    output.print("→ current, 📌 pinned; deltas: named by the manifest, also those an earlier version had merged.")


def _what(version: VersionInfo) -> str:
    if version.fault:
        return version.fault
    if version.reason == "rollback":
        return f"rollback to {version.restored_from}"
    if version.reason == "takeover":
        return "taken over"
    return f"from {version.parent}" if version.parent else "the first"
