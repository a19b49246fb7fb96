"""``siltstone receipts``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.overview.receipts import ReceiptPage, ShownReceipt, list_receipts, show_receipts
from siltstone.sources.layout import lay_out
from siltstone.sources.receipts import read_receipts
from siltstone.stores.sources import SourceStatus

from siltstone_cli.console import human_count, output, print_json, problems
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.sources_show import print_sources
from siltstone_cli.taking_in import DryRun, Rejected, Watch, load_all, opened
from siltstone_cli.target import find_target

app = typer.Typer(no_args_is_help=True, help="Receipts: load them, list them, look at one.")

_COLOURS: dict[str, str] = {"NONE": "dim", "PENDING": "yellow", "SUCCESS": "green", "FAILED": "red"}


@app.callback()
def receipts() -> None:
    """Receipts: load them, list them, look at one."""


@app.command()
def load(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A .jsonl file, a SROIE folder; - reads JSONL.")],
    *,
    dry_run: DryRun = False,
    rejected: Rejected = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Load receipts. What is loaded already and has not changed is left alone; of a corrected one, only what changed
    is embedded again, and lines and words that vanished are deleted.

    JSONL has a receipt on each line; a folder in the SROIE layout has box/NNN.csv and key/NNN.json. A bad receipt is
    named with its place, and the others are loaded. Nothing is embedded yet, and nothing is paid: `siltstone embed`
    does that.

    Example: siltstone receipts load receipts.jsonl --stage dev

    Exit code 1 if something was rejected. Interrupted, the same command goes on.
    """
    target = find_target(context, stage, local)
    if path != "-" and Path(path).is_dir():
        watch, found = Watch(), read_receipts(path)
    else:
        watch, source = opened(path)
        found = read_receipts(source)
    load_all(
        target, found, title=path, kind="receipts", watch=watch, dry_run=dry_run, rejected=rejected, as_json=as_json
    )


@app.command(name="list")
def list_(
    context: typer.Context,
    *,
    merchant: Annotated[
        str | None, typer.Option("--merchant", metavar="TEXT", help="Only merchants whose name holds this.")
    ] = None,
    status: Annotated[
        SourceStatus | None, typer.Option("--status", help="Only those with this status in some collection.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="How many.", min=1, max=1_000)] = 50,
    after: Annotated[
        str | None, typer.Option("--after", metavar="SOURCE_ID", help="Go on after this one: the end of the last page.")
    ] = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """List receipts by their ids, a page at a time, with their status in each collection.

    NONE waits for a batch, PENDING is in one, SUCCESS is in the store, FAILED was refused in part or as a whole.

    Example: siltstone receipts list --merchant kettle --status FAILED --stage dev
    """
    target = find_target(context, stage, local)
    with problems.status("reading receipts"):
        page = list_receipts(target.stores, limit=limit, after=after, merchant=merchant, status=status)
    if as_json:
        print_json(page)
    else:
        _print_page(page, filtered=merchant is not None or status is not None, after=after)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="IMAGE_ID[#RECEIPT_ID]", help="Or a source id, or a record's id.")],
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show a receipt, or all receipts of an image: the text laid out, and what became of it in each collection.

    Example: siltstone receipts show '3f0c1e2a-5b6d-4c7e-8f90-a1b2c3d4e5f6#1' --stage dev
    """
    found = show_receipts(name, find_target(context, stage, local).stores)
    if as_json:
        print_json(
            {
                "receipts": [
                    {
                        "source": each.source.model_dump(mode="json"),
                        "receipt": None if each.receipt is None else each.receipt.model_dump(mode="json"),
                    }
                    for each in found
                ]
            }
        )
        return
    for each in found:
        _print_receipt(each)


def _print_page(page: ReceiptPage, *, filtered: bool, after: str | None) -> None:
    if not page.receipts:
        none = "No receipt fits." if filtered else "No receipt follows." if after else "No receipt is loaded yet."
        output.print(none)
        return
    names = sorted({name for row in page.receipts for name in row.statuses})
    table = Table("image", "receipt", "merchant", "lines", "words", *(f"in {escape(name)}" for name in names))
    for row in page.receipts:
        statuses = (row.statuses.get(name) for name in names)
        table.add_row(
            row.image_id,
            str(row.receipt_id),
            escape(row.merchant_name or ""),
            human_count(row.lines),
            human_count(row.words),
            *("" if status is None else f"[{_COLOURS[status]}]{status}[/]" for status in statuses),
        )
    output.print(table)
    if page.next is not None:
        output.print(f"There are more: --after {page.next}", soft_wrap=True)


def _print_receipt(found: ShownReceipt) -> None:
    if found.receipt is not None:
        merchant = found.receipt.merchant_name or "merchant unknown"
        output.print(
            f"[bold]{escape(merchant)}[/]: {len(found.receipt.lines):,} lines, {len(found.receipt.words):,} words",
            soft_wrap=True,
        )
        for line in lay_out(found.receipt):
            output.print(f"  {escape(line)}", soft_wrap=True)
    print_sources([found.source])
