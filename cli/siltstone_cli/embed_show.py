"""How ``siltstone embed`` shows plans, batches and what was embedded at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from siltstone.embedding.embed_now import EmbedNowOutput
from siltstone.embedding.follow import Followed
from siltstone.embedding.preview import Preview
from siltstone.embedding.report import BatchDetail, BatchReport, list_batches
from siltstone.stores.machines import Execution

from siltstone_cli.console import human_age, output
from siltstone_cli.target import Target

_COLOURS = {"COMPLETE": "green", "FAILED": "red", "CANCELLED": "yellow"}


def dollars(cost: float | None) -> str:
    """``$0.0012``; ``?`` where the price is not known."""
    return "?" if cost is None else f"${cost:.4f}"


def planned_words(found: Preview) -> str:
    """The whole of a preview in one sentence."""
    return (
        f"{found.records:,} records of {found.sources:,} sources, at most {found.tokens:,} tokens: "
        f"{dollars(found.batch_usd)} in {found.batches} batch{'es' if found.batches != 1 else ''}, "
        f"{dollars(found.now_usd)} now."
    )


def print_preview(found: Preview) -> None:
    """A row for each collection, and the whole."""
    if not found.collections:
        output.print("Nothing to embed: every source is embedded.")
    else:
        table = Table("collection", "sources", "records", "tokens ≤", "batches", "batch $ ≤", "now $ ≤", "besides")
        for each in found.collections:
            figures = (each.sources, each.records, each.tokens, each.batches)
            besides = {
                "in open batches": each.waiting,
                "failed (--retry-failed)": each.failed,
                "can't be embedded": each.unusable,
            }
            table.add_row(
                escape(each.collection),
                *(f"{figure:,}" for figure in figures),
                dollars(each.batch_usd),
                dollars(each.now_usd),
                ", ".join(f"{number:,} {what}" for what, number in besides.items() if number),
            )
        output.print(table)
        output.print(planned_words(found), soft_wrap=True)
    for name in found.unknown:
        output.print(f"[yellow]{escape(name)}[/] has sources and no setting: add it to the stage's settings.")


def print_now(done: EmbedNowOutput, found: Preview) -> None:
    """What `embed now` did with what was found."""
    if not done.sources:
        waiting = sum(each.waiting for each in found.collections)
        failed = sum(each.failed for each in found.collections)
        output.print(
            f"Nothing to embed: {waiting:,} sources are in open batches, {failed:,} are FAILED (--retry-failed), "
            "all others are embedded.",
            soft_wrap=True,
        )
        return
    output.print(
        f"[green]✓[/] {done.embedded:,} records of {done.sources:,} sources embedded, {done.tokens:,} tokens, "
        f"{dollars(done.cost_usd)}. Found at once by a query with --strong, by any other after the next compaction.",
        soft_wrap=True,
    )
    if done.waiting:
        output.print(f"[yellow]{done.waiting:,}[/] sources are in an open batch, which embeds them.")
    if done.failed:
        output.print(f"[red]{done.failed:,}[/] sources are FAILED: siltstone sources status says why.")


def now_done(done: EmbedNowOutput) -> dict[str, Any]:
    """The same for a script."""
    return done.model_dump(mode="json")


def reported(followed: Followed, target: Target) -> list[BatchReport]:
    """The ledger's words on the batches that were followed."""
    names = followed.batches.keys() | followed.stopped.keys()
    return [each for each in list_batches(target.stores, target.clock) if each.batch_id in names]


def print_batches(found: Sequence[BatchReport], limit: int, *, stopped: Mapping[str, Execution] | None = None) -> None:
    """The open ones, and the latest ``limit`` of the closed ones."""
    if not found and not stopped:
        output.print("No batch yet.")
        return
    closed = [each for each in found if each.status in _COLOURS]
    shown = {each.batch_id for each in closed[:limit]}
    table = Table(
        "batch", "collection", "status", "attempt", "submitted", "embedded", "to retry", "rejected", "outdated",
        "tokens", "$", "age",
    )  # fmt: skip
    for each in found:
        if each.status in _COLOURS and each.batch_id not in shown:
            continue
        counts = each.counts
        figures = (counts.submitted, counts.embedded, counts.to_retry, counts.rejected, counts.outdated, each.tokens)
        table.add_row(
            escape(each.batch_id),
            escape(each.collection),
            _status(each),
            str(each.attempt),
            *(f"{figure:,}" for figure in figures),
            dollars(each.cost_usd),
            human_age(each.age_seconds),
        )
    if found:
        output.print(table)
    if len(closed) > limit:
        output.print(f"{len(closed) - limit:,} older ones are not shown: --limit.")
    for each in found:
        if each.batch_id in shown and each.cause and each.status == "FAILED":
            output.print(f"[red]{escape(each.batch_id)}[/] {escape(each.cause)}", soft_wrap=True)
        if each.orphan:
            output.print(
                f"[yellow]{escape(each.batch_id)}[/] nobody works on it: siltstone embed start --batch "
                f"{escape(each.batch_id)}",
                soft_wrap=True,
            )
    for batch_id, ended in (stopped or {}).items():
        output.print(
            f"[red]{escape(batch_id)}[/] its execution {escape(ended.name)} is {ended.status} and the batch is open: "
            f"{escape(ended.error)} {escape(ended.cause)}",
            soft_wrap=True,
        )


def print_batch(batch: BatchDetail) -> None:
    """One batch: its figures, its attempts, and what the provider refused."""
    print_batches([batch], 1)
    output.print(
        f"planned by {batch.plan}, {batch.created_at}; {batch.model}; {batch.sources:,} sources; "
        f"submission {batch.submission} of attempt {batch.attempt}: {batch.openai_batch_id or 'not bought'}; "
        f"last sign of life {human_age(batch.seen_seconds_ago)} ago"
        f"{f'; {batch.quarantined:,} records in quarantine' if batch.quarantined else ''}",
        soft_wrap=True,
        markup=False,
    )
    if batch.attempts:
        table = Table("attempt", "provider's id", "submitted", "embedded", "to retry", "rejected", "outdated", "tokens")
        for each in batch.attempts:
            counts = each.counts
            figures = (
                counts.submitted, counts.embedded, counts.to_retry, counts.rejected, counts.outdated, each.tokens
            )  # fmt: skip
            table.add_row(str(each.attempt), escape(each.openai_batch_id or ""), *(f"{figure:,}" for figure in figures))
        output.print(table)
    for row in batch.rejected:
        output.print(f"[red]rejected[/] {escape(row.id)}: {escape(row.reason)}", soft_wrap=True)
    left = batch.counts.rejected - len(batch.rejected)
    if left > 0:
        output.print(f"{left:,} more rejected rows are not shown: --limit, or the batch's rejected.jsonl.")


def _status(batch: BatchReport) -> str:
    words = "CANCELLING" if batch.cancelling else batch.status
    colour = _COLOURS.get(batch.status)
    return f"[{colour}]{words}[/]" if colour else words
