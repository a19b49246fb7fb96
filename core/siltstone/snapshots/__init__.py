"""Local copies of versions: fetched, verified, opened, written."""
