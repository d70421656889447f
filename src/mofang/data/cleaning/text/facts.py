"""What is counted about each text, as columns, before anything is decided.

Everything comes from one tokenisation of a batch (``tokens``); a changed threshold needs these columns and no text.
Shares of characters, tokens, words and lines follow Gopher (Rae et al. 2021) and C4 (Raffel et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text import classes, shingles
from mofang.data.cleaning.text.lid import language_model
from mofang.data.cleaning.text.lines import FINISHED, Lines, bullets
from mofang.data.cleaning.text.repetition import REPETITION, repetition
from mofang.data.cleaning.text.stopwords import chinese_signs, english_words
from mofang.data.cleaning.text.tokens import Hashes, Ints, Scan, scans, totals

Identify = Literal["full", "prefix", ""]
COUNTS = (
    "chars", "tokens", "words", "han", "lines", "stop_words", "chinese_signs", "curly_brackets", "lorem_ipsum", "javascript",
    "policies",
)  # fmt: skip
SHARES = (
    "word_chars", "hash_share", "ellipsis_share", "letter_share", "upper_share", "digit_share", "word_letter_share",
    "stop_word_share", "bullet_lines", "ellipsis_lines", "finished_lines",
)  # fmt: skip
_POLICIES = ("terms of use", "privacy policy", "cookie policy")


@dataclass(frozen=True)
class TextFacts:
    """One row per text, in the order of the texts.

    ``language`` is an ISO 639 code ("" where it was not asked for) and ``language_score`` its probability. ``columns``
    holds a NumPy array per name: whole numbers for ``COUNTS``, shares of 1 for ``SHARES`` (``word_chars`` is the mean
    length of a word, Han and kana characters aside), and ``REPETITION``, NaN where repetition was not asked for. The
    shingles of text i are ``shingle_hashes[shingle_offsets[i]:shingle_offsets[i + 1]]``.
    """

    language: list[str]
    language_score: npt.NDArray[np.float32]
    columns: dict[str, npt.NDArray[Any]]
    shingle_hashes: Hashes
    shingle_offsets: Ints

    def __len__(self) -> int:
        return len(self.language)

    def table(self) -> dict[str, npt.NDArray[Any]]:
        """The columns as statistics.parquet stores them; the language is one of them."""
        return {"language": np.array(self.language, object), "language_score": self.language_score, **self.columns}

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> TextFacts:
        """Facts from stored columns, to decide again with other thresholds; without shingles."""
        columns = {name: np.asarray(table[name]) for name in (*COUNTS, *SHARES, *REPETITION)}
        empty = np.zeros(0, np.uint64)
        offsets = np.zeros(len(columns["chars"]) + 1, np.int64)
        return cls(list(table["language"]), np.asarray(table["language_score"], np.float32), columns, empty, offsets)


def text_facts(
    texts: Sequence[str],
    *,
    identify: Identify = "full",
    prefix: int = 1000,
    shingles: bool = True,
    repeats: bool = False,
) -> TextFacts:
    """Count everything about a batch of texts from one tokenisation.

    ``identify`` names the language from the full text, from the first ``prefix`` characters, or not at all. ``repeats``
    counts repetition too (about twice the work). The same text gives the same facts in whatever batch it stands.
    """
    size = len(texts)
    columns: dict[str, npt.NDArray[Any]] = {name: np.zeros(size, np.int64) for name in COUNTS}
    columns |= {name: np.zeros(size, np.float32) for name in SHARES}
    columns |= {name: np.full(size, np.nan, np.float32) for name in REPETITION}
    codes, scores = np.zeros(size, np.intp), np.zeros(size, np.float32)
    parts: list[tuple[Ints, Hashes, Ints]] = []
    for scan in scans(texts):
        found = _of_scan(scan)
        if repeats:
            found |= repetition(scan)
        for name, values in found.items():
            columns[name][scan.rows] = values
        if identify == "full":
            codes[scan.rows], scores[scan.rows] = language_model().of_scan(scan)
        if shingles:
            parts.append((scan.rows, *_shingles(scan)))
    language = [""] * size
    if identify == "prefix":
        language, scores = language_model().identify([text[:prefix] for text in texts])
    elif identify:
        labels = language_model().labels
        language = [labels[code] for code in codes.tolist()]
    flat, offsets = _in_order(parts, size)
    return TextFacts(language, scores, columns, flat, offsets)


def _of_scan(scan: Scan) -> dict[str, npt.NDArray[Any]]:
    """The counts and shares of a chunk of texts."""
    offsets, hashes = scan.token_offsets, scan.token_spans.hashes()
    tokens = np.diff(offsets)
    words = np.diff(scan.word_offsets)
    letters = scan.count(classes.LETTER)
    lines = Lines.of(scan)
    english, english_distinct = english_words().counts(scan, hashes)
    han = scan.kinds.take(scan.tokens) == classes.HAN
    signs = np.zeros(len(tokens), np.int64)
    if han.any():
        _, signs = chinese_signs().counts(scan, hashes)
    dots = scan.occurrences("...") + scan.occurrences("…")
    return {
        "chars": scan.chars,
        "tokens": tokens,
        "words": words,
        "han": totals(han, offsets),
        "lines": lines.all,
        "stop_words": english_distinct,
        "chinese_signs": signs,
        "curly_brackets": scan.occurrences("{"),
        "lorem_ipsum": scan.occurrences("lorem ipsum"),
        "javascript": scan.occurrences("javascript"),
        "policies": sum((scan.occurrences(one) for one in _POLICIES), np.zeros(len(tokens), np.int64)),
        "word_chars": _share(totals(scan.sizes.take(scan.tokens) * (scan.is_word & ~han), offsets), words - totals(han, offsets)),
        "hash_share": _share(scan.occurrences("#"), tokens),
        "ellipsis_share": _share(dots, tokens),
        "letter_share": _share(letters, scan.chars),
        "upper_share": _share(scan.count(classes.UPPER), letters),
        "digit_share": _share(scan.count(classes.DIGIT), scan.chars),
        "word_letter_share": _share(totals(scan.has_letter, offsets), tokens),
        "stop_word_share": _share(english, words),
        "bullet_lines": _share(bullets(scan, lines), lines.all),
        "ellipsis_lines": _share(lines.per_text(lines.end_with(scan, ("...", "…"))), lines.all),
        "finished_lines": _share(lines.per_text(lines.end_with(scan, FINISHED)), np.diff(lines.offsets)),
    }


def _share(part: Ints, whole: Ints) -> npt.NDArray[np.float32]:
    """Part by whole, 0 where there is nothing."""
    return (part / np.maximum(whole, 1)).astype(np.float32)


_shingles, _in_order = shingles.of_scan, shingles.in_order
