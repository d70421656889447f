"""A span says where personal data of which kind stands in a text, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# In the order in which overlapping spans of equal score and length give way to each other.
KINDS = (
    "identity-card", "card", "iban", "ssn", "mobile", "landline", "phone", "passport", "permit", "email", "ip", "plate",
    "wechat", "address", "name",
)  # fmt: skip
ALL_KINDS = frozenset(KINDS)
CHECKED_KINDS = ("identity-card", "card", "iban")  # a check sum stands behind them
NOT_PERSONAL = ""  # a span of this kind (a company's code, a book's number) only keeps others off its place

CHECKED, SURE, LIKELY, GUESSED = 0.99, 0.9, 0.7, 0.5


class Span(NamedTuple):
    """Personal data in a text: ``text[start:end]``, its kind, how sure (0 to 1), and a word more (an IP address is
    public or private)."""

    start: int
    end: int
    kind: str
    score: float = SURE
    detail: str = ""


_ORDER = {kind: place for place, kind in enumerate(KINDS)}


def settled(found: Iterable[Span]) -> list[Span]:
    """Spans that do not overlap, in order: of two the surer stays, then the longer, then the one that begins first, then
    the kind that stands first in ``KINDS``."""
    kept: list[Span] = []
    together: list[Span] = []
    end = -1
    for one in sorted(set(found)):
        if one.start >= end:
            kept += _best(together)
            together = []
        together.append(one)
        end = max(end, one.end)
    kept += _best(together)
    return [one for one in kept if one.kind != NOT_PERSONAL]


def _best(together: list[Span]) -> list[Span]:
    """Which of some spans that hang together stay."""
    if len(together) < 2:
        return together
    kept: list[Span] = []
    ranked = sorted(together, key=lambda one: (-one.score, one.start - one.end, one.start, _ORDER.get(one.kind, -1)))
    for one in ranked:
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept)
