"""``siltstone verify``"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text
from siltstone.verify.findings import Report, Severity, VerifyInput
from siltstone.verify.verify import verify as verify_collection

from siltstone_cli.collections import named, only
from siltstone_cli.console import human_bytes, output, print_json
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target
from siltstone_cli.watching import watched

_COLOURS: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}


def verify(
    context: typer.Context,
    collection: Annotated[str | None, typer.Argument(help="One collection, or a shard; default: all of them.")] = None,
    *,
    version: Annotated[str | None, typer.Option("--version", metavar="V", help="Only this version's files.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Rebuild each version from its base and deltas and compare every row.")
    ] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Check that what is stored is what was promised. Reads only; may run beside compactions.

    Every file against its SHA-256, the pointer's history, every delta that waits or was deleted, the quarantine. With
    --deep every kept version is downloaded and rebuilt too: it takes disk for two versions, and time.

    Example: siltstone verify lines --deep --stage prod

    Exit code 1 if there is an error among the findings; docs/operations.md says what each finding asks for.
    """
    if version is not None and collection is None:
        raise BadUsage("--version needs a collection.", remedy="siltstone verify COLLECTION --version V.")
    target = find_target(context, stage, local)
    if version is not None and collection is not None:
        names = [only(target.stores, collection)]
    else:
        names = named(target.stores, collection)
    reports: list[Report] = []
    for name in names:
        with watched(name) as progress, tempfile.TemporaryDirectory(prefix="siltstone-verify-") as workspace:
            request = VerifyInput(collection=name, version=version, deep=deep)
            report = verify_collection(
                request, target.stores, target.clock, workspace=Path(workspace), progress=progress
            )
        reports.append(report)
        if not as_json:
            _show(report)
    damaged = any(report.damaged for report in reports)
    if as_json:
        print_json({"damaged": damaged, "reports": [report.model_dump(mode="json") for report in reports]})
    if damaged:
        raise typer.Exit(FAILED)


def _show(report: Report) -> None:
    verdict = "[red]damaged[/]" if report.damaged else "[green]✓[/]"
    looked_at = ", ".join(_looked_at(report))
    output.print(
        f"{verdict} [bold]{escape(report.collection)}[/] {looked_at} [dim]{report.seconds:.1f} s[/]", soft_wrap=True
    )
    for found in report.findings:
        line = Text("  ")
        line.append(found.severity, _COLOURS[found.severity])
        line.append(f" {found.code} ", "bold")
        line.append(f"{found.key}\n    {found.what}")
        if found.remedy:
            line.append(f"\n    → {found.remedy}", "dim")
        output.print(line, soft_wrap=True)


def _looked_at(report: Report) -> list[str]:
    figures = report.figures
    parts = {
        report.current or "no version": 1,
        f"{figures.versions} checked: {figures.objects} files, {human_bytes(figures.bytes)}": figures.versions,
        f"{figures.rows_compared:,} rows compared": figures.versions_rebuilt,
        f"{figures.deltas_pending} pending": figures.deltas_pending,
        f"{figures.deltas_accounted} of {figures.deltas_deleted} retired deltas accounted for": figures.deltas_deleted,
        f"{human_bytes(figures.staging_bytes)} in staging": figures.staging_objects,
    }
    return [part for part, amount in parts.items() if amount]
