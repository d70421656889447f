"""Which texts are kept, decided from their counted facts alone, so that a changed threshold needs no text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text.facts import TextFacts
from mofang.data.cleaning.text.repetition import DUPLICATE, TOP

Flags = npt.NDArray[np.bool_]
_ANY = 1 << 40  # as many as there may be


@dataclass(frozen=True)
class Limits:
    """The limits for texts of one language; a share of 1 (or 0 as the least) is no limit.

    C4 (Raffel et al. 2020) sets the limits of curly brackets, lorem ipsum, javascript and policies to 0; here they are off.
    The defaults are Gopher's (Rae et al. 2021, A1.1), without those on mean word length and stop words, which only
    hold for languages written with blanks.
    """

    words: tuple[int, int] = (50, 100_000)
    word_chars: tuple[float, float] = (0, 1e9)
    hash_share: float = 0.1
    ellipsis_share: float = 0.1
    word_letter_share: float = 0.5
    bullet_lines: float = 0.9
    ellipsis_lines: float = 0.3
    stop_words: int = 0
    chinese_signs: int = 0
    finished_lines: float = 0
    digit_share: float = 1
    upper_share: float = 1
    curly_brackets: int = _ANY
    lorem_ipsum: int = _ANY
    javascript: int = _ANY
    policies: int = _ANY


@dataclass(frozen=True)
class Repeats:
    """The largest shares of repetition (Gopher, A1.1); used where repetition was counted."""

    duplicate_lines: float = 0.3
    duplicate_line_chars: float = 0.2
    duplicate_paragraphs: float = 0.3
    duplicate_paragraph_chars: float = 0.2
    top_grams: tuple[float, ...] = (0.2, 0.18, 0.16)
    duplicate_grams: tuple[float, ...] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
    entropy_bits: float = 0


@dataclass(frozen=True)
class QualityRules:
    """What makes a text good enough; ``languages`` empty keeps every language."""

    languages: tuple[str, ...] = ()
    language_score: float = 0.2
    english: Limits = field(default_factory=lambda: Limits(word_chars=(3, 10), stop_words=2))
    chinese: Limits = field(default_factory=lambda: Limits(chinese_signs=1))
    other: Limits = field(default_factory=Limits)
    repeats: Repeats | None = field(default_factory=Repeats)


REASONS = (
    "language", "words", "word-length", "symbols", "ellipses", "letters", "stop-words", "bullets", "ellipsis-lines",
    "unfinished-lines", "digits", "capitals", "curly-brackets", "lorem-ipsum", "javascript", "policies", "repeated-lines",
    "repeated-paragraphs", "repeated-words", "monotonous",
)  # fmt: skip


def decide(facts: TextFacts, rules: QualityRules | None = None) -> list[str]:
    """Why each text is dropped, "" for the ones kept; of several reasons the first of ``REASONS``."""
    rules = rules or QualityRules()
    language = np.array(facts.language, object)
    reasons = np.full(len(facts), "", object)
    unwanted = np.zeros(len(facts), bool)
    if rules.languages:
        unwanted = ~np.isin(language, rules.languages) | (facts.language_score < rules.language_score)
    english, chinese = language == "en", language == "zh"
    groups = ((english, rules.english), (chinese, rules.chinese), (~english & ~chinese, rules.other))
    reasons[unwanted] = "language"
    for group, limits in groups:
        for reason, bad in _faults(facts, limits):
            reasons[group & bad & (reasons == "")] = reason
    if rules.repeats is not None:
        for reason, bad in _repeated(facts, rules.repeats):
            reasons[bad & (reasons == "")] = reason
    return list(reasons)


def _faults(facts: TextFacts, limits: Limits) -> Iterator[tuple[str, Flags]]:
    of = facts.columns
    fewest, most = limits.words
    shortest, longest = limits.word_chars
    yield "words", (of["words"] < fewest) | (of["words"] > most)
    yield "word-length", (of["word_chars"] < shortest) | (of["word_chars"] > longest)
    yield "symbols", of["hash_share"] > limits.hash_share
    yield "ellipses", of["ellipsis_share"] > limits.ellipsis_share
    yield "letters", of["word_letter_share"] < limits.word_letter_share
    yield "stop-words", (of["stop_words"] < limits.stop_words) | (of["chinese_signs"] < limits.chinese_signs)
    yield "bullets", of["bullet_lines"] > limits.bullet_lines
    yield "ellipsis-lines", of["ellipsis_lines"] > limits.ellipsis_lines
    yield "unfinished-lines", of["finished_lines"] < limits.finished_lines
    yield "digits", of["digit_share"] > limits.digit_share
    yield "capitals", of["upper_share"] > limits.upper_share
    yield "curly-brackets", of["curly_brackets"] > limits.curly_brackets
    yield "lorem-ipsum", of["lorem_ipsum"] > limits.lorem_ipsum
    yield "javascript", of["javascript"] > limits.javascript
    yield "policies", of["policies"] > limits.policies


def _repeated(facts: TextFacts, limits: Repeats) -> Iterator[tuple[str, Flags]]:
    """NaN, where repetition was not counted, is above no limit."""
    of = facts.columns
    for unit in ("line", "paragraph"):
        many = of[f"duplicate_{unit}s"] > getattr(limits, f"duplicate_{unit}s")
        yield f"repeated-{unit}s", many | (of[f"duplicate_{unit}_chars"] > getattr(limits, f"duplicate_{unit}_chars"))
    sizes = [*((f"top_{n}_grams", limit) for n, limit in zip(TOP, limits.top_grams, strict=True))]
    sizes += [(f"duplicate_{n}_grams", limit) for n, limit in zip(DUPLICATE, limits.duplicate_grams, strict=True)]
    for name, limit in sizes:
        yield "repeated-words", of[name] > limit
    yield "monotonous", of["entropy_bits"] < limits.entropy_bits
