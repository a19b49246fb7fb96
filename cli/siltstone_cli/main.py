"""``siltstone``: wires the commands together, and nothing else."""

from __future__ import annotations

from typing import Annotated, ClassVar

import siltstone
import typer

from siltstone_cli.console import output
from siltstone_cli.lazy import LazyCommands
from siltstone_cli.options import Local, Stage


class Root(LazyCommands):
    """What there is, in the order of the help."""

    places: ClassVar = {
        "up": "siltstone_cli.stack:up",
        "down": "siltstone_cli.stack:down",
        "logs": "siltstone_cli.logs:logs",
        "status": "siltstone_cli.status:status",
        "doctor": "siltstone_cli.doctor:doctor",
        "receipts": "siltstone_cli.receipts:app",
        "texts": "siltstone_cli.texts:app",
        "sources": "siltstone_cli.sources:app",
        "embed": "siltstone_cli.embed:app",
        "deltas": "siltstone_cli.deltas:app",
        "compact": "siltstone_cli.pausing:app",  # those of compact, and its own two
        "query": "siltstone_cli.query:query",
        "get": "siltstone_cli.get:get",
        "versions": "siltstone_cli.versions:versions",
        "rollback": "siltstone_cli.rollback:rollback",
        "migrate": "siltstone_cli.migrate:app",
        "verify": "siltstone_cli.verify:verify",
        "lock": "siltstone_cli.lock:app",
    }


app = typer.Typer(
    name="siltstone",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.print(f"siltstone {siltstone.__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    stage: Stage = None,
    local: Local = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Which release this is.")
    ] = False,
) -> None:
    """Look after a Siltstone stage: what waits, what is current, and whether all of it is as promised.

    Say where with --stage NAME or --local, before or after the command.

    Exit codes: 0 done; 1 findings, or it could not be done; 2 a wrong command line or name; 3 not reachable.
    """
