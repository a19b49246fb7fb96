"""The ten invariants of the design, each a function that is asked about every event before the history absorbs it.

An event is asked about once, against facts that are kept up to date, so checking stays linear however long a history
gets. Every fault test calls `check` after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.deltas.quarantine import Quarantined
from siltstone.errors import Damage, ObjectNotFound, SiltstoneError, StoreUnavailable, UnknownCollection
from siltstone.settings import RetentionSettings
from siltstone.stores.ledger import BatchItem

from tests.faults import strong_reads
from tests.faults.events import Acknowledged, Answered, Ended, Event, LeaseChanged, Written
from tests.faults.facts import (
    CollectionFacts,
    Content,
    VersionFacts,
    named,
    named_objects,
    sha256,
    stored_content,
    token_of,
)
from tests.faults.history import History
from tests.faults.violation import difference, fail

Ledger = Callable[[str], BatchItem]


def check(history: History, events: Iterable[Event], ledger: Ledger, retention: RetentionSettings) -> None:
    """Ask every invariant about each event, in order, then let the history absorb it. Raises `Violation`."""
    for event in events:
        one_promotion_per_pin(history, event)
        named_objects_exist(history, event, retention)
        content_is_base_plus_deltas(history, event)
        deltas_leave_only_merged(history, event)
        applying_again_changes_nothing(history, event)
        readers_see_one_version(history, event)
        only_owners_touch_locks(history, event)
        every_record_is_accounted_for(history, event, ledger)
        failed_runs_leave_no_trace(history, event)
        fixed_settings_never_change(history, event)
        history.absorb(event)


def one_promotion_per_pin(history: History, event: Event) -> None:
    """1. At most one promotion per pinned pointer ETag; the tokens of a pointer's history only grow, rollbacks
    included.
    """
    name = "one_promotion_per_pin"
    if not isinstance(event, Written) or not event.key.endswith("/latest/pointer.txt"):
        return
    facts = history.of(event.key.split("/")[1])
    if event.body is None:
        fail(name, f"the pointer was deleted by {event.doer}")
    version = named(event.body)
    if version in facts.promotions:
        fail(name, f"{version} was promoted again")
    if token_of(version) <= facts.token:
        fail(name, f"{version} was promoted over {facts.current}")
    published = facts.versions.get(version)
    if published is None or published.removed:
        fail(name, f"{version} was promoted without a manifest")
    if published.manifest.parent != facts.current:
        fail(name, f"{version} was made from {published.manifest.parent} and promoted over {facts.current}")


def named_objects_exist(history: History, event: Event, retention: RetentionSettings) -> None:
    """2. Every object that a manifest names exists with its size and hash as long as the version is kept: while it is
    current, pinned, one of the newest few, or was superseded less than the retention time ago.
    """
    name = "named_objects_exist"
    if isinstance(event, Answered) and event.error in _DAMAGE:
        fail(name, f"{event.reader} was told {event.error}, and nothing was ever damaged")
    if isinstance(event, Ended) and event.error in _DAMAGE:
        fail(name, f"a run of {event.collection} failed with {event.error} in {event.failed_in}")
    if not isinstance(event, Written) or event.bucket != "snapshots":
        return
    parts = event.key.split("/")
    if parts[0] != "snapshots" or parts[2] in ("latest", "pins"):
        return
    facts = history.of(parts[1])
    version = facts.versions.get(parts[2])
    if parts[-1] != keys.MANIFEST_FILE:
        named = version is not None and not version.removed and event.key in version.files
        if version is not None and named and (event.body is None or sha256(event.body) != version.files[event.key][1]):
            fail(name, f"{event.key} was changed or deleted by {event.doer}")
    elif event.body is None:
        if version is not None and not version.removed:
            _may_be_removed(name, facts, version, event.at, retention)
    elif version is not None:
        fail(name, f"the manifest of {parts[2]} was written twice")
    else:
        _files_are_there(name, history, Manifest.model_validate_json(event.body))


def content_is_base_plus_deltas(history: History, event: Event) -> None:
    """3. A snapshot's content = its base + the operations of exactly its deltas in order, last write wins; and what a
    version takes is a prefix of what was pending, so that no later version applies anything older.
    """
    name = "content_is_base_plus_deltas"
    if not isinstance(event, Written) or event.body is None or not _is_manifest(event):
        return
    manifest = Manifest.model_validate_json(event.body)
    expected, new = history.expected(manifest)
    prefix = keys.version(manifest.collection, manifest.version)
    found = stored_content(lambda path: history.snapshots.get(prefix + path).body)
    if found != expected:
        fail(name, f"{manifest.version} of {manifest.collection}: {difference(found, expected)}")
    if not new:
        return
    parent, facts = token_of(manifest.parent), history.of(manifest.collection)
    taken = {life.identity for life in new}
    for life in facts.pending.values():
        skipped = life.number == 0 and life.kind != "bad" and life.identity not in taken
        if skipped and life.order < new[-1].order:
            fail(name, f"{manifest.version} took {new[-1].key} and left out {life.key}, which is older")
    if parent == facts.token and new[0].order < facts.last_accounted:
        fail(name, f"{manifest.version} took {new[0].key}, older than what {manifest.parent} contains")


def deltas_leave_only_merged(history: History, event: Event) -> None:
    """4. A delta is deleted only after a version that contains it was promoted. Age alone never deletes one.

    What can't be used moves to quarantine, whole and with its reason; what came back may be deleted again.
    """
    name = "deltas_leave_only_merged"
    if isinstance(event, Acknowledged):
        lives = history.lives.get(event.key, [])
        if not lives or (event.etag is not None and all(life.etag != event.etag for life in lives)):
            fail(name, f"{event.key} was acknowledged and never stored")
        return
    if not isinstance(event, Written) or event.bucket != "deltas" or not event.key.startswith(keys.DELTAS):
        return
    life = history.life(event.key)
    if life is None:
        return
    facts = history.of(event.key.split("/")[1])
    if event.body is not None:
        fail(name, f"{event.key} was overwritten by {event.doer}")
    if life.identity in facts.accounted or life.number > 0:
        return
    if event.doer.state != "Download":
        fail(name, f"{event.key} was deleted by {event.doer} before any version contained it")
    prefix = keys.quarantine(*event.key.split("/")[1:3])
    copy = history.deltas.head(prefix + event.key.rpartition("/")[2])
    if copy is None or copy.etag != life.etag:
        fail(name, f"{event.key} was deleted by {event.doer} and is not in quarantine")
    if life.kind != "bad" and facts.failures_alone(life) < 3:
        fail(name, f"{event.key} is {life.kind}, failed {facts.failures_alone(life)} runs alone, and was moved")


def applying_again_changes_nothing(history: History, event: Event) -> None:
    """5. Applying a delta again changes nothing, also after a crash between promotion and retirement, and a retired one
    never comes back by itself: no version takes a delta whose key was deleted before.
    """
    name = "applying_again_changes_nothing"
    if not isinstance(event, Written) or event.body is None or not _is_manifest(event):
        return
    manifest = Manifest.model_validate_json(event.body)
    identities = [(delta.key, delta.etag) for delta in manifest.applied]
    if len(set(identities)) < len(identities):
        fail(name, f"{manifest.version} names a delta twice")
    _, new = history.expected(manifest)
    for life in new:
        present = history.life(life.key)
        if life.number > 0:
            fail(name, f"{manifest.version} took {life.key}, which had been deleted before")
        if (
            present is not None
            and present.number > 0
            and life.identity not in history.of(manifest.collection).accounted
        ):
            fail(name, f"{manifest.version} took {life.key} in its life number {present.number + 1}")


def readers_see_one_version(history: History, event: Event) -> None:
    """6. A reader sees one whole version, and within one process never one with a smaller token than before; a strong
    read sees every operation that was acknowledged when it began, in order, and nothing that a rollback undid.
    """
    name = "readers_see_one_version"
    if not isinstance(event, Answered):
        return
    facts, who = history.of(event.collection), f"{event.reader}, reading {event.collection}"
    if event.error is not None:
        there = [life.key for life in event.asked.required if life.key not in history.condemned]
        known = event.asked.token and (event.strong or (event.reader, event.collection) in history.read_tokens)
        if event.error in _NOTHING and (known or (event.strong and there)):
            fail(name, f"{who}, was told that there is nothing, at token {event.asked.token} with {there} pending")
        if event.error not in _TRY_AGAIN:
            fail(name, f"{who}, was told {event.error}")
        return
    if event.content is None:
        fail(name, f"{who}, got no answer")
    token = token_of(event.version)
    if token < history.read_tokens.get((event.reader, event.collection), 0):
        fail(name, f"{who}, saw {event.version} after token {history.read_tokens[event.reader, event.collection]}")
    if event.version is not None and event.version not in facts.promotions:
        fail(name, f"{who}, saw {event.version}, which never was current")
    base: Content = facts.versions[event.version].content if event.version is not None else {}
    if not event.strong:
        if event.content != base:
            fail(name, f"{who}, saw {event.version} with {difference(event.content, base)}")
        return
    if token < event.asked.token:
        fail(name, f"{who} strongly, saw {event.version} where token {event.asked.token} was current before it asked")
    strong_reads.judge(name, who, history, facts, event, base)


def only_owners_touch_locks(history: History, event: Event) -> None:
    """7. Release and renewal touch only the lock of the same owner and token; a lock is taken only where it is free,
    expired by the taker's clock, or the taker's own; its token only grows, and its item is never deleted.
    """
    name = "only_owners_touch_locks"
    if not isinstance(event, LeaseChanged) or event.before == event.after:
        return
    before, after = event.before, event.after
    if after is None:
        fail(name, f"{event.lock_id} is gone")
    if after.token < history.tokens.get(event.lock_id, 0):
        fail(name, f"{event.lock_id} went back to token {after.token}")
    if event.operation == "acquire":
        free = before is None or before.owner in (None, event.owner) or before.expires < (event.now or 0)
        if not free:
            fail(name, f"{event.owner} took {event.lock_id} from {before}")
        new = before is None or before.owner != event.owner
        if new and after.token <= history.tokens.get(event.lock_id, 0):
            fail(name, f"{event.owner} got token {after.token} of {event.lock_id} again")
    elif before is None or (before.owner, before.token) != (event.owner, event.token):
        fail(name, f"{event.operation} by {event.owner} with token {event.token} changed {before}")


def every_record_is_accounted_for(history: History, event: Event, ledger: Ledger) -> None:
    """8. Every submitted record ends as exactly one of embedded, to retry, rejected, outdated; the ledger balances;
    quarantined ones are counted and named: by the time a delta is gone from its place, its reason lies beside its bytes
    and the ledger knows of its records where its batch could be read.
    """
    name = "every_record_is_accounted_for"
    if not isinstance(event, Written) or event.bucket != "deltas":
        return
    if event.key.startswith(keys.DELTAS) and event.body is None and event.doer.state == "Download":
        life = history.life(event.key)
        if life is None or life.number > 0 or life.identity in history.of(event.key.split("/")[1]).accounted:
            return
        prefix = keys.quarantine(*event.key.split("/")[1:3])
        try:
            note = Quarantined.model_validate_json(history.deltas.get(prefix + "reason.json").body)
        except ObjectNotFound:
            fail(name, f"{event.key} went to quarantine without a reason")
        if (note.key, note.etag) != life.identity or not note.reason:
            fail(name, f"{prefix}reason.json speaks of {note.key}")
    elif event.key.startswith(keys.QUARANTINE) and event.key.endswith("reason.json") and event.body is not None:
        note = Quarantined.model_validate_json(event.body)
        if note.batch_id is not None:
            item = ledger(note.batch_id)
            for one in (item.counts, *(attempt.counts for attempt in item.attempts)):
                if not one.balanced:
                    fail(name, f"{note.batch_id} has {one}")


def failed_runs_leave_no_trace(history: History, event: Event) -> None:
    """9. A failed run leaves the pointer as it was, good deltas where they were, and garbage at most in staging or an
    unnamed version: whatever a state writes lies under its own run's names, and a delta goes only where 4 says.
    """
    name = "failed_runs_leave_no_trace"
    if isinstance(event, Ended):
        before_commit = event.failed_in in ("AcquireLock", "Download", "Merge", "RenewLock", "Upload")
        if before_commit and event.version is not None and event.version in history.of(event.collection).promotions:
            fail(name, f"a run of {event.collection} failed in {event.failed_in}, and {event.version} was promoted")
    if isinstance(event, Written) and not any(event.key.startswith(prefix) for prefix in _own_places(event)):
        fail(name, f"{event.doer} wrote {event.bucket}/{event.key}")


def fixed_settings_never_change(history: History, event: Event) -> None:
    """10. A collection's model, dimension, space and number of shards never change under a pointer."""
    name = "fixed_settings_never_change"
    if not isinstance(event, Written) or event.body is None or not _is_manifest(event):
        return
    manifest = Manifest.model_validate_json(event.body)
    if manifest.parent is None:
        return
    before = history.of(manifest.collection).versions[manifest.parent].manifest
    if manifest.settings != before.settings:
        fail(name, f"{manifest.version} has {manifest.settings}, and {before.version} {before.settings}")


