"""The embedding machine's states: sources in, deltas out."""
