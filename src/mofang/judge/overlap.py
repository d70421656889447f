"""How much a text has in common with the one that was wanted: ROUGE-L and chrF."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")
ORDER, BETA = 6, 2.0
TOKENS_MOST = 2_000


def rouge_l(wanted: str, said: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004); a Chinese character is a word of its own."""
    left, right = words(wanted)[:TOKENS_MOST], words(said)[:TOKENS_MOST]
    if not left or not right:
        return float(left == right)
    common = longest_common(left, right)
    return 2 * common / (len(left) + len(right))


def words(text: str) -> list[str]:
    """Words without case, width and punctuation; a Chinese character is one."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence, row by row."""
    row = [0] * (len(right) + 1)
    for one in left:
        before = 0
        for place, other in enumerate(right, 1):
            kept = row[place]
            row[place] = before + 1 if one == other else max(row[place], row[place - 1])
            before = kept
    return row[-1]


def chrf(wanted: str, said: str) -> float:
    """chrF2 (Popović 2015): the F2 of n-grams of one to six signs without blanks, over the orders that both have."""
    left, right = "".join(wanted.split()), "".join(said.split())
    precisions, recalls = [], []
    for order in range(1, ORDER + 1):
        true, found = _grams(left, order), _grams(right, order)
        if not true or not found:
            continue
        common = sum((true & found).values())
        precisions.append(common / max(1, sum(found.values())))
        recalls.append(common / max(1, sum(true.values())))
    if not precisions:
        return float(left == right)
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    if not precision + recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[begin : begin + order] for begin in range(len(text) - order + 1))
