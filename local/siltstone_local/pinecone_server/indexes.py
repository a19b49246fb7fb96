"""An index's description, as it is asked for and as it is told."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from siltstone_local.pinecone_server.api_error import ControlError

Metric = Literal["cosine", "dotproduct", "euclidean"]
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,43}[a-z0-9])?")
_METRICS = ("cosine", "dotproduct", "euclidean")
_MAX_DIMENSION = 20_000


class IndexSpec(BaseModel):
    """What is fixed when an index is made. ``dimension`` None: an index of sparse vectors (metric dotproduct)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dimension: int | None = Field(default=None, ge=1, le=_MAX_DIMENSION)
    metric: Metric = "cosine"
    pod_based: bool = False  # does not list ids, filters its statistics
    deletion_protection: Literal["enabled", "disabled"] = "disabled"
    tags: dict[str, str] = {}

    def describe(self, host: str) -> dict[str, Any]:
        """The answer of the control plane. ``host``: where the data plane of this index is."""
        if self.dimension is None:
            fields: dict[str, Any] = {"_sparse_values": {"type": "sparse_vector"}}
        else:
            fields = {"_values": {"type": "dense_vector", "dimension": self.dimension, "metric": self.metric}}
        pod = {"deployment_type": "pod", "environment": "local", "pod_type": "p1.x1", "replicas": 1, "shards": 1}
        managed = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1", "environment": "local"}
        return {
            "name": self.name,
            "status": {"ready": True, "state": "Ready"},
            "schema": {"fields": fields},
            "deployment": pod if self.pod_based else managed,
            "deletion_protection": self.deletion_protection,
            "host": host,
            "tags": self.tags or None,
        }


def new_index(body: object) -> IndexSpec:
    """The index that a request of the control plane asks for. Raises `ControlError`."""
    if not isinstance(body, dict):
        raise ControlError(400, "The request body must be a JSON object.")
    asked = cast("dict[str, Any]", body)
    name = asked.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ControlError(400, "Name must consist of at most 45 lower case alphanumeric characters or '-'.")
    deployment = asked.get("deployment") or {"deployment_type": "managed"}
    dimension, metric = _vector_field(asked.get("schema"))
    return IndexSpec(
        name=name,
        dimension=dimension,
        metric=metric,
        pod_based=deployment.get("deployment_type") == "pod",
        deletion_protection=asked.get("deletion_protection") or "disabled",
        tags=asked.get("tags") or {},
    )


def _vector_field(schema: Any) -> tuple[int | None, Metric]:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, dict) or len(fields) != 1:
        raise ControlError(400, "schema.fields must hold one field: this server keeps vectors, not documents.")
    match next(iter(fields.values())):
        case {"type": "sparse_vector"}:
            return None, "dotproduct"
        case {"type": "dense_vector", "dimension": int(dimension), **rest} if 1 <= dimension <= _MAX_DIMENSION:
            metric = rest.get("metric", "cosine")
            if metric not in _METRICS:
                raise ControlError(400, f"metric must be one of {', '.join(_METRICS)}, got {metric!r}")
            return dimension, metric
        case field:
            raise ControlError(400, f"Invalid vector field: {field!r}. Dimensions are 1 to {_MAX_DIMENSION}.")
