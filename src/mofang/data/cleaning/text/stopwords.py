"""Short lists of function words, English and Chinese, and a fast look-up of them among hashed tokens.

A text without any of these is rarely a sentence: lists of links, tables and keyword stuffing lack them (Rae et al. 2021,
Gopher, for the English eight).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.text.tokens import Hashes, Ints, Scan, Spans, totals

GOPHER = ("the", "be", "to", "of", "and", "that", "have", "with")
_ENGLISH = (
    "a about after all also am an and any are as at be because been before but by can could did do does for from had has have "
    "he her here him his how i if in into is it its just like me more most my no not now of on one only or other our out over "
    "she should so some such than that the their them then there these they this to too up us very was we were what when which "
    "who will with would you your"
)
ENGLISH = frozenset(_ENGLISH.split())
CHINESE_SIGNS = ("的", "了", "是", "在", "和", "有", "不", "这", "這", "为", "為", "以", "及", "与", "與", "中", "可", "一")
_CHINESE = (
    "的 了 是 在 和 有 不 这 那 我 你 他 她 它 我们 你们 他们 也 就 都 而 及 与 或 一个 没有 因为 所以 但是 如果 虽然 然后 "
    "以及 并且 而且 对于 关于 通过 根据 由于 为了 可以 这个 那个 这些 那些 什么 怎么 如何 之 其 于 以 为 被 把 从 到 向 着 过 "
    "吗 呢 吧 啊 等 很 更 最 还 又 再 只 已 已经 将 会 能 要"
)
CHINESE = frozenset(_CHINESE.split())
_SLOTS = 1 << 12


class Lookup:
    """A few words found among token hashes with two looks into a small table."""

    def __init__(self, groups: tuple[tuple[str, ...], ...]) -> None:
        self.size = len(groups)
        words = [(word, number) for number, group in enumerate(groups) for word in group]
        hashes = Spans.of([word.encode() for word, _ in words]).hashes()
        for self._shift in map(np.uint64, range(52)):
            slots = hashes >> self._shift & np.uint64(_SLOTS - 1)
            if len(np.unique(slots)) == len(slots):
                break
        self._keys = np.zeros(_SLOTS, np.uint64)
        self._numbers = np.zeros(_SLOTS, np.int64)
        self._keys[slots] = hashes
        self._numbers[slots] = [number for _, number in words]

    def counts(self, scan: Scan, hashes: Hashes) -> tuple[Ints, Ints]:
        """How many tokens of each text are one of the words, and how many of the words it has."""
        slots = (hashes >> self._shift & np.uint64(_SLOTS - 1)).astype(np.intp)
        hits = np.flatnonzero(self._keys.take(slots) == hashes)
        kinds = scan.token_texts.take(hits) * self.size + self._numbers.take(slots.take(hits))
        present: npt.NDArray[np.bool_] = np.bincount(kinds, minlength=len(scan.rows) * self.size) > 0
        distinct = present.reshape(len(scan.rows), self.size).sum(axis=1)
        return totals(np.ones(len(hits), np.int8), np.searchsorted(hits, scan.token_offsets)), distinct


@cache
def english_words() -> Lookup:
    """Gopher's eight words, small or with a capital."""
    return Lookup(tuple((word, word.capitalize()) for word in GOPHER))


@cache
def chinese_signs() -> Lookup:
    """The commonest Chinese function characters, simplified and traditional."""
    return Lookup(tuple((sign,) for sign in CHINESE_SIGNS))
