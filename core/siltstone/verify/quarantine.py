"""What lies in quarantine, and what lay there: a delta that went through it is accounted for."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from siltstone import keys
from siltstone.compaction.documents import AppliedDelta
from siltstone.deltas.quarantine import REASON_FILE, Quarantined
from siltstone.errors import ObjectNotFound
from siltstone.parallel import in_parallel
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.verify.findings import Findings


@dataclass(frozen=True)
class Aside:
    """A delta that was moved aside. ``notes``: every readable reason of its history, newest first."""

    prefix: str
    notes: list[Quarantined]
    present: bool  # not replayed yet
    objects: int  # of the delta itself, there now
    unreadable: bool  # the reason that is there now


def read_quarantine(store: ObjectStore, collection: str) -> list[Aside]:
    """By prefix, from the history: a replay deletes what it has written again."""
    found: dict[str, list[ObjectVersion]] = {}
    for entry in store.list_versions(f"{keys.QUARANTINE}{collection}/"):
        parts = entry.key.split("/")
        if len(parts) > 3:
            found.setdefault("/".join(parts[:3]) + "/", []).append(entry)
    return in_parallel(lambda prefix: _aside(store, prefix, found[prefix]), found)


def accounted(aside: list[Aside]) -> set[AppliedDelta]:
    """The deltas that are or were in quarantine, by the identity that they had in front of it."""
    notes = [note for each in aside for note in each.notes]
    return set(map(_identity, notes))


def check_quarantine(aside: list[Aside], findings: Findings) -> None:
    """List what lies there; a note without its delta, or one that can't be read, is an error."""
    for each in aside:
        if each.unreadable:
            findings.error(
                "quarantine-damaged",
                each.prefix + REASON_FILE,
                "The note of a quarantined delta can't be read.",
                "Bring back an earlier version of the object; the delta beside it can't be replayed without it.",
            )
        elif each.present and not each.objects:
            findings.error(
                "quarantine-damaged",
                each.prefix,
                "A quarantined delta is gone, only its note is left.",
                "Remove the delete marker of its file in the versioned bucket, then replay it.",
            )
        elif each.present:
            note = each.notes[0]
            findings.count(quarantined=1)
            findings.info(
                "quarantined",
                each.prefix,
                f"{note.records if note.records is not None else 'Unknown'} records, since {note.quarantined_at}: "
                f"{note.reason}",
                "Mend the cause, then replay it.",
            )


def _aside(store: ObjectStore, prefix: str, entries: list[ObjectVersion]) -> Aside:
    notes: list[Quarantined] = []
    present = unreadable = False
    objects = 0
    for entry in entries:
        there = entry.is_latest and not entry.is_delete_marker
        if entry.key != prefix + REASON_FILE:
            objects += there
            continue
        present |= there
        note = None if entry.is_delete_marker else _note(store, entry)
        if note is not None:
            notes.append(note)
        else:
            unreadable |= there
    return Aside(prefix, notes, present, objects, unreadable)


def _identity(note: Quarantined) -> AppliedDelta:
    return AppliedDelta(key=note.key, etag=note.etag)


def _note(store: ObjectStore, entry: ObjectVersion) -> Quarantined | None:
    try:
        return Quarantined.model_validate_json(store.get_version(entry.key, entry.version_id).body)
    except (ValidationError, ObjectNotFound):
        return None
