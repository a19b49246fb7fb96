"""``siltstone migrate pinecone``"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.clients.in_process import StoresTransport
from siltstone.migration.convert import DOCUMENT_KEY
from siltstone.migration.copying import copy_namespace
from siltstone.migration.estimate import MoveEstimate, estimate
from siltstone.migration.job import Job, Pages
from siltstone.migration.patience import PatientIndex
from siltstone.migration.plan import check_name, default_name, plan_moves
from siltstone.migration.report import MigrationReport
from siltstone.migration.source_pinecone import open_pinecone
from siltstone.migration.verifying import verify_migration
from siltstone.migration.walk import Listing, Walk, ids_of_file, ids_of_sources
from siltstone.stores.migrations import MigrationItem

from siltstone_cli.console import human_bytes, output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.progress import counted
from siltstone_cli.provider import stage_provider
from siltstone_cli.target import Target, find_target

_SHOWN = 20  # of a kind

_Host = Annotated[
    str | None,
    typer.Option("--host", metavar="URL", help="Its address instead. Also PINECONE_HOST, where no INDEX is named."),
]
_Namespace = Annotated[
    list[str] | None, typer.Option("--namespace", metavar="NS", help="Only this one. May be repeated.")
]
_Mapping = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NS=COLLECTION", help="Where a namespace goes; default: by its own name."),
]
_Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Of the migration; default: by the index. The same name goes on."),
]
_IdsFrom = Annotated[
    Path | None, typer.Option("--ids-from", metavar="FILE", help="One id per line, where the index can't list.")
]
_Metric = Annotated[
    str | None,
    typer.Option("--metric", metavar="M", help="Where the index does not say: cosine, euclidean, dotproduct."),
]
_DocumentKey = Annotated[
    str, typer.Option("--document-key", metavar="KEY", help="Of the metadata, whose text becomes the document.")
]
_Rate = Annotated[
    float | None, typer.Option("--rate", metavar="N", help="At most so many requests a second.", min=0.01)
]
_Report = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write what --verify finds as JSON, too.")
]


def pinecone(
    context: typer.Context,
    index: Annotated[str | None, typer.Argument(help="The index's name. Also PINECONE_INDEX_NAME.")] = None,
    *,
    host: _Host = None,
    namespace: _Namespace = None,
    mapping: _Mapping = None,
    name: _Name = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it is and what it costs.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Copy nothing: compare both sides.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="From the first page; equal rows stay.")] = False,
    ids_from: _IdsFrom = None,
    ids_from_sources: Annotated[
        bool, typer.Option("--ids-from-sources", help="The ids of all records of the loaded sources.")
    ] = False,
    metric: _Metric = None,
    document_key: _DocumentKey = DOCUMENT_KEY,
    page_size: Annotated[int, typer.Option("--page-size", metavar="N", help="Rows of a delta, up to 50,000.")] = 5_000,
    fetch_size: Annotated[int, typer.Option("--fetch-size", metavar="N", help="Ids of a request, up to 1,000.")] = 100,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Requests at the same time.")] = 4,
    rate: _Rate = None,
    queries: Annotated[int, typer.Option("--queries", metavar="N", help="Of --verify, asked in both.", min=0)] = 20,
    report: _Report = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Copy an index of Pinecone into collections, or compare the two. PINECONE_API_KEY has to be set.

    Vectors are copied as they are: no embedding is bought. Stopped at any moment, the same command goes on where it
    was. Strong reads see a page at once, all others after a compaction. Metadata that Chroma can't hold and sparse
    values are kept as JSON under pinecone_json.

    Example: siltstone migrate pinecone receipts --map words=words --map lines=lines --dry-run --stage dev

    Example: siltstone migrate pinecone receipts --verify --report report.json --stage dev

    Exit code 1 if something could not be copied, or if --verify finds a difference.
    """
    if sum((dry_run, verify, restart)) > 1:
        raise BadUsage("--dry-run, --verify and --restart are three things.", remedy="Give one of them.")
    if ids_from is not None and ids_from_sources:
        raise BadUsage("--ids-from and --ids-from-sources are two lists.", remedy="Give one of them.")
    if report is not None and not verify:
        raise BadUsage("--report is of --verify.", remedy="Add --verify.")
    if name is not None:
        check_name(name)
    pages, where_to = Pages(page_size, fetch_size, workers), _mapping(mapping or [])
    given = None if ids_from is None else ids_of_file(ids_from)
    target = find_target(context, stage, local)
    source = PatientIndex(open_pinecone(index, host=host), target.clock, rate=rate)
    with problems.status("asking the index"):
        moves = plan_moves(source.shape(), target.stores, mapping=where_to, only=namespace or [], metric=metric)

    def walk(collection: str) -> Walk:
        if ids_from_sources:
            return ids_of_sources(collection, target.stores)
        return given or Listing(source)

    called = name or default_name(source.name)
    jobs = [Job(called, move, walk(move.collection), pages, document_key) for move in moves]
    if dry_run:
        with problems.status("looking at a page of each namespace"):
            _show_estimates([estimate(job, source, target.clock, rate=rate) for job in jobs], as_json=as_json)
    elif verify:
        _verify(jobs, source, target, queries, report, as_json=as_json)
    else:
        _copy(jobs, source, target, restart=restart, as_json=as_json)


