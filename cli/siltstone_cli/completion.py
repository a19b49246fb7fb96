"""What the shell completes beyond commands and options."""

from __future__ import annotations

import typer
from siltstone.settings import CollectionBook

from siltstone_cli.target import find_target


def complete_collections(context: typer.Context, incomplete: str) -> list[str]:
    """The collections that the stage's settings name: one request. A stage that can't be asked completes nothing."""
    try:
        target = find_target(context, context.params.get("stage"), bool(context.params.get("local")))
        names = CollectionBook.parse(target.output("Collections")).collections
    except Exception:  # a traceback in the middle of a command line helps nobody
        return []
    return sorted(name for name in names if "*" not in name and name.startswith(incomplete))
