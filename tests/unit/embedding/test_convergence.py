"""Whatever happens in whatever order, crashes included: in the end the store holds exactly what the sources say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from siltstone.embedding.embed_now import embed_sources_now
from siltstone.errors import SiltstoneError, UnknownSource
from siltstone.records.record import make_records
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.sources.source import Source

from tests.unit.embedding.faults import Crash
from tests.unit.embedding.house import House, receipt, text

WRITES = {
    "put",
    "put_file",
    "delete_many",
    "delete_versions",
    "delete",
    "delete_file",
    "save",
    "save_many",
    "create",
    "upload_file",
    "create_batch",
}
NAMES = ("a", "b", "r")


class Fuse:
    """Burns down with every write of any store; the process dies when it is out, before or after the write."""

    def __init__(self, length: int, *, after: bool) -> None:
        self._left = length
        self._after = after

    def around(self, target: Any) -> Any:
        fuse = self

        class Wired:
            def __getattr__(self, name: str) -> Any:
                found = getattr(target, name)
                return fuse._wired(found) if name in WRITES else found

        return Wired()

    def _wired(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wired(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Crash
            reply = call(*args, **more)
            if self._left == 0:
                raise Crash
            return reply

        return wired


class World:
    """The house, what its sources should be, and the batches on their way."""

    def __init__(self, workspace: Path) -> None:
        self.house = House(workspace)
        self.wanted: dict[str, Source | None] = {}
        self.plans = 0

    def source(self, name: str, content: int) -> Source:
        if name == "r":
            return receipt(1, [f"line {n} of {content if n == 1 else 0}" for n in range(1 + content)])
        return text(name, f"content {content}")

    def do(self, step: tuple[Any, ...], fuse: tuple[int, bool] | None) -> None:
        house = self.house
        if fuse is not None:
            burning = Fuse(fuse[0], after=fuse[1])
            stores = house.stores
            house = house.with_stores(
                deltas=burning.around(stores.deltas),
                ledger=burning.around(stores.ledger),
                sources=burning.around(stores.sources),
            )
            house.provider = burning.around(house.provider)
        house.clock.advance(1)
        with suppress(Crash, SiltstoneError):
            self._do(house, *step)

    def _do(self, house: House, operation: str, *args: Any) -> None:
        match operation, args:
            case "load", (name, content):
                self.wanted[name] = self.source(name, content)
                load_sources([self.source(name, content)], house.stores, house.clock)
            case "now", (name, content):
                self.wanted[name] = self.source(name, content)
                embed_sources_now([self.source(name, content)], house.stores, house.clock, house.provider)
            case "delete", (name,):
                self.wanted[name] = None
                delete_sources([self.source(name, 1).source_id], house.stores, house.clock)
            case "plan", ():
                self.plans += 1
                house.plan(f"plan-{self.plans}")
            case "plan again", ():
                house.plan(f"plan-{self.plans}")
            case "wait", (seconds,):
                house.clock.advance(seconds)
            case "provider", (steps,):
                self.house.provider.advance(steps)
            case state, (number,):
                batches = sorted(house.stores.ledger.list(open_only=True), key=lambda item: item.batch_id)
                if batches:
                    item = batches[number % len(batches)]
                    call = {"submit": house.submit, "create": house.create, "record": house.record, "walk": house.walk}[
                        state
                    ]
                    call(item.batch_id, *([item.attempt] if state in {"create", "record"} else []))

    def come_to_rest(self) -> None:
        """The user repeats what failed, and the machine runs until nothing is left to do."""
        house = self.house
        for name, source in self.wanted.items():
            house.clock.advance(1)
            if source is not None:
                load_sources([source], house.stores, house.clock)
                continue
            try:
                delete_sources([self.source(name, 1).source_id], house.stores, house.clock)
            except UnknownSource:
                continue  # it never came to be
        for turn in range(8):
            house.clock.advance(10_000)
            planned = house.plan(f"rest-{turn}").batches
            if not planned:
                return
            for one in planned:
                house.walk(one.batch_id)
        raise AssertionError("it never comes to rest")

    def check(self) -> None:
        house = self.house
        live = [source for source in self.wanted.values() if source is not None]
        for collection in ("lines", "texts"):
            expected = {
                record.record_id: (record.document, record.input_sha256)
                for source in live
                if collection in source.collections(house.stores.settings)
                for record in make_records(source, collection, house.stores.settings.resolve(collection))
            }
            found = house.store(collection)
            assert {key: (row["document"], row["metadata"]["input_sha256"]) for key, row in found.items()} == expected
        for item in house.stores.sources.list():
            assert not item.open
            assert all(not state.stray and not state.pending for state in item.collections.values())
        for batch in house.stores.ledger.list():
            assert batch.status == "COMPLETE"
            assert batch.counts.balanced
            assert batch.counts.to_retry == 0


names, contents = st.sampled_from(NAMES), st.integers(1, 3)
steps = st.one_of(
    st.tuples(st.just("load"), names, contents),
    st.tuples(st.just("now"), names, contents),
    st.tuples(st.just("delete"), names),
    st.tuples(st.sampled_from(["plan", "plan again"])),
    st.tuples(st.just("wait"), st.sampled_from([60, 4_000, 9_000])),
    st.tuples(st.just("provider"), st.just(3)),
    st.tuples(st.sampled_from(["submit", "create", "record", "walk"]), st.integers(0, 2)),
)
fuses = st.none() | st.tuples(st.integers(1, 6), st.booleans())


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(steps, fuses), max_size=25))
@example(
    # A batch carries an old content to its delta while a newer one is embedded at once and another source vanishes.
    [
        (("load", "a", 1), None),
        (("load", "r", 3), None),
        (("plan",), None),
        (("submit", 0), None),
        (("submit", 1), None),
        (("provider", 3), None),
        (("create", 0), None),
        (("create", 1), (2, True)),
        (("now", "a", 2), None),
        (("delete", "r"), (2, False)),
        (("create", 1), None),
        (("record", 0), (1, True)),
        (("record", 1), None),
    ]
)
def test_everything_converges(history: list[tuple[tuple[Any, ...], tuple[int, bool] | None]]) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step, fuse in history:
            world.do(step, fuse)
        world.come_to_rest()
        world.check()