def _family(kind: type[SiltstoneError]) -> set[str]:
    """The names of an error and of all that are one."""
    return {kind.__name__}.union(*(_family(each) for each in kind.__subclasses__()))


_DAMAGE = _family(Damage)
_NOTHING = _family(UnknownCollection)
_TRY_AGAIN = _family(StoreUnavailable) | _NOTHING


def _own_places(event: Written) -> Iterator[str]:
    """Where the doer may write."""
    doer = event.doer
    if event.bucket == "deltas":
        if doer.state in ("Download", "Retire", "Produce"):
            yield keys.deltas(doer.collection or "?")
        if doer.state in ("Download", "Replay"):
            yield f"{keys.QUARANTINE}{doer.collection}/"
        return
    match doer.state:
        case "Download" | "Merge":
            yield f"{keys.STAGING}{doer.collection}/{doer.run}/"
        case "Upload":
            yield keys.version(doer.collection or "?", doer.version or "?")
        case "PromotePointer":
            yield keys.pointer(doer.collection or "?")
        case "Rollback":
            yield from (keys.pointer(doer.collection or "?"), keys.versions(doer.collection or "?"))
        case "Retire":  # what it deletes, 2 judges
            yield keys.versions(doer.collection or "?")
        case "Pin":
            yield keys.pins(doer.collection or "?")
        case "Lifecycle":
            yield keys.STAGING
        case _:
            pass


def _is_manifest(event: Written) -> bool:
    return event.bucket == "snapshots" and event.key.endswith(f"/{keys.MANIFEST_FILE}")


def _files_are_there(name: str, history: History, manifest: Manifest) -> None:
    for key, size, digest in named_objects(manifest):
        info = history.snapshots.head(key)
        if info is None or info.size != size or sha256(history.snapshots.get(key).body) != digest:
            fail(name, f"{manifest.version} was published, and {key} is not as its manifest says")


def _may_be_removed(
    name: str, facts: CollectionFacts, found: VersionFacts, now: float, retention: RetentionSettings
) -> None:
    version = found.manifest.version
    if version in facts.promotions[-1 - retention.keep_at_least :]:
        fail(name, f"{version} was removed, and the pointer is at {facts.current}")
    if version in facts.pinned:
        fail(name, f"{version} was removed, and it is pinned")
    age, least = now - (found.superseded or now), max(retention.keep_seconds, retention.grace_seconds)
    if found.promoted is not None and age < least:
        fail(name, f"{version} was removed {age:.0f} s after it was superseded")
    if found.promoted is None and token_of(version) > facts.token:
        fail(name, f"{version} was removed before it could be promoted")
