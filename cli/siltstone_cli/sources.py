"""``siltstone sources``"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from siltstone.errors import SiltstoneError
from siltstone.overview.sources import (
    read_sources,
    sources_status,
)
from siltstone.purge.purge_source import purge_source
from siltstone.sources.loading import delete_sources
from siltstone.stores.provider import EmbeddingProvider

from siltstone_cli.console import output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.provider import stage_provider
from siltstone_cli.sources_show import (
    deletion_plan,
    print_deleted,
    print_purged,
    print_sources,
    print_status,
    purge_plan,
)
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
        print_status(counted, failed)


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
        output.print(f"{target.name}: {deletion_plan(found)}", soft_wrap=True, markup=False)
        if not typer.confirm("Do it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    with problems.status(f"deleting {len(ids)} sources"):
        done = delete_sources(ids, target.stores, target.clock)
    if as_json:
        print_json({"sources": len(ids), **vars(done)})
    else:
        print_deleted(len(ids), done)


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
        output.print(f"{target.name}: {purge_plan(found)}", soft_wrap=True, markup=False)
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
        print_purged(report)
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