def _mapping(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        namespace, equals, collection = pair.rpartition("=")
        if not equals or not collection or namespace in found:
            raise BadUsage(f"--map {pair} can't be read.", remedy="Write --map NAMESPACE=COLLECTION, each once.")
        found[namespace] = collection
    return found


def _copy(jobs: list[Job], source: PatientIndex, target: Target, *, restart: bool, as_json: bool) -> None:
    done: list[MigrationItem] = []
    for job in jobs:
        with counted(f"{job.move.namespace} → {job.move.collection}", job.move.vectors, "vectors", target) as step:
            done.append(
                copy_namespace(
                    job,
                    source,
                    target.stores,
                    target.clock,
                    restart=restart,
                    progress=lambda item, step=step: step(item.counts.listed),
                )
            )
        if not as_json:
            _show_copied(done[-1])
    if as_json:
        print_json({"migrations": [each.model_dump(mode="json") for each in done]})
    elif done:
        output.print("Compare both sides with --verify.")
    if any(each.counts.left_out for each in done):
        raise typer.Exit(FAILED)


def _show_copied(item: MigrationItem) -> None:
    counts = item.counts
    mark = "[yellow]![/]" if counts.left_out else "[green]✓[/]"
    rest = {"left out": counts.left_out, "vanished": counts.missing, "repeated": counts.repeated}
    output.print(
        f"{mark} {escape(item.namespace)} → {escape(item.collection)}: {counts.written:,} vectors in "
        f"{counts.deltas:,} deltas, {human_bytes(counts.vector_bytes)}"
        + "".join(f", {number:,} {what}" for what, number in rest.items() if number),
        soft_wrap=True,
    )
    for key, rows in item.json_keys.items():
        output.print(f"  kept as JSON: metadata {escape(repr(key))} of {rows:,} rows", soft_wrap=True)
    if counts.sparse:
        output.print(f"  kept as JSON: sparse values of {counts.sparse:,} rows", soft_wrap=True)
    for row_id, why in list(item.left_out.items())[:_SHOWN]:
        problems.print(f"  left out {escape(row_id)}: {escape(why)}", soft_wrap=True)
    if counts.left_out > _SHOWN:
        problems.print(f"  left out: {counts.left_out:,} in all; --verify names each.")


def _show_estimates(found: list[MoveEstimate], *, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": True, "namespaces": [each.model_dump(mode="json") for each in found]})
        return
    table = Table("namespace", "collection", "vectors", "size", "deltas", "requests", "minutes", "cost", "a month")
    for each in found:
        table.add_row(
            escape(each.namespace),
            escape(each.collection),
            f"{each.vectors:,}",
            human_bytes(each.bytes),
            f"{each.deltas:,}",
            f"{each.requests:,}",
            f"{each.minutes:.2f}",
            f"${each.usd:,.4f}",
            f"${each.usd_storage_month:,.4f}",
        )
    output.print(table)
    for each in found:
        notes = [f"metadata {key!r} of {rows:,} rows is kept as JSON" for key, rows in each.json_keys.items()]
        notes += [f"sparse values of {each.sparse:,} rows are kept as JSON"] if each.sparse else []
        notes += [f"{row_id} is left out: {why}" for row_id, why in list(each.left_out.items())[:_SHOWN]]
        for note in notes:
            output.print(f"{each.namespace}: of {each.sampled:,} rows, {note}", markup=False, soft_wrap=True)
    output.print("Nothing was copied: --dry-run. Minutes and sizes are judged by one page of each namespace.")


def _verify(
    jobs: list[Job], source: PatientIndex, target: Target, queries: int, report: Path | None, *, as_json: bool
) -> None:
    # Chroma takes half a second, and only this part opens a version.
    from siltstone.query.index_chroma import open_index  # noqa: PLC0415

    total = sum(job.move.vectors for job in jobs)
    with tempfile.TemporaryDirectory(prefix="siltstone-migration-") as workspace:
        here = StoresTransport(target.stores, target.clock, lambda: stage_provider(target), open_index, Path(workspace))
        done: dict[str, int] = {}
        try:
            with counted("comparing", total, "vectors", target) as step:

                def progress(namespace: str, rows: int) -> None:
                    done[namespace] = rows
                    step(sum(done.values()))

                found = verify_migration(jobs, source, here, target.clock, queries=queries, progress=progress)
        finally:
            here.close()
    _show_report(found, report, as_json=as_json)
    if not found.equal:
        raise typer.Exit(FAILED)


def _show_report(found: MigrationReport, file: Path | None, *, as_json: bool) -> None:
    if file is not None:
        try:
            file.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise BadUsage(f"--report {file} can't be written ({error}).", remedy="Name another file.") from error
    if as_json:
        print_json(found)
    else:
        output.print(found.text(), markup=False, soft_wrap=True)
