"""Forgetting a source: what deleting it leaves behind for recovery is taken out for good."""
