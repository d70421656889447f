"""How many requests, and how long ones, a network is asked with merged adapters; without torch, so that a plan can count it."""

from __future__ import annotations

REQUESTS, LEAST, TOKENS_MAX = 1000, 64, 32
PRODUCTS_MAX = 3e11      # weights times tokens: a large network answers fewer requests, at least 64


def drawn(weights: float, positions_max: int = TOKENS_MAX) -> tuple[int, list[int]]:
    """Rows of each length, and the lengths in tokens, for so many weights beside the table of embeddings."""
    count = max(LEAST, min(REQUESTS, int(PRODUCTS_MAX / max(1.0, weights) / (TOKENS_MAX / 2))))
    lengths = [*range(2, min(TOKENS_MAX, positions_max) + 1, 6)]
    return -(-count // len(lengths)), lengths
