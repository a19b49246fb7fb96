"""``siltstone texts``"""

from __future__ import annotations

from typing import Annotated

import typer
from siltstone.sources.table import Columns
from siltstone.sources.text import check_takes_texts
from siltstone.sources.texts import Format, read_texts

from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.taking_in import DryRun, Rejected, load_all, opened
from siltstone_cli.target import find_target

app = typer.Typer(no_args_is_help=True, help="Texts: documents with an id, that are not receipts.")


@app.callback()
def texts() -> None:
    """Texts: documents with an id, that are not receipts."""


@app.command()
def load(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help=".jsonl, .csv, .tsv or .parquet; - reads JSONL.")],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", help="The collection that takes the texts.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="What the file is, where its name does not say it.")
    ] = None,
    id_column: Annotated[str, typer.Option("--id-column", metavar="NAME", help="CSV, Parquet: the ids.")] = "id",
    text_column: Annotated[
        str, typer.Option("--text-column", metavar="NAME", help="CSV, Parquet: the texts.")
    ] = "text",
    separator: Annotated[
        str | None,
        typer.Option("--separator", metavar="CHAR", help="Between a CSV's columns: a comma, a tab in .tsv, or this."),
    ] = None,
    dry_run: DryRun = False,
    rejected: Rejected = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Load texts into a collection. What is loaded already and has not changed is left alone.

    JSONL has {"id", "text", "metadata"} on each line; CSV and Parquet have a column of ids and one of texts, and all
    other columns become metadata (of a CSV as text). A bad row, or a text over the model's limit, is named with its
    place, and the others are loaded. Nothing is embedded yet, and nothing is paid: `siltstone embed` does that.

    Example: siltstone texts load notes.csv --collection notes --id-column number --stage dev

    Exit code 1 if something was rejected. Interrupted, the same command goes on.
    """
    target = find_target(context, stage, local)
    check_takes_texts(collection, target.stores.settings)
    watch, source = opened(file)
    found = read_texts(source, collection, form=form, columns=Columns(id_column, text_column), separator=separator)
    load_all(
        target,
        found,
        title=source.name,
        kind="texts",
        watch=watch,
        dry_run=dry_run,
        rejected=rejected,
        as_json=as_json,
    )
