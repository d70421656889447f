"""Columns that would give the label away: those that alone tell it, those that are filled only once it is known, and
texts in which it is written."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.data.cleaning.labelmap import plain_label
from mofang.data.columns import is_missing, number_of, text_of
from mofang.data.operators import normalise

Codes = npt.NDArray[np.int64]
BINS = 32
ROWS_LEAST = 50
SURE_GAIN = 0.98  # of the way from guessing the commonest class to being always right
LIKELY_GAIN = 0.9
EASY_GAIN = 0.9  # the other columns together tell the label as well: the task is easy, nothing leaks
HARD_GAIN = 0.75
TIMES_BETTER = 4.0
COLUMNS_JOINED = 60
PURE = 0.98
FILLED_LEAST = 15
EVIDENCE = 14.0  # nats: about one chance in a million
NAMED_GAIN = 0.3  # of a column whose name says afterwards: with missing values, or without any
WHOLE_GAIN = 0.6
AFTERWARDS = re.compile(
    r"(?i:refund|return(ed)?_|chargeback|closed|closing|resol(ved|ution)|settle|cancel|terminat|complet(ed|ion)|finish|payout|"
    r"recover(y|ed|ies)|write_?off|discharge|follow_?up|outcome_|verdict|decision_|investigat|reply|response_|exit_|churn_)"
    r"|退款|退货|退回|处理|结案|结清|关闭|完结|完成|回访|赔付|赔偿|注销|撤销|取消|出院|随访|审核|回复|答复|处置|核销|催收|离职"
)
TEXTS_LOOKED = 2000


@dataclass(frozen=True)
class Leak:
    """A column that gives the label away: ``reason`` is ``says-the-label`` or ``afterwards``; ``gain`` how much of
    the guessing it saves, 0 to 1."""

    reason: str
    gain: float


def leaks(
    columns: Mapping[str, Sequence[Any]], labels: Sequence[Any], candidates: Sequence[str]
) -> tuple[dict[str, Leak], dict[str, float]]:
    """(the columns that leak, those that tell the label nearly alone but may do so honestly: name to gain).

    ``candidates`` are the columns that would be inputs. A column that alone tells the label leaks unless the others
    together tell it as well: then the task is easy. Held-out rows decide, so a column of many values gains nothing by
    chance.
    """
    target = codes_of_labels(labels)
    known = target >= 0
    if known.sum() < ROWS_LEAST or len(candidates) == 0:
        return {}, {}
    target = target[known]
    codes = {name: codes_of([value for value, keep in zip(columns[name], known, strict=True) if keep]) for name in candidates}
    found: dict[str, Leak] = {}
    gains: dict[str, float] = {}
    for name, one in codes.items():
        missing = (one == 0).astype(np.int64)
        gains[name] = gain_of([one], target)
        least = NAMED_GAIN if 0 < missing.mean() < 1 else WHOLE_GAIN
        named = bool(AFTERWARDS.search(name)) and least <= gains[name] < SURE_GAIN
        if named or _filled_by_class(missing, target):
            found[name] = Leak("afterwards", round(gains[name], 3))
    suspects = {name for name, gain in gains.items() if gain >= LIKELY_GAIN and name not in found}
    rest = [name for name in candidates if name not in suspects and name not in found]
    joined = (
        gain_of([codes[name] for name in sorted(rest, key=lambda one: -gains[one])[:COLUMNS_JOINED]], target) if rest else 1.0
    )
    for name in suspects:
        much_better = joined < HARD_GAIN and 1 - joined >= TIMES_BETTER * (1 - gains[name])
        if (gains[name] >= SURE_GAIN and joined < EASY_GAIN) or much_better:
            found[name] = Leak("says-the-label", round(gains[name], 3))
    return found, {name: gains[name] for name in suspects - found.keys()}


def filled_afterwards(columns: Mapping[str, Sequence[Any]], labels: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Those of the columns that are filled for one class only, or missing for one class only."""
    target = codes_of_labels(labels)
    known = target >= 0
    if known.sum() < ROWS_LEAST:
        return []
    found = []
    for name in names:
        missing = np.array([is_missing(value) for value in columns[name]], np.int64)[known]
        if 0 < missing.sum() < len(missing) and _filled_by_class(missing, target[known]):
            found.append(name)
    return found


def codes_of_labels(labels: Sequence[Any]) -> Codes:
    """Each label as a number from 0, -1 where it is missing."""
    known: dict[str, int] = {}
    texts = [plain_label(value) for value in labels]
    return np.array([known.setdefault(text, len(known)) if text else -1 for text in texts], np.int64)


