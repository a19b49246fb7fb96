"""Texts that are to be embedded in batches, and what must have become of them: one wave for each crash."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from siltstone.clock import SystemClock
from siltstone.embedding.embed_now import EmbedNowInput
from siltstone.sources.loading import load_sources
from siltstone.sources.state import deleted
from siltstone.sources.text import Text, text_source_id
from siltstone.stores.provider_openai import OpenAIProvider
from siltstone_local.batch_server.faults import BatchFaults, Faults

from tests.faults.crashes.checks import ask
from tests.faults.crashes.house import House

_FIRST_BATCH = Faults(batch=BatchFaults(drop_rows=1, refused_rows=1, refused_status=400), batches=1)


@dataclass
class Texts:
    """A collection's texts by id, and the ids of those that were deleted."""

    house: House
    collection: str
    texts: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    waves: int = 0

    def wave(self) -> None:
        """New texts, a changed one, a deleted one whose rows are still owed a delete; and a provider that fails twice.

        Of the next batch one row gets no answer, and is asked again in a second attempt; one is refused for good.
        """
        number, self.waves = self.waves, self.waves + 1
        self.house.batch_server.set_faults(_FIRST_BATCH)
        embedded = [text for text in sorted(self.texts) if self._status(text) == "SUCCESS"]
        news = {f"text-{number}-{place}": f"receipt {number} of shop {place}" for place in range(4)}
        news |= dict.fromkeys(embedded[:1], f"changed by {number}")
        self._load(news)
        for text in embedded[1:3]:
            self._leave_a_delete_owed(text)

    def small_wave(self) -> EmbedNowInput:
        """Texts that are to be embedded at once."""
        number, self.waves = self.waves, self.waves + 1
        news = {f"now-{number}-{place}": f"at once {number} of {place}" for place in range(2)}
        self.texts |= news
        return EmbedNowInput(texts=[self._text(text, words).model_dump() for text, words in news.items()])

    def check_converged(self) -> None:
        """Every source is settled, the store holds what it should, the ledger balances, nothing was paid twice."""
        items = self.house.stores.sources.read_many([text_source_id(self.collection, text) for text in self.texts])
        states = {
            text: items[text_source_id(self.collection, text)].collections[self.collection] for text in self.texts
        }
        statuses = {text: state.status for text, state in states.items()}
        assert set(statuses.values()) <= {"SUCCESS", "FAILED"}, statuses
        refused = {text for text, status in statuses.items() if status == "FAILED"}
        assert all(set(states[text].refused) == {text} for text in refused), "failed, but not by the provider's refusal"
        rows = ask(self.house, self.collection)
        expected = {text: words for text, words in self.texts.items() if text not in refused}
        assert {row: found[1] for row, found in rows.items()} == expected
        batches = [batch for batch in self.house.stores.ledger.list() if batch.collection == self.collection]
        open_ones = {batch.batch_id: batch.status for batch in batches if batch.status != "COMPLETE"}
        assert not open_ones, f"not complete: {open_ones}"
        for batch in batches:
            assert batch.counts.balanced, f"{batch.batch_id}: {batch.counts}"
            assert batch.counts.to_retry == 0, f"{batch.batch_id}: {batch.counts}"
        assert sum(batch.counts.rejected for batch in batches) >= len(refused)
        self._check_paid_once()

    def _check_paid_once(self) -> None:
        provider = OpenAIProvider(api_key="local", base_url=self.house.batch_server.base_url)
        bought = Counter((info.metadata["batch_id"], info.metadata["attempt"]) for info in provider.list_batches())
        twice = {name: count for name, count in bought.items() if count > 1}
        assert not twice, f"bought more than once: {twice}"
        asked = {
            (batch.batch_id, str(attempt.attempt))
            for batch in self.house.stores.ledger.list()
            for attempt in batch.attempts
        }
        assert bought.keys() == asked, "the provider has a batch that the ledger does not know, or the other way round"

    def _load(self, texts: dict[str, str]) -> None:
        self.texts |= texts
        sources = [self._text(text, words) for text, words in texts.items()]
        load_sources(sources, self.house.stores, SystemClock())

    def _leave_a_delete_owed(self, text: str) -> None:
        """As a deletion leaves it that stops after its tombstone."""
        sources = self.house.stores.sources
        item = sources.read(text_source_id(self.collection, text))
        assert item is not None
        now = SystemClock().now()
        sources.save(deleted(item, now), now=now)
        self.gone.add(text)
        del self.texts[text]

    def _text(self, text: str, words: str) -> Text:
        return Text(collection=self.collection, id=text, text=words)

    def _status(self, text: str) -> str:
        item = self.house.stores.sources.read(text_source_id(self.collection, text))
        assert item is not None
        return item.collections[self.collection].status
