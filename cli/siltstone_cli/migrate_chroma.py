"""``siltstone migrate chroma``"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from siltstone.migration.takeover import take_over
from siltstone.migration.takeover_source import BucketPrefix, ChromaSource, LocalDirectory
from siltstone.stores.objects_s3 import S3Objects

from siltstone_cli.console import human_bytes, output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import Target, find_target


def chroma(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A Chroma directory, or s3://bucket/prefix.")],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", metavar="NAME", help="What it becomes here.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Which of the directory's collections, if several.")
    ] = None,
    build_anew: Annotated[
        bool, typer.Option("--build-anew", help="Build the index again, with the stage's space and HNSW values.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Make an existing Chroma directory the first version of a collection that has none.

    The directory is copied, never opened where it is; its writer must have closed it. Dimension, space and HNSW values
    must be the stage's, every row is looked at, and the copy is sealed and checked as after a compaction. Of a bucket,
    the prefix of the directory, or of all snapshots (then latest/pointer.txt says which). Deltas that wait stay
    pending: the next compaction merges them onto it. Broken off, give the same command again.

    Example: siltstone migrate chroma s3://chromadb-snapshots/snapshots/ --collection lines --stage dev
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    target = find_target(context, stage, local)
    target.stores.settings.resolve(collection)  # before anything is asked
    directory = _directory(path, target)
    if not yes:
        plan = f"{target.name}: {directory.name} becomes the first version of {collection}."
        output.print(plan, soft_wrap=True, markup=False)
        if not typer.confirm("Do it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    with problems.status(f"taking over {escape(directory.name)}"), tempfile.TemporaryDirectory() as workspace:
        done = take_over(
            directory,
            collection,
            target.stores,
            target.clock,
            workspace=Path(workspace),
            source=source,
            build_anew=build_anew,
        )
    if as_json:
        print_json(done)
        return
    how = "was taken over before" if done.already else "is taken over"
    output.print(
        f"[green]✓[/] {escape(directory.name)} {how}: {collection} is at {done.version}, {done.rows:,} rows, "
        f"{human_bytes(done.bytes)}.",
        soft_wrap=True,
    )


def _directory(path: str, target: Target) -> ChromaSource:
    if "://" not in path:
        return LocalDirectory(Path(path).expanduser())
    parts = urlsplit(path)
    if parts.scheme != "s3" or not parts.netloc:
        raise BadUsage(f"{path} is no place that is known.", remedy="Give a folder, or s3://bucket/prefix.")
    return BucketPrefix(S3Objects(parts.netloc, target.make_client("s3")), parts.path.lstrip("/"), path)
