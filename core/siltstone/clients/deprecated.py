"""Settings of Pinecone that are still read."""

from __future__ import annotations

import os
import warnings

OLD_SETTINGS = ("PINECONE_API_KEY", "PINECONE_INDEX_NAME", "PINECONE_HOST")


def old_setting(name: str, new: str, *, stacklevel: int = 3) -> str | None:
    """The environment's value, with a `DeprecationWarning` that names the ``new`` setting; ``None`` where not set.

    ``stacklevel``: of the program's own line, as `warnings.warn` counts: others' warnings are not shown by default.
    """
    value = os.environ.get(name) or None
    if value is not None:
        warnings.warn(f"{name} is deprecated: set {new} instead.", DeprecationWarning, stacklevel=stacklevel)
    return value
