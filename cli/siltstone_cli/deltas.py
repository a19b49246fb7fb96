"""``siltstone deltas``"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.deltas.operations_file import produce_file
from siltstone.deltas.quarantine import Quarantined, list_quarantined
from siltstone.deltas.quarantine import replay as replay_delta
from siltstone.errors import BadDelta, ObjectNotFound
from siltstone.overview.deltas import DeltaContent, list_deltas, show_delta

from siltstone_cli.collections import named
from siltstone_cli.completion import complete_collections
from siltstone_cli.console import human_age, human_bytes, human_count, output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import Target, find_target

app = typer.Typer(no_args_is_help=True, help="What waits to be merged, what could not be, and writing vectors.")

Collection = Annotated[
    str, typer.Argument(help="A collection; of a sharded one, a shard: lines.s00.", autocompletion=complete_collections)
]
Collections = Annotated[
    str | None, typer.Argument(help="One collection; default: all of them.", autocompletion=complete_collections)
]
_CUT = 80  # characters of a document in a table


@app.callback()
def deltas() -> None:
    """What waits to be merged, what could not be, and writing vectors."""


@app.command(name="list")
def list_(
    context: typer.Context,
    collection: Collections = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """List what waits to be merged, in the order in which it will be, and what the next run does with each.

    Example: siltstone deltas list lines --stage dev
    """
    target = find_target(context, stage, local)
    with problems.status("listing"):
        found = list_deltas(named(target.stores, collection), target.stores, target.clock)
    if as_json:
        print_json({"deltas": [each.model_dump(mode="json") for each in found]})
        return
    if not found:
        output.print("Nothing waits: every delta was merged.")
        return
    table = Table("collection", "delta", "written (UTC)", "age", "size", "layout", "state")
    for each in found:
        age, size = human_age(each.age_seconds), human_bytes(each.bytes)
        where = (escape(each.collection), escape(each.delta_id), each.written_at)
        table.add_row(*where, age, size, each.layout, each.state)
    output.print(table)


@app.command()
def show(
    context: typer.Context,
    collection: Collection,
    delta_id: Annotated[str, typer.Argument(metavar="DELTA_ID", help="As `siltstone deltas list` has it.")],
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="How many operations.", min=0)] = 20,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show what is in a delta that waits: where it came from, and its first operations; of a quarantined one, why.

    Example: siltstone deltas show lines 01KA2B3C4D5E6F7G8H9J0K1M2N --stage dev
    """
    target = find_target(context, stage, local)
    with problems.status("reading"), tempfile.TemporaryDirectory(prefix="siltstone-delta-") as workspace:
        found = show_delta(collection, delta_id, target.stores, Path(workspace), limit=limit)
    if as_json:
        print_json(found)
    else:
        _print_content(found)


