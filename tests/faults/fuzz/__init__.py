"""Hostile input for every reader of bytes that others wrote: ``python -m tests.faults.fuzz --seconds N``."""
