"""What a verification found: one document for machines, and the same as text."""

from __future__ import annotations

from pydantic import computed_field

from siltstone.compaction.messages import Message


class Difference(Message):
    """A row that both have and that is not the same. Checksums are SHA-256: of the float32 vector, little-endian, and
    of the metadata as JSON with sorted keys. ``what``: ``vector``, ``metadata``, ``document``.
    """

    id: str
    what: list[str]
    vector_sha256: tuple[str, str]  # of the index, and here
    metadata_sha256: tuple[str, str]


class Overlap(Message):
    """The nearest of a sample of queries, asked in both.

    ``shared``: share of the index's answers that are among ours, on average. ``found``: the same, where an answer that
    is no nearer than our last one counts as found: ties are broken differently, and an approximate index may have
    missed what ours has. ``worst``: of one query. ``below``: ids of the vectors whose query found too little.
    """

    queries: int
    top: int
    shared: float
    found: float
    worst: float
    below: list[str]


class NamespaceReport(Message):
    """One namespace against its collection. ``said``: vectors by the index's own count; ``seen``: by its ids."""

    namespace: str
    collection: str
    said: int
    seen: int
    here: int
    same: int  # rows that are equal; under cosine to float32's rounding, since Chroma keeps unit vectors
    bitwise: int  # of those, whose vectors' checksums are equal
    missing_here: list[str]
    only_here: list[str]
    different: list[Difference]
    left_out: dict[str, str]  # id -> why the collection can't hold it
    json_keys: dict[str, int]  # metadata key -> rows in which it is kept as JSON
    sparse: int  # rows whose sparse values are kept as JSON
    overlap: Overlap | None  # None: there was nothing to ask

    @computed_field
    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        counts = self.said == self.seen == self.here
        return counts and not (
            self.missing_here
            or self.only_here
            or self.different
            or self.left_out
            or (self.overlap and self.overlap.below)
        )

    def lines(self, most: int = 20) -> list[str]:
        """As text: a line of figures, then one for each finding, at most ``most`` of a kind."""
        verdict = "equal" if self.equal else "DIFFERENT"
        lines = [
            f"{verdict}: {self.namespace} -> {self.collection}: {self.said:,} vectors said, {self.seen:,} seen, "
            f"{self.here:,} here, {self.same:,} the same ({self.bitwise:,} bit for bit)"
        ]
        if self.overlap is not None:
            found = self.overlap
            lines.append(
                f"  top {found.top} of {found.queries} queries: {found.found:.1%} found (worst {found.worst:.0%}), "
                f"{found.shared:.1%} the same ids"
            )
        lines += [f"  kept as JSON: metadata {key!r} of {rows:,} rows" for key, rows in self.json_keys.items()]
        if self.sparse:
            lines.append(f"  kept as JSON: sparse values of {self.sparse:,} rows")
        lines += _some("missing here", self.missing_here, most)
        lines += _some("only here", self.only_here, most)
        lines += _some("different", [f"{each.id} ({', '.join(each.what)})" for each in self.different], most)
        lines += _some("left out", [f"{row_id}: {why}" for row_id, why in self.left_out.items()], most)
        lines += _some("too few of its nearest found", self.overlap.below if self.overlap else [], most)
        return lines


class MigrationReport(Message):
    """All namespaces of a migration."""

    name: str
    index: str
    began_at: str
    seconds: float
    namespaces: list[NamespaceReport]

    @computed_field
    @property
    def equal(self) -> bool:
        """Whether nothing differs anywhere."""
        return all(each.equal for each in self.namespaces)

    def text(self, most: int = 20) -> str:
        """The whole report, to be read."""
        lines = [f"{self.name}: {self.index}, {self.began_at}, {self.seconds:.0f} s"]
        return "\n".join([*lines, *(line for each in self.namespaces for line in each.lines(most))])


def _some(what: str, found: list[str], most: int) -> list[str]:
    more = [f"  {what}: and {len(found) - most:,} more; the JSON names all"] if len(found) > most else []
    return [f"  {what}: {each}" for each in found[:most]] + more
