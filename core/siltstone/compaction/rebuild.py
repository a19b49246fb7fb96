"""Rebuild an index whose dead slots slow it down: all rows go into a new directory, batch by batch.

A delete only marks a slot. How far a rebuild came is how many rows the new directory has: rows go over in the order of
their ids, so it may stop after any batch and go on in another turn.
"""

from __future__ import annotations

from siltstone.stores.vectors import MAX_BATCH, VectorStore

DEAD_SHARE = 0.2


def is_due(alive: int, dead: int) -> bool:
    """Whether a fifth of the index's slots is dead."""
    return dead > 0 and dead >= DEAD_SHARE * (alive + dead)


def copy_next(old: VectorStore, new: VectorStore, ids: list[str]) -> bool:
    """Copy the next rows of ``ids`` (all of ``old``'s, sorted). ``False`` once ``new`` has all of them."""
    done = new.count()
    batch = ids[done : done + MAX_BATCH]
    if batch:
        new.insert(old.get(batch))
    return done + len(batch) < len(ids)
