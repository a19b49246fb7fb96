"""Whatever fails and wherever the process dies: no difference between the sides is ever unknown, and all are healed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from siltstone.clock import ManualClock
from siltstone.dual import BucketJournal, DualIndex, FolderJournal
from siltstone.dual.journal import Journal, Mark
from siltstone.dual.phases import Side as Which
from siltstone.errors import BadRecord, BadSettings, ManifestDamaged, Refused, StoreUnavailable
from siltstone.stores.objects_memory import MemoryObjects

from tests.unit.dual.conftest import Both, Gate, held, vectors

WRITES: dict[str, Callable[[DualIndex], Any]] = {
    "upsert": lambda index: index.upsert(vectors=vectors("a", "new", seed=2), namespace="lines"),
    "update": lambda index: index.update(id="a", set_metadata={"n": 2}, namespace="lines"),
    "delete": lambda index: index.delete(ids=["a"], namespace="lines"),
    "delete by filter": lambda index: index.delete(filter={"n": 1}, namespace="lines"),
    "delete all": lambda index: index.delete(delete_all=True, namespace="lines"),
}
EVERY = ("a", "b", "new")


class Killed(BaseException):
    """As SIGKILL would: no handler of an error runs."""


@pytest.fixture(params=["both", "chroma-first"])
def stage(both: Both, request: pytest.FixtureRequest) -> Both:
    """Rows that both sides have, in a phase that writes to both."""
    both.phases = {"*": request.param}
    both.index.upsert(vectors=vectors("a", "b", seed=1), namespace="lines")
    both.house.clock.advance(100)
    both.pinecone.calls.clear()
    both.siltstone.calls.clear()
    return both


def sides(both: Both) -> tuple[Any, Any]:
    """The chosen one and the other."""
    pair = (both.pinecone, both.siltstone)
    return pair if both.phases["*"] == "both" else pair[::-1]


@pytest.mark.parametrize("call", WRITES)
def test_a_write_goes_to_both_the_chosen_one_first_and_leaves_no_mark(stage: Both, call: str) -> None:
    order: list[str] = []
    for name in ("pinecone", "siltstone"):
        getattr(stage, name).before[call.split(maxsplit=1)[0]] = lambda name=name: order.append(name)
    WRITES[call](stage.index)
    assert order == (["pinecone", "siltstone"] if stage.phases["*"] == "both" else ["siltstone", "pinecone"])
    assert held(stage.pinecone, *EVERY) == held(stage.siltstone, *EVERY) != {"a": 1, "b": 1}
    assert stage.journal.marks() == []


@pytest.mark.parametrize("behind", [False, True], ids=["refused", "reply lost"])
@pytest.mark.parametrize("call", WRITES)
def test_the_other_fails_the_caller_has_his_answer_and_it_is_healed(stage: Both, call: str, behind: bool) -> None:
    chosen, other = sides(stage)
    other.fails(call.split(maxsplit=1)[0], RuntimeError("down"), behind=behind)
    WRITES[call](stage.index)
    wanted = held(chosen, *EVERY)
    assert wanted != {"a": 1, "b": 1}
    assert stage.counters["other_write_failed"] == 1
    assert (stage.log[0]["what"], stage.log[0]["error"]) == ("other_write_failed", "RuntimeError: down")
    (mark,) = stage.journal.marks()
    assert mark.name == stage.log[0]["mark"]
    other.recovers()
    healed = stage.heal()
    assert (healed.marks, healed.waiting, healed.errors) == (1, 0, [])
    assert held(chosen, *EVERY) == held(other, *EVERY) == wanted
    assert stage.journal.marks() == []


@pytest.mark.parametrize("place", ["chosen before", "chosen after", "other before", "other after"])
@pytest.mark.parametrize("call", WRITES)
def test_killed_anywhere_the_sides_are_equal_after_healing(stage: Both, call: str, place: str) -> None:
    chosen, other = sides(stage)
    victim = chosen if place.startswith("chosen") else other
    victim.fails(call.split(maxsplit=1)[0], Killed(), behind=place.endswith("after"))
    with pytest.raises(Killed):
        WRITES[call](stage.index)
    victim.recovers()
    wanted = held(chosen, *EVERY)
    assert len(stage.journal.marks()) == 1
    again = stage.again()  # another process
    stage.house.clock.advance(301)
    assert again.heal().errors == []
    assert held(chosen, *EVERY) == held(other, *EVERY) == wanted
    assert stage.journal.marks() == []


def test_an_error_of_the_chosen_one_is_the_callers_and_the_other_is_not_written(stage: Both) -> None:
    chosen, other = sides(stage)
    chosen.fails("upsert", RuntimeError("reply lost"), behind=True)
    with pytest.raises(RuntimeError):
        WRITES["upsert"](stage.index)
    assert other.calls == []
    assert held(chosen, "a") != held(other, "a")  # it is unknown to the caller whether it happened
    chosen.recovers()
    stage.heal()
    assert held(chosen, *EVERY) == held(other, *EVERY) == {"a": 2, "b": 1, "new": 2}


def test_without_a_journal_nothing_is_written(stage: Both) -> None:
    journal = stage.folder / "journal"
    for path in journal.iterdir():
        path.unlink()
    journal.rmdir()
    journal.write_text("no folder")
    with pytest.raises(StoreUnavailable, match="journal"):
        WRITES["upsert"](stage.index)
    assert held(stage.pinecone, *EVERY) == held(stage.siltstone, *EVERY) == {"a": 1, "b": 1}


def test_a_vector_without_an_id_is_refused_before_anything_is_written(stage: Both) -> None:
    with pytest.raises(BadRecord, match="no id"):
        stage.index.upsert(vectors=[{"values": [1.0]}], namespace="lines")
    assert stage.pinecone.calls == stage.siltstone.calls == []


def test_batches_that_the_client_only_reports_as_failed_are_marked_too(both: Both) -> None:
    both.phases = {"*": "chroma-first"}
    long = "x" * 600  # more than Pinecone takes for an id
    both.index.upsert(vectors=vectors("a", long, seed=1), namespace="lines", batch_size=1, show_progress=False)
    assert held(both.siltstone, "a", long) == {"a": 1, long: 1}
    assert held(both.pinecone, "a") == {"a": 1}
    assert both.counters["other_write_failed"] == 1
    assert "1 of 2 vectors were not written" in both.log[0]["error"]
    assert len(both.journal.marks()) == 1

    both.phases = {"*": "both"}  # here it is the caller who is told, and the other side fails as a whole
    answer = both.index.upsert(vectors=vectors("b", long + "y", seed=1), namespace="lines", batch_size=1)
    assert answer.failed_item_count == 1
    assert len(both.journal.marks()) == 2


def test_vectors_may_come_from_a_generator_as_tuples_and_objects(stage: Both) -> None:
    from pinecone import Vector

    one, two = vectors("a", "c", seed=3)
    stage.index.upsert(
        vectors=(each for each in [(one["id"], one["values"], one["metadata"]), Vector(**two)]), namespace="lines"
    )
    assert held(stage.pinecone, "a", "c") == held(stage.siltstone, "a", "c") == {"a": 3, "c": 3}


def test_an_old_mark_never_brings_back_an_old_vector(stage: Both) -> None:
    _, other = sides(stage)
    other.fails("upsert", RuntimeError("down"))
    stage.index.upsert(vectors=vectors("a", seed=2), namespace="lines")
    other.recovers()
    stage.house.clock.advance(10)
    stage.index.upsert(vectors=vectors("a", seed=3), namespace="lines")
    stage.heal()
    assert held(stage.pinecone, "a") == held(stage.siltstone, "a") == {"a": 3}


def test_the_newest_mark_says_which_side_is_right_after_a_change_of_phase(both: Both) -> None:
    both.siltstone.fails("upsert", RuntimeError("down"))
    both.index.upsert(vectors=vectors("a", "b", seed=1), namespace="lines")  # only in Pinecone
    both.siltstone.recovers()
    both.house.clock.advance(10)
    both.phases = {"*": "chroma-first"}
    both.pinecone.fails("upsert", RuntimeError("down"))
    both.index.upsert(vectors=vectors("a", seed=2), namespace="lines")  # only in Siltstone
    both.pinecone.recovers()
    assert both.heal().marks == 2
    assert held(both.pinecone, *EVERY) == held(both.siltstone, *EVERY) == {"a": 2, "b": 1}


def test_a_failed_healing_keeps_the_mark_and_what_older_marks_say_of_its_ids_waits_too(both: Both) -> None:
    both.siltstone.fails("upsert", RuntimeError("down"))
    both.index.upsert(vectors=vectors("a", "b", seed=1), namespace="lines")
    both.house.clock.advance(10)
    both.siltstone.recovers()
    both.phases = {"*": "chroma-first"}
    both.pinecone.fails("upsert", RuntimeError("still down"))
    both.index.upsert(vectors=vectors("a", seed=2), namespace="lines")
    healed = both.heal()
    assert (healed.marks, healed.waiting) == (0, 2)
    assert "still down" in healed.errors[0]
    assert held(both.siltstone, "a", "b") == {"a": 2, "b": 1}  # not Pinecone's older one; what nobody disputes is there
    both.pinecone.recovers()
    assert both.heal().waiting == 0
    assert held(both.pinecone, "a", "b") == held(both.siltstone, "a", "b") == {"a": 2, "b": 1}


def test_a_write_that_may_be_on_its_way_is_not_healed_yet(stage: Both) -> None:
    _, other = sides(stage)
    other.fails("upsert", RuntimeError("down"))
    WRITES["upsert"](stage.index)
    other.recovers()
    assert (stage.heal(10).marks, stage.heal(10).waiting) == (0, 1)
    assert stage.heal().marks == 1


def test_what_changes_while_it_is_healed_is_healed_again(stage: Both) -> None:
    chosen, other = sides(stage)
    other.fails("upsert", RuntimeError("down"))
    stage.index.upsert(vectors=vectors("a", seed=2), namespace="lines")
    other.recovers()

    def by_another_process() -> None:
        other.recovers()
        for side in (chosen, other):
            side.index.upsert(vectors=vectors("a", seed=3), namespace="lines")

    other.before["upsert"] = by_another_process  # between the reading and the copying
    stage.heal()
    assert held(chosen, "a") == held(other, "a") == {"a": 3}


def test_threads_of_a_process_leave_both_sides_with_the_same_last_write(stage: Both) -> None:
    _, other = sides(stage)
    gate = Gate()
    other.before["upsert"] = gate

    def write(seed: int) -> None:
        stage.index.upsert(vectors=vectors("a", seed=seed), namespace="lines")

    first = threading.Thread(target=write, args=(2,))
    first.start()
    assert gate.reached.wait(30)
    other.recovers()
    second = threading.Thread(target=write, args=(3,))
    second.start()
    gate.open.set()
    first.join(30)
    second.join(30)
    assert held(stage.pinecone, "a") == held(stage.siltstone, "a") == {"a": 3}


@pytest.mark.parametrize(("phase", "last"), [("both", "pinecone"), ("chroma-first", "chroma")])
def test_the_way_to_one_side_is_free_whatever_the_other_misses(both: Both, phase: str, last: str) -> None:
    both.phases = {"*": phase}
    _, other = sides(both)
    other.fails("upsert", RuntimeError("down"))
    both.index.upsert(vectors=vectors("a", seed=1), namespace="lines")
    both.phases = {"*": last}
    both.index.upsert(vectors=vectors("a", seed=2), namespace="lines")
    healed = both.heal()
    assert (healed.marks, healed.waiting) == (0, 1)  # for the day when there are two again


@pytest.mark.parametrize(("phase", "last"), [("chroma-first", "pinecone"), ("both", "chroma")])
def test_a_side_is_not_left_behind_with_writes_that_only_it_has(both: Both, phase: str, last: str) -> None:
    both.phases = {"*": phase}
    _, other = sides(both)
    other.fails("upsert", RuntimeError("down"))
    both.index.upsert(vectors=vectors("a", seed=1), namespace="lines")
    other.recovers()
    both.phases = {"*": last}
    with pytest.raises(Refused, match=r"1 writes to lines may be only in .*heal"):
        both.index.upsert(vectors=vectors("b", seed=2), namespace="lines")
    both.index.upsert(vectors=vectors("b", seed=2), namespace="words")  # another namespace has nothing to do with it
    both.phases = {"*": phase}
    assert both.heal().waiting == 0
    both.phases = {"*": last}
    both.index.upsert(vectors=vectors("b", seed=2), namespace="lines")


def test_ids_that_a_verification_found_different_are_copied_from_the_chosen_side(stage: Both) -> None:
    chosen, other = sides(stage)
    other.index.upsert(vectors=vectors("a", "resurrected", seed=9), namespace="lines")
    other.index.delete(ids=["b"], namespace="lines")
    stage.index.mark(["a", "b", "resurrected"], "lines")
    assert stage.index.heal(0).ids == 3
    assert held(chosen, "a", "b", "resurrected") == held(other, "a", "b", "resurrected") == {"a": 1, "b": 1}
    stage.phases = {"*": "chroma"}
    with pytest.raises(BadSettings, match="chroma-first"):
        stage.index.mark(["a"], "lines")


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_journal_keeps_marks_in_their_order_until_they_are_removed(kind: str, tmp_path: Path) -> None:
    store = MemoryObjects(ManualClock())
    journal: Journal = FolderJournal(tmp_path / "marks") if kind == "folder" else BucketJournal(store)
    assert journal.marks() == []
    made = [
        Mark.new(5.0 if n < 3 else 4.0, "lines", Which.PINECONE, ["a"] if n % 2 else None, "upsert") for n in range(4)
    ]
    for mark in made:
        journal.add(mark)
    assert journal.marks() == [made[3], *made[:3]]
    journal.remove(made[1])
    journal.remove(made[1])
    assert journal.marks() == [made[3], made[0], made[2]]
    if kind == "folder":
        (tmp_path / "marks" / "0.partial").write_text("cut sho")  # a process died in its middle: nothing was written
        assert len(journal.marks()) == 3
        (tmp_path / "marks" / "0.json").write_text("{}")
    else:
        store.put("migration/marks/0.json", b"{}")
    with pytest.raises(ManifestDamaged, match=r"0\.json"):
        journal.marks()
