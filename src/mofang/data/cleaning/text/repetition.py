"""How much of a text repeats itself: lines, paragraphs and runs of words (Rae et al. 2021, Gopher, table A1), and how
varied its words are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text import classes
from mofang.data.cleaning.text.lines import Lines
from mofang.data.cleaning.text.shingles import windows
from mofang.data.cleaning.text.tokens import Hashes, Ints, Scan, totals

TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)
REPETITION = (
    "duplicate_lines", "duplicate_line_chars", "duplicate_paragraphs", "duplicate_paragraph_chars", "distinct_words",
    "entropy_bits", *(f"top_{size}_grams" for size in TOP), *(f"duplicate_{size}_grams" for size in DUPLICATE),
)  # fmt: skip
_STEP = np.uint64(0x9E3779B97F4A7C15)


def repetition(scan: Scan) -> dict[str, npt.NDArray[Any]]:
    """Shares of each text that repeat something earlier in it, of 1; the entropy of its words in bits.

    ``top_N_grams`` is the share of the words' characters in the commonest run of N words, ``duplicate_N_grams`` that in
    runs of N words met before. Words compare with capitals as small letters and digits as 0; lines and paragraphs
    compare by their words and signs.
    """
    lines = Lines.of(scan)
    sizes = scan.sizes.take(scan.tokens)
    hashes = scan.token_spans.hashes()
    found: dict[str, npt.NDArray[Any]] = {}
    for name, (first, offsets) in (("line", _lines(lines)), ("paragraph", _paragraphs(scan, lines))):
        chars = totals(sizes, np.append(first, len(sizes)))
        again = _seen_before(_mixed(hashes, first), np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
        found[f"duplicate_{name}s"] = _share(totals(again, offsets), np.diff(offsets))
        found[f"duplicate_{name}_chars"] = _share(totals(chars * again, offsets), totals(chars, offsets))
    word_chars = sizes.take(scan.words)
    text_chars = totals(word_chars, scan.word_offsets)
    found |= _variety(scan)
    for size in TOP:
        found[f"top_{size}_grams"] = _share(_top(scan, word_chars, size), text_chars)
    for size in DUPLICATE:
        found[f"duplicate_{size}_grams"] = _share(_repeated(scan, word_chars, size), text_chars)
    return found


def _lines(lines: Lines) -> tuple[npt.NDArray[np.intp], Ints]:
    return lines.first, lines.offsets


def _paragraphs(scan: Scan, lines: Lines) -> tuple[npt.NDArray[np.intp], Ints]:
    """The first token of each paragraph: a text's first line, and each line after an empty one."""
    breaks = (scan.kinds == classes.NEWLINE) | (scan.kinds == classes.OTHER_NEWLINE)
    ends = np.zeros(len(breaks) + 1, np.int64)
    np.cumsum(np.where(breaks, scan.sizes, 0), out=ends[1:])
    before = ends.take(scan.tokens.take(lines.first))  # line breaks before the line's first token
    begins = np.append(True, np.diff(before) > 1)[: len(before)]
    begins[lines.offsets[:-1][np.diff(lines.offsets) > 0]] = True
    first = lines.first[begins]
    return first, np.searchsorted(first, scan.token_offsets)


def _mixed(hashes: Hashes, first: npt.NDArray[np.intp]) -> Hashes:
    """A hash of each run of tokens, which begin at ``first``: of the tokens and their order."""
    if not len(first):
        return np.zeros(0, np.uint64)
    place = np.arange(len(hashes)) - np.repeat(first, np.diff(np.append(first, len(hashes))))
    weights = (2 * place + 1).astype(np.uint64) * _STEP
    mixed = (hashes ^ hashes >> np.uint64(31)) * (weights ^ weights >> np.uint64(29) | np.uint64(1))
    return np.add.reduceat(mixed, first)


def _runs(keys: Hashes, texts: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The order that brings equal keys of one text together (the first of them first), and where each group begins."""
    keys = keys ^ (texts.astype(np.uint64) + np.uint64(1)) * _STEP
    order = np.argsort(keys, kind="stable")
    sorted_ = keys.take(order)
    return order, np.flatnonzero(np.append(True, sorted_[1:] != sorted_[:-1])[: len(sorted_)])


def _seen_before(keys: Hashes, texts: Ints) -> npt.NDArray[np.bool_]:
    """Which keys stand earlier in the same text."""
    order, begins = _runs(keys, texts)
    again = np.ones(len(keys), bool)
    again[order.take(begins)] = False
    return again


def _grams(scan: Scan, chars: Ints, size: int) -> tuple[Hashes, npt.NDArray[np.intp], Ints, Ints]:
    """The runs of ``size`` words: their hashes, first words, texts, and characters."""
    long = np.diff(scan.word_offsets) >= size
    counts = np.where(long, np.diff(scan.word_offsets) - size + 1, 0)
    hashes, offsets = windows(scan.word_hashes, scan.word_offsets, size)
    kept = np.repeat(long, np.diff(offsets))  # a shorter text has one window of all its words; it repeats nothing
    texts = np.repeat(np.arange(len(long)), counts)
    starts = np.arange(len(texts)) + np.repeat(scan.word_offsets[:-1] - (np.cumsum(counts) - counts), counts)
    running = np.zeros(len(chars) + 1, np.int64)
    np.cumsum(chars, out=running[1:])
    return hashes[kept], starts, texts, running.take(starts + size) - running.take(starts)


def _top(scan: Scan, chars: Ints, size: int) -> Ints:
    """Characters in the commonest run of words of each text, 0 where none comes twice; of equals the longest."""
    hashes, _, texts, lengths = _grams(scan, chars, size)
    order, begins = _runs(hashes, texts)
    counts = np.diff(np.append(begins, len(order)))
    one = order.take(begins)
    best = np.zeros(len(scan.rows), np.int64)
    many = counts > 1
    np.maximum.at(best, texts.take(one[many]), counts[many] << 32 | lengths.take(one[many]))
    return (best >> 32) * (best & 0xFFFFFFFF)


def _repeated(scan: Scan, chars: Ints, size: int) -> Ints:
    """Characters of the words that lie in a run met before in the text, each counted once."""
    hashes, starts, texts, _ = _grams(scan, chars, size)
    again = starts[_seen_before(hashes, texts)]
    change = np.zeros(len(chars) + 1, np.int32)
    change[again] += 1
    np.subtract.at(change, again + size, 1)
    return totals(chars * (np.cumsum(change[:-1]) > 0), scan.word_offsets)


def _variety(scan: Scan) -> dict[str, npt.NDArray[Any]]:
    """The share of different words, and the entropy of the words' frequencies."""
    sizes = np.diff(scan.word_offsets)
    texts = np.repeat(np.arange(len(sizes)), sizes)
    order, begins = _runs(scan.word_hashes, texts)
    counts = np.diff(np.append(begins, len(order)))
    of = texts.take(order.take(begins))
    distinct = np.bincount(of, minlength=len(sizes))
    weighed = np.bincount(of, counts * np.log2(counts), minlength=len(sizes))
    whole = np.maximum(sizes, 1)
    return {
        "distinct_words": _share(distinct, sizes),
        "entropy_bits": np.maximum(np.log2(whole) - weighed / whole, 0).astype(np.float32),
    }


def _share(part: npt.NDArray[Any], whole: Ints) -> npt.NDArray[np.float32]:
    return (part / np.maximum(whole, 1)).astype(np.float32)
