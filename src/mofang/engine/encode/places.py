"""Token ids of long texts in overlapping windows, and back from tokens to the pieces of the text.

A text may have a question before it in every window (``[CLS] question [SEP] text [SEP]``). The graph answers for each
token of each window; ``gather`` gives every piece of the text the answer of the window in which it stands furthest
from the edge, so that a record has one answer for each piece, however long it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.engine.decode.chain import Chain
from mofang.engine.encode import Files, Record
from mofang.engine.encode.pieces import piece_of_each, pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OVERLAP = 4            # a window shares a quarter of its text with the one before
QUESTION_SHARE = 2     # at most half of a window is the question
FAR = -1e4             # a logit where no answer can be
DRAWN_MOST = 60


class Window(NamedTuple):
    """One window: its record, token ids, the piece that each token begins (or -1), and where the text's tokens begin."""

    record: int
    ids: list[int]
    starts: list[int]
    head: int


@dataclass(frozen=True, eq=False)
class PlaceEncoder:
    """Texts in, windows of token ids out, W >= B rows of at most ``max_length`` tokens:

    {"input_ids", "attention_mask", "token_type_ids" (where ``types``): int64 [W, L]} for the graph,
    and for ``gather`` "@record" int64 [W],
    "@piece" int64 [W, L] (the piece whose first token this is, else -1), "@pieces" int64 [B]. ``question`` is the
    column that asks, "" for none.
    """

    name: ClassVar[str] = "places"
    version: ClassVar[int] = 1

    text: str
    tokenizer_json: str
    question: str = ""
    max_length: int = 128
    padding_id: int = 0
    types: bool = True
    chain: Chain | None = None      # how tags follow each other, where that was learnt

    @property
    def size(self) -> int:
        """Rows that an embedding table indexed by the ids needs."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself, without truncation or padding."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def frame(self) -> tuple[list[int], list[int], list[int], int]:
        """Ids before the question, between it and the text, and behind; and the type of the text's tokens."""
        if not self.question:
            one = self.tokenizer.encode("a")
            first, last = _between(one.special_tokens_mask)
            return [], list(one.ids[:first]), list(one.ids[last:]), 0
        both = self.tokenizer.encode("a", "a")
        inside = [place for place, special in enumerate(both.special_tokens_mask) if not special]
        gap = next(place for place in range(len(inside) - 1) if inside[place + 1] > inside[place] + 1)
        first, middle = inside[gap] + 1, inside[gap + 1]
        return (list(both.ids[:inside[0]]), list(both.ids[first:middle]), list(both.ids[inside[-1] + 1:]),
                int(both.type_ids[middle]))

    def encode(self, records: Sequence[Record]) -> Arrays:
        """All windows of all records, in order, padded."""
        return self._padded(*self.rows(records))

    def rows(self, records: Sequence[Record]) -> tuple[list[Window], list[int]]:
        """All windows of all records, and how many pieces each record has."""
        texts = [str(record.get(self.text) or "") for record in records]
        found = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        asked: list[list[int]] = [[] for _ in records]
        if self.question:
            questions = [str(record.get(self.question) or "") for record in records]
            asked = [one.ids for one in self.tokenizer.encode_batch(questions, add_special_tokens=False)]
        rows: list[Window] = []
        counts = []
        for number, (text, encoding, question) in enumerate(zip(texts, found, asked, strict=True)):
            places = pieces(text)
            counts.append(len(places))
            starts = _first_tokens(encoding.offsets, piece_of_each(text, places))
            rows += self._windows(number, encoding.ids, starts, question)
        return rows, counts

    def _windows(self, record: int, ids: list[int], starts: list[int], question: list[int]) -> list[Window]:
        before, middle, behind, _ = self.frame
        frame = len(before) + len(middle) + len(behind)
        question = question[: max(0, self.max_length // QUESTION_SHARE - frame)]
        head = [*before, *question, *middle]
        room = max(1, self.max_length - len(head) - len(behind))
        made, begin = [], 0
        while True:
            end = begin + room
            inside = starts[begin:end]
            row = [*head, *ids[begin:end], *behind]
            made.append(Window(record, row, [*[-1] * len(head), *inside, *[-1] * len(behind)], len(head)))
            if end >= len(ids):
                return made
            begin += max(1, room - room // OVERLAP)

    def _padded(self, rows: list[Window], counts: list[int]) -> Arrays:
        longest = max(1, max((len(row.ids) for row in rows), default=0))
        shape = (len(rows), longest)
        ids, piece = np.full(shape, self.padding_id, np.int64), np.full(shape, -1, np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for place, (_, row, starts, head) in enumerate(rows):
            ids[place, :len(row)], piece[place, :len(row)], mask[place, :len(row)] = row, starts, 1
            types[place, head:len(row)] = self.frame[3]
        return {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": types} if self.types else {}), "@piece": piece,
                "@record": np.array([row[0] for row in rows], np.int64), "@pieces": np.array(counts, np.int64)}

    def gather(self, arrays: Mapping[str, Array], outputs: Mapping[str, Array]) -> Arrays:
        """For "probabilities" [W, L, K] those of each piece, [B, P, K]; a piece without a token is "outside" (class 0).

        For logits "number" [W, L, 2], of where an answer begins and ends, "places" [B, 1 + P, 2]: the probability of each
        piece, and of none (0), over the whole text.
        """
        record, piece, counts = arrays["@record"], arrays["@piece"], arrays["@pieces"]
        most = int(counts.max(initial=0))
        window, token = np.nonzero(piece >= 0)
        owner, place = record[window], piece[window, token]
        if "number" in outputs:
            return {"places": self._places(arrays, outputs["number"], (owner, place, window, token), most)}
        lengths = arrays["attention_mask"].sum(axis=1)
        margin = np.minimum(token, lengths[window] - 1 - token)
        order = np.lexsort((-window, margin))        # the best is written last; of equals the first window
        made = np.zeros((len(counts), most, outputs["probabilities"].shape[-1]), np.float32)
        made[np.arange(most)[None, :] < counts[:, None], 0] = 1
        made[owner[order], place[order]] = outputs["probabilities"][window[order], token[order]]
        return {"probabilities": made if self.chain is None else self.chain.marginals(made, counts)}

    def _places(self, arrays: Mapping[str, Array], logits: Array, at: tuple[Array, ...], most: int) -> Array:
        owner, place, window, token = at
        counts, record = arrays["@pieces"], arrays["@record"]
        best = np.full((len(counts), 1 + most, 2), FAR, np.float32)
        np.maximum.at(best, (owner, 1 + place), logits[window, token])
        none = np.full((len(counts), 2), -FAR, np.float32)
        np.minimum.at(none, record, logits[:, 0])    # no window may hold an answer
        best[:, 0] = none
        shifted = np.exp((best - best.max(axis=1, keepdims=True)).astype(np.float64))
        found: Array = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
        return found

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts (and questions) decoded from random tokens of the vocabulary."""
        columns = [self.text, *([self.question] if self.question else [])]
        return [{column: self._drawn(rng) for column in columns} for _ in range(count)]

    def _drawn(self, rng: np.random.Generator) -> str:
        ids = rng.integers(0, self.size, size=int(rng.integers(1, DRAWN_MOST)))
        return self.tokenizer.decode(ids.tolist(), skip_special_tokens=True).strip() or "a"

    def save(self) -> Files:
        """places.json and tokenizer.json, and chain.npy where tags follow each other."""
        settings = {"text": self.text, "question": self.question, "max_length": self.max_length, "padding_id": self.padding_id,
                    "types": self.types}
        return {"places.json": json.dumps(settings, ensure_ascii=False).encode(),
                "tokenizer.json": self.tokenizer_json.encode(), **(self.chain.save() if self.chain else {})}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings: dict[str, Any] = json.loads(files["places.json"])
        tokenizer_json = files["tokenizer.json"].decode()
        json.loads(tokenizer_json)     # refused here, in words, and not by the first request
        return cls(settings["text"], tokenizer_json, settings["question"], int(settings["max_length"]),
                   int(settings["padding_id"]), bool(settings["types"]), Chain.load(files))


def _between(special: Sequence[int]) -> tuple[int, int]:
    """First and one behind the last place that is not special."""
    inside = [place for place, one in enumerate(special) if not one]
    return inside[0], inside[-1] + 1


def _first_tokens(offsets: Sequence[tuple[int, int]], owner: Array) -> list[int]:
    """For each token the piece that begins with it, -1 where it goes on with one or has none."""
    made, seen = [], -1
    for start, end in offsets:
        piece = int(owner[start]) if start < end and start < len(owner) else -1
        if piece < 0 and end > start + 1:      # a byte-level token may begin with the blank before its word
            piece = int(owner[end - 1])
        made.append(piece if piece > seen else -1)
        seen = max(seen, piece)
    return made