def codes_of(values: Sequence[Any]) -> Codes:
    """Each value as a small number, 0 where it is missing: numbers by their quantile, others by their value."""
    numbers = _numbers(values)
    if numbers is not None:
        filled = numbers[~np.isnan(numbers)]
        distinct = np.unique(filled)
        cuts = distinct if len(distinct) <= BINS else np.unique(np.quantile(filled, np.linspace(0, 1, BINS + 1)[1:-1]))
        return np.where(np.isnan(numbers), 0, np.searchsorted(cuts, numbers) + 1)
    known: dict[str, int] = {}
    return np.array(
        [0 if is_missing(value) else known.setdefault((text_of(value) or "")[:200], len(known) + 1) for value in values],
        np.int64,
    )


def _numbers(values: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """The values as numbers (NaN where missing), or None if they are no numbers."""
    found = np.full(len(values), np.nan)
    wrong = 0
    for place, value in enumerate(values):
        try:
            number = number_of(value)
        except (ValueError, TypeError, OverflowError):
            wrong += 1
            if wrong > 0.02 * len(values):
                return None
            continue
        if number is not None:
            found[place] = number
    return found if not np.isnan(found).all() else None


def gain_of(columns: Sequence[Codes], target: Codes) -> float:
    """How much these columns save of the guessing, 0 to 1, on rows that were not looked at: by the commonest class of
    each value, or (several columns) by naive Bayes."""
    if not columns:
        return 0.0
    sides = np.random.default_rng(0).permutation(len(target)) % 2
    classes = int(target.max()) + 1
    right = 0
    for side in (0, 1):
        seen, held = sides != side, sides == side
        prior = np.bincount(target[seen], minlength=classes) + 1e-3
        score = np.tile(np.log(prior / prior.sum()), (int(held.sum()), 1))
        for one in columns:
            counts = np.zeros((int(one.max()) + 1, classes))
            np.add.at(counts, (one[seen], target[seen]), 1.0)
            # half a row of doubt, spread as the classes are: a value seen once says little
            counts += 0.5 * prior / prior.sum()
            score += np.log(counts[one[held]] / counts.sum(0))
        right += int((score.argmax(1) == target[held]).sum())
    commonest = np.bincount(target).max() / len(target)
    return max(0.0, (right / len(target) - commonest) / (1 - commonest)) if commonest < 1 else 0.0


def _filled_by_class(missing: Codes, target: Codes) -> bool:
    """True if the column is filled for one class only, or missing for one class only, beyond chance."""
    share = np.bincount(target) / len(target)
    for group in (missing == 0, missing == 1):
        size = int(group.sum())
        if size < FILLED_LEAST or size > len(target) - FILLED_LEAST:
            continue
        counts = np.bincount(target[group], minlength=len(share))
        best = int(counts.argmax())
        pure, base = counts[best] / size, share[best]
        if pure >= PURE and size * _divergence(float(pure), float(base)) > EVIDENCE and (1 - pure) * 3 <= 1 - base:
            return True
    return False


def _divergence(pure: float, base: float) -> float:
    found = pure * math.log(pure / base) if pure > base else 0.0
    return found + ((1 - pure) * math.log((1 - pure) / (1 - base)) if pure < 1 else 0.0)


def label_in_text(texts: Sequence[Any], labels: Sequence[Any]) -> bool:
    """True if most texts hold their own label as a word, and not the others' labels."""
    pairs = [
        (normalise(str(text)).casefold(), normalise(text_of(label) or "").casefold())
        for text, label in zip(texts, labels, strict=True)
        if not is_missing(text) and not is_missing(label)
    ]
    pairs = pairs[:: max(len(pairs) // TEXTS_LOOKED, 1)]
    names = sorted({label for _, label in pairs})
    telling = [name for name in names if len(name) >= 2 and re.search(r"[^\W\d_]", name)]
    if len(pairs) < ROWS_LEAST or len(names) < 2 or len(telling) < 0.5 * len(names):
        return False
    chance = random.Random(0)
    forms = {name: re.compile(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])") for name in telling}
    own = sum(label in forms and bool(forms[label].search(text)) for text, label in pairs)
    other = 0
    for text, label in pairs:
        name = chance.choice(telling)
        other += name != label and bool(forms[name].search(text))
    return own >= 0.8 * len(pairs) and other <= 0.2 * own


def first_word_tells(texts: Sequence[Any], labels: Sequence[Any]) -> bool:
    """True if how the texts begin (a mark in brackets, a first word) alone tells the label."""
    firsts = [
        re.split(r"[\s:：,，;；|]", normalise(str(text)), maxsplit=1)[0][:20] if not is_missing(text) else None
        for text in texts
    ]
    if len(set(firsts)) > 0.05 * len(firsts) + 5:
        return False
    target = codes_of_labels(labels)
    known = target >= 0
    if known.sum() < ROWS_LEAST:
        return False
    codes = codes_of([value if value is None else f"\u2060{value}" for value in firsts])
    return gain_of([codes[known]], target[known]) >= LIKELY_GAIN
