"""Every piece of a text by what stands around it: the cheap way to label pieces, or to find where an answer begins.

A piece becomes the names of what is seen there (itself, its neighbours, their pairs, how they are written; with a
question, where its words are met); names that training met often enough have an id.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Array, Arrays, from_npy, to_npy
from mofang.engine.decode.chain import Chain
from mofang.engine.encode import Files, Record
from mofang.engine.encode.pieces import pieces

EDGE = "\n"            # beyond the first and last piece
FAR_MOST = 6           # how far away a question's word may stand and still be told
FAR = -1e4             # a logit where no answer can be
STOPS = frozenset("。！？.!?；;\n")


@dataclass(frozen=True, eq=False)
class SurroundingsEncoder:
    """{"ids": int64 [R, F], "weights": float32 [R, F]}, one row for each piece of all texts, and for ``gather`` "@record"
    int64 [R] and "@pieces" int64 [B]. ``question`` is the column that asks, "" for none; ``none`` the logit of no answer.
    """

    name: ClassVar[str] = "surroundings"
    version: ClassVar[int] = 1

    text: str
    question: str
    keys: Array            # uint32 [V], sorted: the names' hashes
    words: tuple[str, ...]
    none: float = FAR
    chain: Chain | None = None      # how tags follow each other, where that was learnt

    @property
    def size(self) -> int:
        """Rows that a table indexed by the ids needs; 0 is what training did not meet."""
        return int(self.keys.size) + 1

    @classmethod
    def fit(cls, records: Sequence[Record], text: str, question: str = "", *, least: int = 2, most: int = 400_000) -> Self:
        """Keep the names that are met ``least`` times, the most frequent first."""
        plain = cls(text, question, np.zeros(0, np.uint32), ())
        hashes = [plain._hashes(record)[0] for record in records]
        found = np.concatenate([one.reshape(-1) for one in hashes]) if hashes else np.zeros(0, np.uint32)
        keys, counts = np.unique(found, return_counts=True)
        kept = np.flatnonzero((counts >= least) & (keys > 0))
        if len(kept) > most:
            kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:most]])
        words: dict[str, int] = {}
        for record in records[:2000]:
            value = str(record.get(text) or "")
            for start, end in pieces(value):
                words[value[start:end]] = words.get(value[start:end], 0) + 1
        common = sorted(words, key=lambda word: (-words[word], word))[:2000]
        return cls(text, question, keys[kept], tuple(common))

    def encode(self, records: Sequence[Record]) -> Arrays:
        """The rows of all pieces of all records; one empty row where there is no piece at all."""
        found = [self._hashes(record) for record in records]
        counts = np.array([len(one) for one, _ in found], np.int64)
        hashes = np.concatenate([one for one, _ in found]) if counts.sum() else np.zeros((1, self._slots), np.uint32)
        place = np.searchsorted(self.keys, hashes)
        known = np.zeros(hashes.shape, bool)
        if self.keys.size:
            known = (self.keys[np.minimum(place, self.keys.size - 1)] == hashes) & (hashes > 0)
        record = np.repeat(np.arange(len(records)), counts) if counts.sum() else np.array([-1])
        return {"ids": np.where(known, place + 1, 0).astype(np.int64), "weights": known.astype(np.float32),
                "@record": record.astype(np.int64), "@pieces": counts}

    def gather(self, arrays: Mapping[str, Array], outputs: Mapping[str, Array]) -> Arrays:
        """"probabilities" [R, K] as [B, P, K]; or of logits "number" [R, 2] "places" [B, 1 + P, 2], none being 0."""
        record, counts = arrays["@record"], arrays["@pieces"]
        kept = record >= 0
        place = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0, np.int64)
        most = int(counts.max(initial=0))
        if "probabilities" in outputs:
            made = np.zeros((len(counts), most, outputs["probabilities"].shape[-1]), np.float32)
            made[record[kept], place] = outputs["probabilities"][kept]
            return {"probabilities": made if self.chain is None else self.chain.marginals(made, counts)}
        logits = np.full((len(counts), 1 + most, 2), FAR, np.float64)
        logits[record[kept], 1 + place] = outputs["number"][kept]
        logits[:, 0] = self.none
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return {"places": (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)}

    @property
    def _slots(self) -> int:
        return len(_SLOTS) + (len(_ASKED) if self.question else 0)

    def _hashes(self, record: Record) -> tuple[Array, int]:
        """uint32 [P, F]: the hash of what each slot sees, 0 for nothing."""
        text = str(record.get(self.text) or "")
        places = pieces(text)
        words = [text[start:end].lower() for start, end in places]
        shapes = [_shape(text[start:end]) for start, end in places]
        asked = []
        if self.question:
            question = str(record.get(self.question) or "").lower()
            asked = list(_asked(words, shapes, [question[start:end] for start, end in pieces(question)]))
        rows = np.zeros((len(places), self._slots), np.uint32)
        for number, seen in enumerate(_around(words, shapes)):
            names = [*seen, *(asked[number] if asked else ())]
            rows[number] = [zlib.crc32(f"{slot}\t{name}".encode()) if name else 0 for slot, name in enumerate(names)]
        return rows, len(places)

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts of known pieces; the question repeats some of them."""
        known = self.words or ("a",)
        made = []
        for _ in range(count):
            chosen = [known[place] for place in rng.integers(0, len(known), int(rng.integers(1, 40)))]
            record = {self.text: " ".join(chosen)}
            if self.question:
                begin = int(rng.integers(0, len(chosen)))
                record[self.question] = " ".join(chosen[begin:begin + 4])
            made.append(record)
        return made

    def save(self) -> Files:
        """surroundings.json and keys.npy, and chain.npy where tags follow each other."""
        settings = {"text": self.text, "question": self.question, "words": self.words, "none": self.none}
        return {"surroundings.json": json.dumps(settings, ensure_ascii=False).encode(), "keys.npy": to_npy(self.keys),
                **(self.chain.save() if self.chain else {})}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings: dict[str, Any] = json.loads(files["surroundings.json"])
        keys = from_npy(files["keys.npy"])
        if keys.dtype != np.uint32 or keys.ndim != 1:
            raise ValueError("keys are no list of hashes")
        return cls(settings["text"], settings["question"], keys, tuple(map(str, settings["words"])), float(settings["none"]),
                   Chain.load(files))