@app.command()
def produce(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(help="Where to.", autocompletion=complete_collections)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL or .parquet.", dir_okay=False)],
    *,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Write vectors that you have already, or deletes, as deltas: no embedding is bought.

    A line is {"id", "embedding", "document", "metadata"}, or {"id", "op": "delete"}; Parquet has these as columns. The
    whole file is looked at before anything is written. Strong reads see a delta at once, all others after a compaction.

    Example: siltstone deltas produce notes vectors.jsonl --stage dev
    """
    target = find_target(context, stage, local)
    written: list[dict[str, object]] = []
    with problems.status("looking at every row") as shown:
        for delta in produce_file(file, collection, target.stores, target.clock):
            rows = delta.embedding_count
            written.append({"delta_id": delta.delta_id, "delta_keys": delta.delta_keys, "embedding_count": rows})
            if not as_json:
                output.print(f"[green]✓[/] {escape(delta.delta_id)}: {rows:,} operations", soft_wrap=True)
            shown.update(f"{len(written)} deltas written")
    if as_json:
        print_json({"collection": collection, "deltas": written})


@app.command()
def quarantine(
    context: typer.Context,
    collection: Collections = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """List the deltas that could not be used, with the reason. They stay until somebody replays them.

    Example: siltstone deltas quarantine --stage dev

    Exit code 1 if there are any.
    """
    target = find_target(context, stage, local)
    with problems.status("listing"):
        names = [None] if collection is None else named(target.stores, collection)
        found = [note for name in names for note in list_quarantined(target.stores.deltas, name)]
    if as_json:
        print_json({"quarantined": [each.model_dump(mode="json") for each in found]})
    elif not found:
        output.print("Nothing is in quarantine.")
    else:
        table = Table("collection", "delta", "since (UTC)", "records", "batch", "reason")
        for each in found:
            names_ = (escape(each.collection), escape(each.delta_id), each.quarantined_at)
            table.add_row(*names_, human_count(each.records), each.batch_id or "", escape(each.reason))
        output.print(table)
    if found:
        raise typer.Exit(FAILED)


@app.command()
def replay(
    context: typer.Context,
    collection: Collection,
    delta_ids: Annotated[list[str] | None, typer.Argument(metavar="DELTA_ID...", help="Which of them.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that the collection has in quarantine.")] = False,
    into: Annotated[
        str | None, typer.Option("--into", metavar="COLLECTION", help="Where it had come to the wrong collection.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Write quarantined deltas again, once what was wrong is mended: a new write, now, so it wins over older ones.

    One that still can't be used stays where it is, and the others go on.

    Example: siltstone deltas replay lines 01KA2B3C4D5E6F7G8H9J0K1M2N --stage dev
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    if every == bool(delta_ids):
        raise BadUsage("Which deltas?", remedy="Give their ids, or --all.")
    target = find_target(context, stage, local)
    notes = _chosen(target, collection, delta_ids)
    if notes and not yes:
        _ask(target, collection, into or collection, notes)
    written: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    with problems.status("writing again"), tempfile.TemporaryDirectory(prefix="siltstone-replay-") as workspace:
        for note in notes:
            place = {"stores": target.stores, "clock": target.clock, "workspace": Path(workspace), "into": into}
            try:
                done = replay_delta(collection, note.delta_id, **place)
            except BadDelta as error:
                refused.append({"delta_id": note.delta_id, "reason": str(error)})
            else:
                written.append({"delta_id": note.delta_id, "delta_keys": done.delta_keys})
    if as_json:
        print_json({"replayed": written, "refused": refused})
    else:
        for each in written:
            output.print(f"[green]✓[/] {escape(str(each['delta_id']))} is merged by the next run.", soft_wrap=True)
        for each in refused:
            problems.print(f"[red]{escape(str(each['delta_id']))}[/] {escape(str(each['reason']))}", soft_wrap=True)
        if not notes:
            output.print("Nothing is in quarantine.")
    if refused:
        raise typer.Exit(FAILED)


def _chosen(target: Target, collection: str, delta_ids: list[str] | None) -> list[Quarantined]:
    """Raises `ObjectNotFound` for one that is not there, before anything is written."""
    found = {note.delta_id: note for note in list_quarantined(target.stores.deltas, collection)}
    for delta_id in delta_ids or []:
        if delta_id not in found:
            raise ObjectNotFound(
                f"{collection} has no delta {delta_id!r} in quarantine.",
                remedy=f"See `siltstone deltas quarantine {collection}`.",
            )
    return [found[each] for each in dict.fromkeys(delta_ids or found)]


def _ask(target: Target, collection: str, into: str, notes: list[Quarantined]) -> None:
    for note in notes:
        output.print(f"{note.delta_id}: {note.reason}", soft_wrap=True, markup=False)
    what = f"{target.name}: {len(notes)} deltas of {collection} are written to {into} as new writes."
    output.print(f"{what} Rows that were written since then are overwritten.", soft_wrap=True, markup=False)
    if not typer.confirm("Do it?"):
        problems.print("Nothing was done.")
        raise typer.Exit(FAILED)


def _print_content(found: DeltaContent) -> None:
    output.print(f"{escape(found.key)}  {found.layout}, {human_bytes(found.bytes)}", soft_wrap=True)
    if found.reason is not None:
        output.print(f"[yellow]in quarantine[/] {escape(found.reason)}", soft_wrap=True)
        return
    if (header := found.header) is not None:
        batch = f", batch {header.batch_id}" if header.batch_id else ""
        made = f"{header.model}, dimension {header.dimension}, {header.input_format}{batch}, {header.created_at}"
        output.print(escape(made), soft_wrap=True)
    output.print(f"{found.upserts:,} upserts, {found.deletes:,} deletes")
    table = Table("op", "id", "document", "metadata")
    for each in found.operations:
        document = (each.document or "")[:_CUT]
        metadata = json.dumps(each.metadata, ensure_ascii=False) if each.metadata else ""
        table.add_row(each.op, escape(each.id), escape(document), escape(metadata[: 2 * _CUT]))
    if found.operations:
        output.print(table)
