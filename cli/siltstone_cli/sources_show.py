"""What `siltstone sources` says, in tables and sentences."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table
from siltstone.overview.sources import (
    CollectionSources,
    SourceInfo,
    SourcesStatus,
    SourceState,
)
from siltstone.purge.report import Kind, PurgeReport
from siltstone.sources.loading import DeleteReport

from siltstone_cli.console import human_age, human_bytes, human_count, output


# status -------------------------------------------------------------------------------------------
def print_status(found: SourcesStatus, failed: int) -> None:
    """Counts by collection and status, and the first ``failed`` failures."""
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
def deletion_plan(found: list[SourceInfo]) -> str:
    """What a deletion will do, in a sentence."""
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


def print_deleted(asked: int, done: DeleteReport) -> None:
    """What it did. ``asked``: how many sources were named."""
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


def purge_plan(found: SourceInfo) -> str:
    """What a purge will do, in a sentence."""
    deleted = "It was deleted before." if found.deleted_at else deletion_plan([found])
    names = ", ".join(state.collection for state in found.collections)
    return (
        f"{deleted} Then every trace of it that is kept for recovery goes for good, with all files of the settled "
        f"batches that it was in, here and at the provider, and with the older versions of {names} that hold it: they "
        "can't be rolled back to any more. Nothing brings any of it back."
    )


def print_purged(report: PurgeReport) -> None:
    """What is gone, and what is held until when and why."""
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
