"""``DualIndex``: Pinecone's calls over two sides. The line that a program changes while it moves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from siltstone.clock import Clock, SystemClock
from siltstone.dual.asking import Asking
from siltstone.dual.calls import VectorCalls, id_of, name_of
from siltstone.dual.differences import compare_fetches, compare_queries
from siltstone.dual.healing import Healed, Healing
from siltstone.dual.journal import Journal
from siltstone.dual.phases import Phase, PhaseSource, Side, phases_from_environment
from siltstone.dual.records import Counters, Log
from siltstone.dual.writing import Write, Writing
from siltstone.errors import BadSettings

OTHER_SECONDS = 2.0
OTHER_AT_ONCE = 8
HEAL_OLDER_THAN = 300.0  # longer than any client keeps a write on its way


class DualIndex:
    """``pinecone``, ``siltstone``: anything with Pinecone's calls; ``None`` for a side that no phase needs.

    Calls take what Pinecone's client takes, by name, and hand it on as it is. ``phases`` is asked at each call.
    ``log`` gets one record for each difference and failure, ``counters`` count. ``seconds``: what the other side may
    take for an answer before it counts as slow; ``at_once``: how many questions it is asked at the same time at most.
    Reading never waits for the other side. Writing does: give its client a timeout. Safe for threads, as the sides are.
    """

    def __init__(
        self,
        pinecone: VectorCalls | None,
        siltstone: VectorCalls | None,
        *,
        journal: Journal,
        log: Log,
        phases: PhaseSource = phases_from_environment,
        counters: Counters | None = None,
        clock: Clock | None = None,
        seconds: float = OTHER_SECONDS,
        at_once: int = OTHER_AT_ONCE,
    ) -> None:
        clock = clock or SystemClock()
        self.counters = counters or Counters()
        self._sides = {Side.PINECONE: pinecone, Side.SILTSTONE: siltstone}
        self._phases = phases
        self._asking = Asking(log, self.counters, clock, seconds=seconds, at_once=at_once)
        self._writing = Writing(self._side, journal, log, self.counters, clock)
        self._healing = Healing(self._side, journal, self._writing, log=log, counters=self.counters, clock=clock)

    # Reading: the chosen side's answer ----------------------------------------------------------------
    def query(self, **arguments: Any) -> Any:
        """Compared by ids (their overlap) and scores."""
        phase, namespace = self._phase(arguments)
        chosen = self._side(phase.chosen)
        if not phase.both:
            return chosen.query(**arguments)
        about = {
            "call": "query",
            "namespace": namespace,
            "phase": phase.value,
            "top_k": arguments.get("top_k"),
            "filter": arguments.get("filter"),
            "id": arguments.get("id"),
            "vector_sha256": _hash(arguments.get("vector")),
        }
        other = self._side(phase.chosen.other)
        return self._asking.ask(
            lambda: chosen.query(**arguments), lambda: other.query(**arguments), compare_queries, about
        )

    def fetch(self, **arguments: Any) -> Any:
        """Compared by ids, numbers and metadata."""
        phase, namespace = self._phase(arguments)
        chosen = self._side(phase.chosen)
        if not phase.both:
            return chosen.fetch(**arguments)
        other = self._side(phase.chosen.other)
        about = {"call": "fetch", "namespace": namespace, "phase": phase.value}
        return self._asking.ask(
            lambda: chosen.fetch(**arguments), lambda: other.fetch(**arguments), compare_fetches, about
        )

    def list(self, **arguments: Any) -> Any:
        return self._side(self._phase(arguments)[0].chosen).list(**arguments)

    def list_paginated(self, **arguments: Any) -> Any:
        return self._side(self._phase(arguments)[0].chosen).list_paginated(**arguments)

    def describe_index_stats(self, **arguments: Any) -> Any:
        """Of Pinecone as long as it answers for any namespace, else of Siltstone."""
        chosen = {phase.chosen for phase in self._phases().phases.values()}
        return self._side(Side.PINECONE if Side.PINECONE in chosen else Side.SILTSTONE).describe_index_stats(
            **arguments
        )

    # Writing: the chosen side first -------------------------------------------------------------------
    def upsert(self, **arguments: Any) -> Any:
        vectors = list(arguments["vectors"])  # it may be a generator, and is needed twice
        arguments = {**arguments, "vectors": vectors}
        return self._write("upsert", arguments, [id_of(vector) for vector in vectors])

    def update(self, **arguments: Any) -> Any:
        found = arguments.get("id")
        return self._write("update", arguments, None if found is None else [found])

    def delete(self, **arguments: Any) -> Any:
        ids = arguments.get("ids")
        return self._write("delete", arguments, None if ids is None else list(ids))

    # Both ---------------------------------------------------------------------------------------------
    def heal(self, older_than: float = HEAL_OLDER_THAN) -> Healed:
        """Copy what a write did not bring to the other side, from the one that is right. Call it now and then, and
        before every change of phase.
        """
        return self._healing.heal(self._phases(), older_than)

    def mark(self, ids: Sequence[str], namespace: str | None = None) -> None:
        """Say of ids that they may differ, as a verification found: the next `heal` copies them. Raises
        `StoreUnavailable`, and `BadSettings` in a phase that has one side.
        """
        phase, name = self._phase({"namespace": namespace})
        self._writing.mark(name, [*ids], phase)

    def drain(self, seconds: float = OTHER_SECONDS) -> bool:
        """Wait for comparisons that are on their way; whether all came. At the end of each request in a Lambda."""
        return self._asking.drain(seconds)

    def _write(self, call: str, arguments: dict[str, Any], ids: Sequence[str] | None) -> Any:
        phase, namespace = self._phase(arguments)

        def do(side: VectorCalls) -> Any:
            return getattr(side, call)(**arguments)

        write: Write = do
        return self._writing.write(call, namespace, None if ids is None else [*ids], phase, write)

    def _phase(self, arguments: dict[str, Any]) -> tuple[Phase, str]:
        namespace = name_of(arguments.get("namespace"))
        return self._phases().of(namespace), namespace

    def _side(self, which: Side) -> VectorCalls:
        found = self._sides[which]
        if found is None:
            raise BadSettings(
                f"The phase needs {which.value}, and there is no index of it.",
                remedy="Give DualIndex both, or set the phase that needs one.",
            )
        return found


def _hash(vector: Any) -> str | None:
    """Of the 32-bit numbers: enough to find the same question again, and nothing of its content."""
    if vector is None:
        return None
    return hashlib.sha256(np.asarray(vector, np.float32).tobytes()).hexdigest()[:16]
