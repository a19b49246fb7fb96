"""``siltstone sources``"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from rich.table import Table
from siltstone.errors import SiltstoneError
from siltstone.overview.sources import (
    CollectionSources,
    SourceInfo,
    SourcesStatus,
    SourceState,
    read_sources,
    sources_status,
)
from siltstone.purge.purge_source import purge_source
from siltstone.purge.report import Kind, PurgeReport
from siltstone.sources.loading import DeleteReport, delete_sources
from siltstone.stores.provider import EmbeddingProvider

from siltstone_cli.console import human_age, human_bytes, human_count, output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.provider import stage_provider
from siltstone_cli.target import Target, find_target
from siltstone_cli.watching import watched

app = typer.Typer(no_args_is_help=True, help="What became of each source; delete it; forget it.")

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="SOURCE_ID...", help="A receipt: IMAGE_ID.00001; a text: text.notes.ID.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.callback()
def sources() -> None:
    """What became of each source; delete it; forget it."""


@app.command()
def status(
    context: typer.Context,
    source_ids: Ids = None,
    *,
    failed: Annotated[int, typer.Option("--failed", metavar="N", help="How many failures to list.", min=0)] = 10,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Count the sources of each collection by status, or show what became of single ones.

    NONE waits for a plan, PENDING is in a batch, SUCCESS is in the store as it should be, FAILED waits for new content
    or for `siltstone embed plan` with --retry-failed.

    Example: siltstone sources status 3f0c1e2a-5b6d-4c7e-8f90-a1b2c3d4e5f6.00001 --stage dev
    """
    target = find_target(context, stage, local)
    if source_ids:
        found = read_sources(source_ids, target.stores)
        if as_json:
            print_json({"sources": [each.model_dump(mode="json") for each in found]})
        else:
            print_sources(found)
        return
    with problems.status("counting"):
        counted = sources_status(target.stores, target.clock)
    if as_json:
        print_json(counted)
    else:
        _print_status(counted, failed)


