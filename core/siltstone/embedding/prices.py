"""What embeddings cost, as data with a date. A model that is not here costs an unknown amount, never nothing.

Written down by hand as of `AS_OF`, not fetched from the provider's page: look there before a large amount.
"""

from __future__ import annotations

from typing import Final

AS_OF: Final = "2025-10-01"

USD_PER_MILLION_TOKENS: Final = {
    "text-embedding-3-small": 0.02,
    "text-embedding-3-large": 0.13,
    "text-embedding-ada-002": 0.10,
}
BATCH_DISCOUNT: Final = 0.5


def cost_usd(model: str, tokens: int, *, batch: bool) -> float | None:
    """US dollars for ``tokens`` input tokens; ``None`` where the model's price is not known."""
    price = USD_PER_MILLION_TOKENS.get(model)
    if price is None:
        return None
    return round(tokens * price * (BATCH_DISCOUNT if batch else 1.0) / 1_000_000, 8)
