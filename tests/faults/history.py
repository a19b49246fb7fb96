"""What happened, as an oracle understands it: a dictionary that applies every operation in order, and who did what.

It reads no code under test: it learns from the stores themselves, which tell every write (`Written`, `LeaseChanged`),
and from what readers were answered (`Answered`). The invariants are asked about each event before it is absorbed.

What a rollback promises
    Rolling back to version ``v`` makes the content of ``v``, exactly, the current one under a new and greater token.

    - Every operation that the versions promoted after ``v`` had merged is *undone*. It stays undone: also where its
      delta still lies in ``deltas/`` (it is accounted for, and deleted with the next retirement), and where a producer
      puts the same delta back.
    - What was pending when the rollback took its place stays pending, and is merged on top by the next run: a strong
      read shows it at once. So does every write that is acknowledged while the rollback runs. A compaction that
      started before it loses, and its deltas are pending again.
    - Nothing is destroyed. The undone versions are there as long as retention keeps them, and can be rolled back to in
      turn; their deltas can be brought back from the bucket's history for 15 days.
    - A version that was published but never current (its run lost the race) is a whole version too, and can be gone
      back to.

    So at any time: strong read = content of the version that the pointer names + every acknowledged operation that no
    promoted version has accounted for, in S3's order; an operation is accounted for once a promoted version contains
    it, whether or not a later rollback undid it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.stores.leases import Lease
from siltstone.stores.objects_memory import MemoryObjects

from tests.faults.events import Answered, Doer, Ended, Event, LeaseChanged, Pinned, Written
from tests.faults.facts import (
    Asked,
    CollectionFacts,
    Content,
    Intention,
    Life,
    VersionFacts,
    apply,
    named,
    token_of,
)


class History:
    """Facts derived from events, in order."""

    def __init__(self, deltas: MemoryObjects, snapshots: MemoryObjects, intended: Mapping[str, Intention]) -> None:
        self.deltas = deltas
        self.snapshots = snapshots
        self.events = 0
        self.collections: dict[str, CollectionFacts] = {}
        self.lives: dict[str, list[Life]] = {}  # by key, oldest first
        self.intended = intended  # by ETag, from before the write
        self.condemned: dict[str, Life] = {}  # by key: what went to quarantine
        self.tokens: dict[str, int] = {}  # by lock id
        self.read_tokens: dict[tuple[str, str], int] = {}  # by reader and collection
        self.counts: dict[str, int] = {}

    def of(self, collection: str) -> CollectionFacts:
        return self.collections.setdefault(collection, CollectionFacts())

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def ask(self, collection: str) -> Asked:
        """Remember what a strong read that begins now must see."""
        facts = self.of(collection)
        usable = (life for life in facts.pending.values() if life.number == 0 and life.kind != "bad")
        return Asked(len(facts.births), facts.token, tuple(usable))

    def life(self, key: str) -> Life | None:
        """The present life of a delta's key."""
        lives = self.lives.get(key)
        return lives[-1] if lives and lives[-1].died is None else None

    def absorb(self, event: Event) -> None:
        """Learn from an event that passed the invariants."""
        self.events += 1
        match event:
            case Written():
                self._written(event)
            case LeaseChanged(after=Lease() as after):
                self.tokens[after.lock_id] = after.token
                taken = event.operation == "acquire" and event.before is not None
                if taken and event.before.owner not in (None, after.owner):
                    self.count("leases that ran out and were taken")
                self._taking(event.before, after)
            case Answered(version=str() as version):
                self.read_tokens[event.reader, event.collection] = token_of(version)
            case Pinned():
                pinned = self.of(event.collection).pinned
                (pinned.add if event.pinned else pinned.discard)(event.version)
            case Ended():
                self._ended(event)
            case _:
                pass

    def expected(self, manifest: Manifest) -> tuple[Content, list[Life]]:
        """What a version must contain, from its manifest's parent and deltas alone; and its new deltas, in order."""
        facts = self.of(manifest.collection)
        if manifest.reason == "rollback":
            return facts.versions[str(manifest.restored_from)].content, []
        parent = token_of(manifest.parent)
        new = [
            self._taken(delta.key, delta.etag)
            for delta in manifest.applied
            if facts.accounted.get((delta.key, delta.etag), parent + 1) > parent
        ]
        base = facts.versions[manifest.parent].content if manifest.parent else {}
        new.sort(key=lambda life: life.order)
        return apply(base, new), new

    def _taken(self, key: str, etag: str) -> Life:
        for life in self.lives.get(key, []):
            if life.etag == etag:
                return life
        raise AssertionError(f"a manifest names {key} {etag}, which never was")

    def _written(self, event: Written) -> None:
        parts = event.key.split("/")
        if event.bucket == "deltas" and parts[0] == "deltas":
            self._delta(event, parts[1])
        elif parts[0] == "staging" and parts[-1] == "plan.json" and event.body is not None:
            self._planned(self.of(parts[1]), event.body, event.doer)
        elif event.bucket == "snapshots" and parts[0] == "snapshots":
            facts = self.of(parts[1])
            if parts[2] == "latest" and event.body is not None:
                self._promoted(facts, event)
            elif parts[-1] == keys.MANIFEST_FILE:
                if event.body is None:
                    facts.versions[parts[2]].removed = True
                    self.count("versions removed")
                elif event.before is None:
                    self._published(facts, Manifest.model_validate_json(event.body), event)

    def _delta(self, event: Written, collection: str) -> None:
        facts, lives = self.of(collection), self.lives.setdefault(event.key, [])
        present = self.life(event.key)
        if present is not None:
            present.died = self.events
            facts.pending.pop(event.key, None)
            if event.body is None and event.doer.state == "Download" and present.number == 0:
                self.condemned[event.key] = present
                self.count(f"{present.kind} deltas quarantined")
        if event.body is None:
            return
        kind, operations, batch_id = self.intended.get(event.etag, ("bad", {}, None))
        life = Life(
            key=event.key,
            etag=event.etag,
            number=sum(1 for each in lives if each.died is not None),
            order=(event.last_modified, event.key),
            kind=kind,
            operations=operations,
            born=self.events,
            batch_id=batch_id,
            records=len(operations),
        )
        lives.append(life)
        if facts.births and facts.births[-1].order[0] == life.order[0]:
            self.count("deltas of the same second as the one before")
        facts.births.append(life)
        self.count("deltas" if life.number == 0 else "deltas that came back")
        if life.identity not in facts.accounted:
            facts.pending[event.key] = life

    def _published(self, facts: CollectionFacts, manifest: Manifest, event: Written) -> None:
        content, new = self.expected(manifest)
        prefix = keys.version(manifest.collection, manifest.version)
        files: dict[str, tuple[str, str]] = {}
        for file in manifest.files:
            info = self.snapshots.head(prefix + file.path)
            files[prefix + file.path] = (info.etag if info else "", file.sha256)
        facts.versions[manifest.version] = VersionFacts(manifest, content, new, files, published=event.at)
        self.count("versions published")

    def _promoted(self, facts: CollectionFacts, event: Written) -> None:
        version = named(event.body)
        if facts.current is not None:
            facts.versions[facts.current].superseded = event.last_modified
        facts.promotions.append(version)
        found = facts.versions[version]
        found.promoted = event.at
        for life in facts.taken_by(found):
            facts.accounted.setdefault(life.identity, token_of(version))
            facts.last_accounted = max(facts.last_accounted, life.order)
            if facts.pending.get(life.key) is life:
                del facts.pending[life.key]
        self.count("rollbacks promoted" if found.manifest.reason == "rollback" else "versions promoted")

    def _taking(self, before: Lease | None, after: Lease) -> None:
        """A run says that it takes a single delta: the oldest, or the one that its plan will name."""
        facts = self.of(after.lock_id.partition("#")[2])
        if after.taking == 1 and before is not None and before.taking != 1 and facts.pending:
            oldest = min(facts.pending.values(), key=lambda life: life.order)
            facts.taken_alone.setdefault(oldest.identity, set()).add(after.token)

    def _planned(self, facts: CollectionFacts, body: bytes, doer: Doer) -> None:
        deltas = json.loads(body)["deltas"]
        if len(deltas) == 1 and doer.token is not None:
            facts.taken_alone.setdefault((deltas[0]["key"], deltas[0]["etag"]), set()).add(doer.token)

    def _ended(self, event: Ended) -> None:
        if event.failed_in in ("Download", "Merge"):
            self.of(event.collection).failed.add(token_of(event.version))
        if event.over:
            self.count("runs that failed" if event.failed_in else "runs that ended well")
