"""Compaction: pending deltas and a base version in, a new version and a moved pointer out."""
