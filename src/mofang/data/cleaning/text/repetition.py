"""How much of a text repeats itself: lines, paragraphs and runs of words (Rae et al. 2021, Gopher, table A1), and how
varied its words are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text import classes
from mofang.data.cleaning.text.lines import Lines
from mofang.data.cleaning.text.tokens import Hashes, Ints, Scan, totals

TOP, DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)
REPETITION = (
    "duplicate_lines", "duplicate_line_chars", "duplicate_paragraphs", "duplicate_paragraph_chars", "distinct_words",
    "entropy_bits", *(f"top_{size}_grams" for size in TOP), *(f"duplicate_{size}_grams" for size in DUPLICATE),
)  # fmt: skip
_STEP, _ODD, _S29 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(29)


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
    return found | _word_runs(scan, sizes.take(scan.words))


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


def _groups(keys: Hashes, texts: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Ints]:
    """The order that brings equal keys of one text together, where each group begins in it, and the groups' sizes."""
    keys = keys ^ (texts.view(np.uint64) + np.uint64(1)) * _STEP
    order = np.argsort(keys)
    sorted_ = keys.take(order)
    begins = np.flatnonzero(np.append(True, sorted_[1:] != sorted_[:-1])[: len(sorted_)])
    return order, begins, np.diff(np.append(begins, len(order)))


def _firsts(order: npt.NDArray[np.intp], begins: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The earliest of each group."""
    return np.minimum.reduceat(order, begins) if len(order) else order


def _seen_before(keys: Hashes, texts: Ints) -> npt.NDArray[np.bool_]:
    """Which keys stand earlier in the same text."""
    order, begins, _ = _groups(keys, texts)
    again = np.ones(len(keys), bool)
    again[_firsts(order, begins)] = False
    return again


def _word_runs(scan: Scan, chars: Ints) -> dict[str, npt.NDArray[Any]]:
    """What words and runs of words repeat.

    A run that comes twice begins with a shorter run that does, so that each size looks only where the last one found
    something.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    hashes, offsets = scan.word_hashes, scan.word_offsets
    whole = totals(chars, offsets)
    texts = np.repeat(np.arange(len(scan.rows)), np.diff(offsets))
    left = offsets.take(texts + 1) - np.arange(len(hashes))  # words from each to its text's end
    running = np.zeros(len(chars) + 1, np.int64)
    np.cumsum(chars, out=running[1:])
    here, keys = np.arange(len(hashes)), hashes
    for size in range(1, max(DUPLICATE) + 1):
        if size > 1:
            inside = left.take(here) >= size
            here, keys = here[inside], keys[inside]
            keys = (keys ^ keys >> _S29) * _STEP + hashes.take(here + size - 1) * _ODD
        of = texts.take(here)
        order, begins, counts = _groups(keys, of)
        if size == 1:
            found |= _variety(of.take(order.take(begins)), counts, np.diff(offsets))
        many = counts > 1
        if size in TOP:
            one = order.take(begins[many])
            length = running.take(here.take(one) + size) - running.take(here.take(one))
            found[f"top_{size}_grams"] = _share(_longest(of.take(one), counts[many], length, len(scan.rows)), whole)
        if size in DUPLICATE:
            again = np.ones(len(here), bool)
            again[_firsts(order, begins)] = False
            covered = _covered(here[again], size, len(chars))
            found[f"duplicate_{size}_grams"] = _share(totals(chars * covered, offsets), whole)
        twice = np.zeros(len(here), bool)
        twice[order] = np.repeat(many, counts)
        here, keys = here[twice], keys[twice]
    return found


def _longest(texts: Ints, counts: Ints, chars: Ints, size: int) -> Ints:
    """Characters in the commonest run of words of each text, 0 where none comes twice; of equals the longest."""
    best = np.zeros(size, np.int64)
    np.maximum.at(best, texts, counts << 32 | chars)
    return (best >> 32) * (best & 0xFFFFFFFF)


def _covered(starts: npt.NDArray[np.intp], size: int, words: int) -> npt.NDArray[np.bool_]:
    """Which words lie in one of the runs of ``size`` words."""
    change = np.bincount(starts, minlength=words + 1) - np.bincount(starts + size, minlength=words + 1)
    return np.greater(np.cumsum(change[:words]), 0)


def _variety(texts: Ints, counts: Ints, words: Ints) -> dict[str, npt.NDArray[Any]]:
    """The share of different words, and the entropy of the words' frequencies."""
    distinct = np.bincount(texts, minlength=len(words))
    weighed = np.bincount(texts, counts * np.log2(counts), minlength=len(words))
    whole = np.maximum(words, 1)
    return {
        "distinct_words": _share(distinct, words),
        "entropy_bits": np.maximum(np.log2(whole) - weighed / whole, 0).astype(np.float32),
    }


def _share(part: npt.NDArray[Any], whole: Ints) -> npt.NDArray[np.float32]:
    return (part / np.maximum(whole, 1)).astype(np.float32)
