"""``siltstone migrate``: coming from elsewhere."""

from __future__ import annotations

import typer

from siltstone_cli.migrate_chroma import chroma
from siltstone_cli.migrate_pinecone import pinecone

app = typer.Typer(no_args_is_help=True, help="Come from elsewhere: an index of Pinecone, or a Chroma directory.")


@app.callback()
def migrate() -> None:
    """Come from elsewhere: an index of Pinecone, or a Chroma directory."""


app.command()(pinecone)
app.command()(chroma)
