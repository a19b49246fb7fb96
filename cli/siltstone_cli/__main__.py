"""``python -m siltstone_cli``: where the script is not on the path."""

from siltstone_cli.main import app

app()
