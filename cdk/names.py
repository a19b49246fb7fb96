"""Names that several constructs share: state names, resource names, the tags of metrics."""

from __future__ import annotations

SERVICE = "siltstone"
METRICS_NAMESPACE = "ChromaDB/Compaction"


def camel(name: str) -> str:
    """``promote_pointer`` as ``PromotePointer``: the state, the ASL placeholder, the construct id."""
    return "".join(part.capitalize() for part in name.split("_"))


def resource(stage: str, name: str) -> str:
    """``siltstone-dev-promote-pointer``: the name of a function, machine or schedule of a stage."""
    return f"{SERVICE}-{stage}-{name.replace('_', '-')}"