_SLOTS = ("0", "-1", "-2", "+1", "+2", "-1 0", "0 +1", "-1 +1", "-2 -1", "+1 +2", "-1 0 +1", "shape", "shapes", "begin", "end")
_ASKED = ("asked", "asked before", "asked behind", "since asked", "until asked", "since and before", "asking shape",
          "asking and before", "asked in sentence", "run before")


def _around(words: Sequence[str], shapes: Sequence[str]) -> Iterator[list[str]]:
    """What each piece sees, in the order of ``_SLOTS``."""
    padded = [EDGE, EDGE, *words, EDGE, EDGE]
    kinds = ["", *shapes, ""]
    for place in range(len(words)):
        b2, b1, own, a1, a2 = padded[place:place + 5]
        yield [own, b1, b2, a1, a2, f"{b1} {own}", f"{own} {a1}", f"{b1} {a1}", f"{b2} {b1}", f"{a1} {a2}",
               f"{b1} {own} {a1}", kinds[place + 1], " ".join(kinds[place:place + 3]),
               own[:3] if len(own) > 3 else "", own[-3:] if len(own) > 3 else ""]


def _asked(words: Sequence[str], shapes: Sequence[str], question: Sequence[str]) -> Iterator[list[str]]:
    """Where a question's words are met, seen from each piece, in the order of ``_ASKED``."""
    wanted = {word for word in question if word.isalnum()}
    met = [word in wanted for word in words]
    since, until = _steps(met), _steps(met[::-1])[::-1]
    shares = _shares(words, met, len(wanted))
    runs = _runs(met)
    asking = " ".join(question[:2])
    padded = [EDGE, *words]
    for place in range(len(words)):
        yield ["yes" if met[place] else "no", "yes" if place and met[place - 1] else "no",
               "yes" if place + 1 < len(met) and met[place + 1] else "no", str(since[place]), str(until[place]),
               f"{since[place]} {padded[place]}", f"{asking} {shapes[place]}", f"{asking} {padded[place]}", shares[place],
               f"{since[place]} {runs[place]}"]


def _steps(met: Sequence[bool]) -> list[int]:
    """How many pieces ago the last met one was, at most ``FAR_MOST``; 0 for a met one."""
    made, steps = [], FAR_MOST
    for one in met:
        steps = 0 if one else min(FAR_MOST, steps + 1)
        made.append(steps)
    return made


def _runs(met: Sequence[bool]) -> list[int]:
    """How many met pieces stood in a row, the last time before each piece or at it; at most ``FAR_MOST``."""
    made, run, last = [], 0, 0
    for one in met:
        run = run + 1 if one else 0
        last = run or last
        made.append(min(FAR_MOST, last))
    return made


def _shares(words: Sequence[str], met: Sequence[bool], wanted: int) -> list[str]:
    """The share of a question's words that each piece's sentence holds, in quarters."""
    made: list[str] = []
    begin = 0
    for place, word in enumerate([*words, "."]):
        if word in STOPS or place == len(words):
            inside = {words[at] for at in range(begin, min(place, len(words))) if met[at]}
            share = str(4 * len(inside) // max(1, wanted))
            made += [share] * (min(place + 1, len(words)) - begin)
            begin = place + 1
    return made[: len(words)]


def _shape(word: str) -> str:
    """How a piece is written: digits, capitals, Chinese, a sign."""
    if not word[0].isalnum():
        return word
    if word.isdigit():
        return "0" if len(word) < 2 else "00"
    if not word.isascii():
        return "汉" if word[0] > "\u2e80" else "é"
    return "X" if word.isupper() else "Xx" if word[0].isupper() else "x"
