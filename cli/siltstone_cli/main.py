"""``siltstone``: wires the commands together, and nothing else."""

from __future__ import annotations

from typing import Annotated

import siltstone
import typer

from siltstone_cli import (
    compact,
    deltas,
    doctor,
    embed,
    get,
    lock,
    logs,
    pausing,
    query,
    receipts,
    rollback,
    sources,
    stack,
    status,
    texts,
    verify,
    versions,
)
from siltstone_cli.console import output
from siltstone_cli.exits import Commands
from siltstone_cli.options import Local, Stage

app = typer.Typer(
    name="siltstone",
    cls=Commands,
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


app.command(name="up")(stack.up)
app.command(name="down")(stack.down)
app.command(name="logs")(logs.logs)
app.command(name="status")(status.status)
app.command(name="doctor")(doctor.doctor)
app.command(name="versions")(versions.versions)
app.command(name="verify")(verify.verify)
app.command(name="query")(query.query)
app.command(name="get")(get.get)
app.command(name="rollback")(rollback.rollback)
app.add_typer(deltas.app, name="deltas")
app.add_typer(lock.app, name="lock")
app.add_typer(receipts.app, name="receipts")
app.add_typer(texts.app, name="texts")
app.add_typer(sources.app, name="sources")
compact.app.command(name="pause")(pausing.pause)
compact.app.command(name="resume")(pausing.resume)
app.add_typer(compact.app, name="compact")
app.add_typer(embed.app, name="embed")