@app.command()
def delete(
    context: typer.Context,
    source_ids: Ids = None,
    *,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", metavar="FILE", help="Source ids, one on a line.", dir_okay=False)
    ] = None,
    yes: Yes = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Delete sources with all their records, in every collection that ever had any, also while a batch has them.

    Strong reads stop finding them at once, all others with the next compaction. Running it again does nothing more.
    Older versions and files keep them for their retention: where somebody asked to be forgotten, see `sources purge`.

    Example: siltstone sources delete text.notes.todo-17 text.notes.todo-18 --stage dev
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    ids = _ids(source_ids, from_file)
    target = find_target(context, stage, local)
    found = read_sources(ids, target.stores)  # one that is unknown stops all before anything is written
    if not yes:
        output.print(f"{target.name}: {_plan(found)}", soft_wrap=True, markup=False)
        if not typer.confirm("Do it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    with problems.status(f"deleting {len(ids)} sources"):
        done = delete_sources(ids, target.stores, target.clock)
    if as_json:
        print_json({"sources": len(ids), **vars(done)})
    else:
        _print_deleted(len(ids), done)


@app.command()
def purge(
    context: typer.Context,
    source_id: Annotated[str, typer.Argument(metavar="SOURCE_ID", help="The source of who asked to be forgotten.")],
    *,
    yes: Yes = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Forget a source: delete it, and take out for good what deleting leaves behind for recovery.

    That is its body, the batches' files and the provider's, retired deltas, quarantine, older versions, staging: every
    object version. What can't go yet is named, with the reason and when it can: run it again until nothing is held.
    It needs rights that no function has; docs/operations.md lists them, and what no command reaches.

    Example: siltstone sources purge text.notes.todo-17 --stage prod

    Exit code 1 while anything is held.
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    target = find_target(context, stage, local)
    (found,) = read_sources([source_id], target.stores)
    if not yes:
        output.print(f"{target.name}: {_purge_plan(found)}", soft_wrap=True, markup=False)
        if not typer.confirm("Do it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    with watched(source_id) as progress, tempfile.TemporaryDirectory(prefix="siltstone-purge-") as workspace:
        report = purge_source(
            source_id,
            target.stores,
            target.clock,
            provider=_provider(target),
            workspace=Path(workspace),
            progress=progress,
        )
    if as_json:
        print_json({**report.model_dump(mode="json"), "done": report.done})
    else:
        _print_purged(report)
    if not report.done:
        raise typer.Exit(FAILED)


def _provider(target: Target) -> EmbeddingProvider | None:
    """``None`` where its key can't be read: what is ours goes all the same, and the report holds the rest."""
    try:
        return stage_provider(target)
    except (SiltstoneError, BotoCoreError, ClientError) as error:
        problems.print(f"[yellow]no provider[/] {escape(' '.join(str(error).split()))}", soft_wrap=True)
        return None


def _ids(given: list[str] | None, file: Path | None) -> list[str]:
    """Each once, in order. Raises `BadUsage`."""
    if file is None:
        lines: list[str] = []
    else:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadUsage(f"{file} can't be read: {error}.", remedy="It holds one source id on a line.") from error
    ids = list(dict.fromkeys([*(given or []), *(line for line in lines if line)]))
    if not ids:
        raise BadUsage("No source is named.", remedy="Give source ids, or --from-file FILE with one on each line.")
    return ids


# status -------------------------------------------------------------------------------------------
def _print_status(found: SourcesStatus, failed: int) -> None:
    table = Table("collection", "none", "pending", "success", "failed", "records", "waits longest")
    for each in found.collections:
        table.add_row(
            escape(each.collection),
            human_count(each.none),
            human_count(each.pending),
            human_count(each.success),
            f"[red]{each.failed:,}[/]" if each.failed else "0",
            human_count(each.records),
            _oldest(each),
        )
    output.print(table)
    owed = f", {found.owed:,} of them with rows that the next plan deletes" if found.owed else ""
    output.print(f"{found.sources:,} sources; {found.deleted:,} deleted ones{owed}", soft_wrap=True)
    for each in found.failures[:failed]:
        output.print(
            f"[red]failed[/] {escape(each.source_id)} in {escape(each.collection)} since {each.since}: "
            f"{escape(each.cause)}",
            soft_wrap=True,
        )
    total = sum(each.failed for each in found.collections)
    if total > failed:
        output.print(f"{total - min(failed, len(found.failures)):,} more failed: --failed N lists them.")


def _oldest(found: CollectionSources) -> str:
    if found.oldest is None:
        return ""
    where = f" in batch {found.oldest.batch_id}" if found.oldest.batch_id else ""
    return escape(f"{found.oldest.source_id}, {human_age(found.oldest.age_seconds)}{where}")


def print_sources(found: list[SourceInfo]) -> None:
    """What became of each source, a table each."""
    for source in found:
        gone = f", [yellow]deleted {source.deleted_at}[/]" if source.deleted_at else ""
        output.print(
            f"[bold]{escape(source.source_id)}[/] {source.kind}, loaded {source.created_at}, "
            f"changed {source.updated_at}{gone}",
            soft_wrap=True,
        )
        table = Table("collection", "status", "in store", "in flight", "refused", "in doubt", "batch", "why")
        for state in source.collections:
            table.add_row(
                escape(state.collection),
                "deleted" if source.deleted_at else state.status,
                human_count(state.settled),
                human_count(state.in_flight),
                human_count(state.refused),
                human_count(state.in_doubt),
                escape(state.batch_id or ""),
                escape(state.cause or ""),
            )
        output.print(table)


# delete -------------------------------------------------------------------------------------------
def _plan(found: list[SourceInfo]) -> str:
    living = [source for source in found if source.deleted_at is None]
    if not living:
        return (
            f"{_sources(len(found))} {'was' if len(found) == 1 else 'were'} deleted before; whatever is left goes now."
        )
    states = [state for source in living for state in source.collections]
    batches = sorted({state.batch_id for state in states if state.in_flight and state.batch_id})
    before = f" ({len(found) - len(living)} more were deleted before)" if len(living) < len(found) else ""
    late = f" What {', '.join(batches)} still brings of them is paid for and left out." if batches else ""
    return (
        f"{_sources(len(living))} and {'its' if len(living) == 1 else 'their'} {_records(_held(states))} will be "
        f"deleted{before}.{late} The way back is to load them again, and to pay for them again."
    )


def _held(states: list[SourceState]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state in states:
        counts[state.collection] = counts.get(state.collection, 0) + state.settled + state.in_flight + state.in_doubt
    return counts


def _print_deleted(asked: int, done: DeleteReport) -> None:
    names = " ".join(sorted(name for name, number in done.records.items() if number))
    before = f"; {asked - done.deleted} had been deleted before" if done.deleted < asked else ""
    output.print(
        f"[green]✓[/] Deleted {_sources(done.deleted)}, {escape(_records(done.records))}{before}.", soft_wrap=True
    )
    if names:
        output.print(
            "  Strong reads no longer find them. Snapshot reads do until the next compaction, which comes by itself, "
            f"or now: siltstone compact start {escape(names)}",
            soft_wrap=True,
        )
    for name, number in sorted(done.owed.items()):
        if number:
            output.print(
                f"  [yellow]{number} rows stay[/] in {escape(name)}, which no setting of the stage names any more: "
                "name it in cdk.json again and delete once more.",
                soft_wrap=True,
            )


# purge --------------------------------------------------------------------------------------------
_KINDS: dict[Kind, str] = {
    "rows": "records",
    "body": "its content",
    "batch": "batch files",
    "provider": "the provider's files",
    "delta": "deltas",
    "quarantine": "quarantine",
    "version": "snapshot versions",
    "index": "index",
    "staging": "staging",
}


def _purge_plan(found: SourceInfo) -> str:
    deleted = "It was deleted before." if found.deleted_at else _plan([found])
    names = ", ".join(state.collection for state in found.collections)
    return (
        f"{deleted} Then every trace of it that is kept for recovery goes for good, with all files of the settled "
        f"batches that it was in, here and at the provider, and with the older versions of {names} that hold it: they "
        "can't be rolled back to any more. Nothing brings any of it back."
    )


def _print_purged(report: PurgeReport) -> None:
    if report.removed:
        table = Table("removed for good", "objects")
        for kind, number in report.removed.items():
            table.add_row(_KINDS[kind], human_count(number))
        output.print(table)
        output.print(f"{human_bytes(report.bytes)} in all object versions")
    for name, number in report.records.items():
        output.print(f"{number:,} records of {escape(name)} had come back, and are deleted again", soft_wrap=True)
    for each in report.held:
        until = f" until {each.until}" if each.until else ""
        output.print(
            f"[yellow]still held{until}[/] {_KINDS[each.kind]}: {escape(each.what)}\n    {escape(each.why)}\n"
            f"    [dim]→ {escape(each.remedy)}[/]",
            soft_wrap=True,
        )
    if report.done:
        output.print(f"[green]✓[/] Nothing of {escape(report.source_id)} is left, asked for {report.first_asked_at}.")
    else:
        output.print(f"Run it again until nothing is held: siltstone sources purge {escape(report.source_id)}")


def _sources(number: int) -> str:
    return f"{number:,} source{'' if number == 1 else 's'}"


def _records(counts: dict[str, int]) -> str:
    parts = [f"{number:,} in {name}" for name, number in sorted(counts.items()) if number]
    total = sum(counts.values())
    return f"{total:,} record{'' if total == 1 else 's'}" + (f" ({', '.join(parts)})" if parts else "")
