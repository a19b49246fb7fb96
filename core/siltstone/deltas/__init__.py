"""Immutable files of upserts and deletes for one collection."""
