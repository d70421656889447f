"""Character and word n-grams with TF-IDF weights, computed on whole batches at once.

Texts of a batch are laid end to end as code points. Every n-gram is named by a 64-bit polynomial hash
(Karp and Rabin 1987) taken from prefix sums, so that all n-grams of all texts cost a few array
operations and no Python loop; the vocabulary is a sorted array of those hashes. The weights are
(1 + ln tf) * idf, L2-normalised (Salton and Buckley 1988). Every step of encoding is either integer or
an operation that IEEE 754 rounds exactly, so the arrays are bit-equal on every machine; the two
logarithms are taken while fitting and stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np

from mofang.engine.arrays import Array, Arrays, from_npy, to_npy
from mofang.engine.encode import Files, Record, texts

CHARACTERS_PER_PASS = 1 << 19     # bounds the memory of one pass to about 100 MB
DISTINCT_MAX = 1 << 23            # n-grams counted while fitting; beyond it, those seen once are let go
COUNT_MAX = 255                   # a term repeated more often in one text counts as this often

_BASE = 0x9E3779B97F4A7C15                      # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)
_WORD_BASE = np.uint64(0xD6E8FEB86659FD93)
_WORD_SALT = np.uint64(0xA0761D6478BD642F)      # keeps the word "ab" apart from the characters "ab"

_UNKNOWN, _BETWEEN, _WORD = 0, 1, 2
_letter_kinds = np.zeros(0x110000, np.uint8)    # filled as code points are met


class Grams(NamedTuple):
    """N-grams of a batch: hash, row in the batch, and where each begins and ends in the joined text."""

    keys: Array
    rows: Array
    starts: Array
    ends: Array


class Sparse(NamedTuple):
    """Encoded rows without padding (compressed sparse rows): `ids[offsets[i]:offsets[i + 1]]` is row i."""

    offsets: Array    # int64 [B + 1]
    ids: Array        # int64 [N], 1-based; 0 is padding
    weights: Array    # float32 [N]


def spaced(sample: Sequence[str]) -> bool:
    """Whether texts are written with spaces between words (English) or without (Chinese, Japanese, Thai)."""
    codes = _codes("".join(sample))
    letters = codes[_word_letters(codes)]
    unspaced = ((letters >= 0x2E80) & (letters < 0xA000)) | ((letters >= 0xF900) & (letters < 0xFB00))
    unspaced |= (letters >= 0x20000) | ((letters >= 0x0E00) & (letters < 0x1100))
    return bool(unspaced.sum() * 2 < letters.size)


@dataclass(frozen=True, eq=False)
class NgramEncoder:
    """A vocabulary of n-grams: texts in, ids and TF-IDF weights out.

    encode gives {"ids": int64 [B, L], "weights": float32 [B, L]}; L is the longest row of the batch (at
    least 1), padded with id 0 and weight 0. A model's table therefore has `size` rows, of which row 0 is
    padding and should be zero.
    """

    name: ClassVar[str] = "ngrams"
    version: ClassVar[int] = 1

    columns: tuple[str, ...]
    characters: tuple[int, int]     # smallest and largest n; (0, 0) for none
    words: tuple[int, int]
    lowercase: bool
    keys: Array                     # uint64 [V], sorted
    idf: Array                      # float32 [V]
    damping: Array                  # float64 [COUNT_MAX + 1]: 1 + ln(count), and 0 for a count of 0
    terms: tuple[str, ...]          # the n-grams in words, in the order of keys

    @property
    def size(self) -> int:
        """Rows that a table indexed by the ids needs: the vocabulary and the padding row."""
        return int(self.keys.size) + 1

    @classmethod
    def fit(cls, records: Sequence[Record], columns: Sequence[str] = ("text",), *,
            characters: tuple[int, int] = (1, 3), words: tuple[int, int] | Literal["auto"] = "auto",
            min_count: int = 2, max_terms: int = 200_000, lowercase: bool = True) -> Self:
        """Choose the vocabulary from training records: n-grams in at least `min_count` texts, the most
        frequent `max_terms` of them. "auto" adds words and pairs of words where the texts are written with
        spaces."""
        found = texts(records, columns)
        if words == "auto":
            words = (1, 2) if spaced(found[:: max(1, len(found) // 1000)]) else (0, 0)
        shape = cls(columns=tuple(columns), characters=characters, words=words, lowercase=lowercase,
                    keys=np.zeros(0, np.uint64), idf=np.zeros(0, np.float32), damping=_damping(), terms=())
        keys, counts, examples = shape._count(found)
        kept = np.flatnonzero(counts >= min_count)
        if kept.size > max_terms:
            kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:max_terms]])
        idf = np.log((1 + len(found)) / (1 + counts[kept])) + 1
        terms = tuple(shape._folded(found[row])[start:end] for row, start, end in examples[kept].tolist())
        return replace(shape, keys=keys[kept], idf=idf.astype(np.float32), terms=terms)

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"ids": int64 [B, L], "weights": float32 [B, L]}."""
        offsets, ids, weights = self.sparse(records)
        lengths = np.diff(offsets)
        longest = max(1, int(lengths.max(initial=0)))
        place = np.arange(ids.size) + np.repeat(np.arange(lengths.size) * longest - offsets[:-1], lengths)
        padded_ids = np.zeros((lengths.size, longest), np.int64)
        padded_weights = np.zeros((lengths.size, longest), np.float32)
        padded_ids.reshape(-1)[place] = ids
        padded_weights.reshape(-1)[place] = weights
        return {"ids": padded_ids, "weights": padded_weights}

    def sparse(self, records: Sequence[Record]) -> Sparse:
        """The same ids and weights without padding, for training on many long texts."""
        parts = [self._weigh(part) for _, part in _passes(texts(records, self.columns))]
        lengths = [part[0] for part in parts]
        offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
        if not parts:
            return Sparse(offsets, np.zeros(0, np.int64), np.zeros(0, np.float32))
        return Sparse(offsets, np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts]))

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts made of n-grams of the vocabulary, joined with and without spaces."""
        records = []
        for number in range(count):
            chosen = rng.integers(0, max(1, len(self.terms)), size=int(rng.integers(1, 25)))
            pieces = [self.terms[i] for i in chosen] if self.terms else ["a"]
            records.append(dict.fromkeys(self.columns, (" " if number % 2 else "").join(pieces)))
        return records

    def save(self) -> Files:
        """ngrams.json, terms.json, keys.npy, idf.npy and damping.npy."""
        settings = {"columns": self.columns, "characters": self.characters, "words": self.words,
                    "lowercase": self.lowercase}
        return {"ngrams.json": json.dumps(settings, ensure_ascii=False).encode(),
                "terms.json": json.dumps(self.terms, ensure_ascii=True).encode(),
                "keys.npy": to_npy(self.keys), "idf.npy": to_npy(self.idf),
                "damping.npy": to_npy(self.damping)}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings = json.loads(files["ngrams.json"])
        keys, idf, damping = (from_npy(files[f"{name}.npy"]) for name in ("keys", "idf", "damping"))
        terms = tuple(json.loads(files["terms.json"]))
        sizes = keys.size, idf.size, damping.size
        if keys.dtype != np.uint64 or sizes != (len(terms), len(terms), COUNT_MAX + 1):
            raise ValueError("the vocabulary's files do not belong together")
        return cls(columns=tuple(settings["columns"]), characters=tuple(settings["characters"]),
                   words=tuple(settings["words"]), lowercase=bool(settings["lowercase"]), keys=keys,
                   idf=idf.astype(np.float32, copy=False), damping=damping, terms=terms)

    def _folded(self, text: str) -> str:
        return text.lower() if self.lowercase else text

    def _grams(self, part: Sequence[str]) -> Grams:
        """Every n-gram of a few texts, characters first, by n."""
        part = [self._folded(text) for text in part]
        codes = _codes("".join(part))
        rows = np.repeat(np.arange(len(part)), [len(text) for text in part])
        hashed = _Prefix(codes)
        grams = [_characters(hashed, rows, n) for n in _span(self.characters)]
        if self.words[1]:
            grams += _words(hashed, codes, rows, self.words)
        if len(grams) == 1:
            return grams[0]
        return Grams(*(np.concatenate(column) for column in zip(*grams, strict=True)))

    def _count(self, found: Sequence[str]) -> tuple[Array, Array, Array]:
        """Distinct n-grams: keys uint64 [U] sorted, texts that hold each int64 [U], one place of each [U,
        3]."""
        keys, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        examples = np.zeros((0, 3), np.int64)
        for first_row, part in _passes(found):
            grams = self._grams(part)
            new, first, inverse = np.unique(grams.keys, return_index=True, return_inverse=True)
            pairs = np.unique(grams.rows * max(1, new.size) + inverse)
            texts_with = np.bincount(pairs % max(1, new.size), minlength=new.size)
            begins = np.cumsum([0, *(len(self._folded(text)) for text in part)])[grams.rows[first]]
            places = np.stack([grams.rows[first] + first_row, grams.starts[first] - begins,
                               grams.ends[first] - begins], axis=1)
            if keys.size:
                new, inverse = np.unique(np.concatenate([keys, new]), return_inverse=True)
                merged = np.zeros((new.size, 3), np.int64)
                merged[inverse[keys.size:]] = places
                merged[inverse[:keys.size]] = examples       # the earliest place of an n-gram stays
                places = merged
                both = np.concatenate([counts, texts_with])
                texts_with = np.bincount(inverse, both, new.size).astype(np.int64)
            keys, counts, examples = new, texts_with, places
            if keys.size > DISTINCT_MAX:
                often = counts > 1
                keys, counts, examples = keys[often], counts[often], examples[often]
        return keys, counts, examples

    def _weigh(self, part: Sequence[str]) -> tuple[Array, Array, Array]:
        """Terms of a few texts: how many in each [B], then ids and weights one text after the other."""
        if not self.keys.size:
            return np.zeros(len(part), np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        grams = self._grams(part)
        found = self.keys.searchsorted(grams.keys)
        np.minimum(found, self.keys.size - 1, out=found)
        known = self.keys[found] == grams.keys
        width = self.keys.size
        pairs, counts = np.unique(grams.rows[known] * width + found[known], return_counts=True)
        rows, terms = np.divmod(pairs, width)
        weights = self.damping[np.minimum(counts, COUNT_MAX)] * self.idf[terms]
        squares = np.bincount(rows, weights * weights, len(part))      # adds in order, whatever stands beside
        weights /= np.sqrt(squares)[rows]
        return np.bincount(rows, minlength=len(part)), terms + 1, weights.astype(np.float32)


class _Prefix:
    """Prefix sums of code points, from which the hash of any stretch is one subtraction and one product."""

    def __init__(self, codes: Array) -> None:
        powers = np.full(codes.size + 1, _BASE, np.uint64)
        powers[0] = 1
        np.multiply.accumulate(powers, out=powers)
        inverses = np.full(codes.size + 1, _INVERSE, np.uint64)
        inverses[0] = 1
        np.multiply.accumulate(inverses, out=inverses)
        self.inverses = inverses
        self.sums = np.zeros(codes.size + 1, np.uint64)
        np.cumsum((codes.astype(np.uint64) + np.uint64(1)) * powers[:-1], out=self.sums[1:])


def _characters(hashed: _Prefix, rows: Array, n: int) -> Grams:
    count = max(0, rows.size - n + 1)
    starts = np.flatnonzero(rows[:count] == rows[rows.size - count:])     # both ends in the same text
    keys = (hashed.sums[starts + n] - hashed.sums[starts]) * hashed.inverses[starts]
    return Grams(keys, rows[starts], starts, starts + n)


def _words(hashed: _Prefix, codes: Array, rows: Array, span: tuple[int, int]) -> list[Grams]:
    inside = _word_letters(codes)
    fresh = np.ones(codes.size, bool)
    fresh[1:] = ~inside[:-1] | (rows[1:] != rows[:-1])
    last = np.ones(codes.size, bool)
    last[:-1] = ~inside[1:] | (rows[1:] != rows[:-1])
    starts, ends = np.flatnonzero(inside & fresh), np.flatnonzero(inside & last) + 1
    single = (hashed.sums[ends] - hashed.sums[starts]) * hashed.inverses[starts]
    owner = rows[starts]
    grams, keys = [], single ^ _WORD_SALT
    for n in range(1, span[1] + 1):
        count = max(0, starts.size - n + 1)
        if n > 1:
            keys = keys[:count] * _WORD_BASE + single[starts.size - count:]
        same = owner[:count] == owner[starts.size - count:]
        if n >= span[0]:
            grams.append(Grams(keys[same], owner[:count][same], starts[:count][same],
                               ends[starts.size - count:][same]))
    return grams


def _word_letters(codes: Array) -> Array:
    """Which code points are letters or digits (str.isalnum, or "_"), remembered from call to call."""
    kinds = _letter_kinds[codes]
    if not kinds.all():
        for code in np.unique(codes[kinds == _UNKNOWN]).tolist():
            _letter_kinds[code] = _WORD if chr(code).isalnum() or code == 0x5F else _BETWEEN
        kinds = _letter_kinds[codes]
    found: Array = kinds == _WORD
    return found


def _codes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _span(span: tuple[int, int]) -> range:
    return range(max(1, span[0]), span[1] + 1)


def _damping() -> Array:
    return np.array([0.0, *(1 + math.log(count) for count in range(1, COUNT_MAX + 1))])


def _passes(found: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Cut texts into stretches of bounded size: (number of the first, texts)."""
    start = total = 0
    for number, text in enumerate(found):
        if total and total + len(text) > CHARACTERS_PER_PASS:
            yield start, found[start:number]
            start, total = number, 0
        total += len(text)
    if start < len(found):
        yield start, found[start:]
