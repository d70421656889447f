"""What two texts share, as a few numbers: n-grams of characters and words, lengths, digits, order."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Array, Arrays, from_npy, to_npy
from mofang.engine.encode import Files, Record
from mofang.engine.encode.pieces import pieces
from mofang.engine.encode.tokens import CHARACTERS_PER_TOKEN_MAX

READ_CHARACTERS = 64 * CHARACTERS_PER_TOKEN_MAX     # of each text: the work on a pair is bounded
MATCHED_PIECES = 200
DIGITS = re.compile(r"\d+")
GRAMS = (1, 2, 3)
NAMES = (*(f"{name}_{size}" for size in GRAMS for name in ("jaccard", "first_in_second", "second_in_first", "weighed")),
         "words_jaccard", "words_weighed", "longest_run", "in_order", "length_ratio", "length_difference", "same_begin",
         "same_end", "same_numbers", "numbers_apart", "first_empty", "second_empty")


@dataclass(frozen=True, eq=False)
class OverlapEncoder:
    """{"features": float32 [B, F]} of two columns, standardised with the training rows' mean and deviation.

    Rare words weigh more: ``rarity`` holds -log of the share of training texts that have a word.
    """

    name: ClassVar[str] = "overlap"
    version: ClassVar[int] = 1

    columns: tuple[str, str]
    centre: Array              # float32 [F]
    scale: Array               # float32 [F]
    rarity: dict[str, float]
    unseen: float              # the rarity of a word that no training text has

    @classmethod
    def fit(cls, records: Sequence[Record], columns: tuple[str, str], *, words: int = 20_000) -> Self:
        """Count words, then standardise."""
        counts: dict[str, int] = {}
        texts = [_read(record, column) for record in records for column in columns]
        for text in texts:
            for word in set(_words(text)):
                counts[word] = counts.get(word, 0) + 1
        most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:words]
        total = max(1, len(texts))
        rarity = {word: round(float(np.log((1 + total) / count)), 6) for word, count in most}
        unseen = round(float(np.log(1 + total)), 6)
        plain = cls(columns, np.zeros(len(NAMES), np.float32), np.ones(len(NAMES), np.float32), rarity, unseen)
        found = plain.encode(records)["features"].astype(np.float64)
        deviation = found.std(axis=0)
        return cls(columns, found.mean(axis=0).astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32),
                   rarity, unseen)

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"features": float32 [B, F]}."""
        first, second = self.columns
        rows = [self._features(_read(record, first), _read(record, second)) for record in records]
        features = np.array(rows, np.float32).reshape(len(rows), len(NAMES))
        return {"features": (features - self.centre) / self.scale}

    def _features(self, one: str, other: str) -> list[float]:
        found: list[float] = []
        for size in GRAMS:
            a, b = ({text[place:place + size] for place in range(len(text) - size + 1)} for text in (one, other))
            shared = len(a & b)
            found += [shared / max(1, len(a | b)), shared / max(1, len(a)), shared / max(1, len(b)),
                      2 * shared / max(1, len(a) + len(b))]
        words, others = _words(one), _words(other)
        mine, theirs = set(words), set(others)
        weigh = self._weight
        found += [len(mine & theirs) / max(1, len(mine | theirs)),
                  weigh(mine & theirs) / max(1e-6, weigh(mine | theirs))]
        matcher = SequenceMatcher(None, words[:MATCHED_PIECES], others[:MATCHED_PIECES], autojunk=False)
        run = matcher.find_longest_match().size
        numbers, other_numbers = set(DIGITS.findall(one)), set(DIGITS.findall(other))
        longest = max(1, len(one), len(other))
        found += [run / max(1, min(len(words), len(others))), matcher.ratio(), min(len(one), len(other)) / longest,
                  abs(len(one) - len(other)) / 100, float(words[:1] == others[:1]), float(words[-1:] == others[-1:]),
                  float(numbers == other_numbers), float(bool(numbers ^ other_numbers)), float(not one), float(not other)]
        return found

    def _weight(self, words: set[str]) -> float:
        return sum(self.rarity.get(word, self.unseen) for word in sorted(words))

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Pairs of texts of known words, the second sharing some with the first."""
        known = list(self.rarity) or ["a"]
        made = []
        for _ in range(count):
            one = [known[place] for place in rng.integers(0, len(known), int(rng.integers(1, 20)))]
            other = [word if rng.random() < 0.5 else known[int(rng.integers(0, len(known)))] for word in one]
            made.append({self.columns[0]: " ".join(one), self.columns[1]: " ".join(other)})
        return made

    def save(self) -> Files:
        """overlap.json, centre.npy and scale.npy."""
        settings = {"columns": self.columns, "rarity": self.rarity, "unseen": self.unseen}
        return {"overlap.json": json.dumps(settings, ensure_ascii=False).encode(), "centre.npy": to_npy(self.centre),
                "scale.npy": to_npy(self.scale)}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings: dict[str, Any] = json.loads(files["overlap.json"])
        centre, scale = from_npy(files["centre.npy"]), from_npy(files["scale.npy"])
        if centre.shape != (len(NAMES),) or scale.shape != centre.shape:
            raise ValueError(f"{centre.shape} values for {len(NAMES)} features")
        first, second = settings["columns"]
        return cls((first, second), centre, scale, {str(word): float(value) for word, value in settings["rarity"].items()},
                   float(settings["unseen"]))


def _read(record: Mapping[str, Any], column: str) -> str:
    return str(record.get(column) or "")[:READ_CHARACTERS].lower().strip()


def _words(text: str) -> list[str]:
    return [text[start:end] for start, end in pieces(text)]
