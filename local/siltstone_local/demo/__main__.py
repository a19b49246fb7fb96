"""``python -m siltstone_local.demo``: the whole product on this machine. The last line printed is one JSON object."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from siltstone.clock import SystemClock
from siltstone.errors import SiltstoneError

from siltstone_local.connect import connect
from siltstone_local.demo.compacting import compact
from siltstone_local.demo.copying import copy_snapshots
from siltstone_local.demo.embedding import embed, ledger_totals
from siltstone_local.demo.loading import Inputs, load
from siltstone_local.demo.phases import Phases
from siltstone_local.demo.searching import search
from siltstone_local.paths import PROJECT, STATE
from siltstone_local.sample import RECEIPTS
from siltstone_local.stack import Embeddings, LocalStack


def run(inputs: Inputs, state: Path, embeddings: Embeddings, console: Console) -> dict[str, object]:
    """Load, embed, compact, search, copy; the figures of the last line. Stops what it started."""
    phases, clock = Phases(console), SystemClock()
    inputs.check()
    stack = LocalStack(state, embeddings)
    try:
        with phases.phase("start", "Starting the local stack") as say:
            deployment = stack.start(say)
            stores = connect(deployment)
        with phases.phase("load", "Loading sources") as say:
            loaded = load(inputs, stores, clock, say)
        console.print(loaded.summary())
        with phases.phase("embed", "Embedding through the Batch API") as say:
            embed(deployment, stores, say)
        totals = ledger_totals(stores)
        console.print(totals.table())
        with phases.phase("compact", "Compacting deltas into snapshots") as say:
            versions = compact(deployment, stores, inputs.collections, clock, say)
        with phases.phase("search", "Searching"):
            answers = search(deployment, stores, inputs, clock)
        console.print(answers)
        with phases.phase("copy", "Copying the promoted snapshots") as say:
            copies = copy_snapshots(stores, versions, state / "snapshots", say)
    finally:
        with phases.phase("stop", "Stopping the local stack"):
            stack.stop()
    return {
        "receipts": loaded.receipts,
        "submitted": totals.submitted,
        "embedded": totals.embedded,
        "rejected": totals.rejected,
        "deltas": totals.deltas,
        "vectors": {name: copy.vectors for name, copy in copies.items()},
        "versions": versions,
        "snapshots": {name: str(copy.folder) for name, copy in copies.items()},
        "seconds": phases.seconds,
    }


def main() -> int:
    """Parse the command line and run; an error is one line that says what to do."""
    parser = argparse.ArgumentParser(prog="python -m siltstone_local.demo", description=__doc__)
    parser.add_argument("--receipts", type=Path, help="a folder in the SROIE layout or a .jsonl; default: the sample")
    parser.add_argument("--texts", type=Path, help="a .jsonl of {id, text, metadata} for the collection `texts`")
    parser.add_argument("--embeddings", default="local", help="local (built in) or openai (OPENAI_API_KEY)")
    parser.add_argument("--state", type=Path, help="where the state is kept; default: one folder for each input")
    options = parser.parse_args()
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=140)  # a log file has no width, and 80 columns cut the tables
    try:
        embeddings = Embeddings.chosen(options.embeddings)
        if embeddings.kind == "openai":
            console.print("The real service can take hours: leave with Ctrl-C, and the same command takes it up again.")
        inputs = Inputs(receipts=options.receipts or RECEIPTS, texts=options.texts)
        state = (options.state or STATE / "demo" / _folder(inputs, embeddings)).resolve()
        result = run(inputs, state, embeddings, console)
    except SiltstoneError as error:
        console.print(f"[red]{type(error).__name__}[/]: ", end="")
        console.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; nothing is lost. The same command goes on from here.")
        return 130
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _folder(inputs: Inputs, embeddings: Embeddings) -> str:
    """One state for each set of inputs: other receipts never mix with these, the same ones are found again."""
    named = [str(path.resolve()) if path else "" for path in (inputs.receipts, inputs.texts)]
    if inputs.receipts == RECEIPTS:
        named[0] = os.path.relpath(RECEIPTS, PROJECT)
    digest = hashlib.sha256(json.dumps([*named, embeddings.kind]).encode()).hexdigest()[:8]
    return f"{inputs.receipts.stem}-{digest}"


if __name__ == "__main__":
    sys.exit(main())
