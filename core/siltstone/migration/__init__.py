"""Leaving another store: what it holds becomes a collection of this one, checked on the way."""
