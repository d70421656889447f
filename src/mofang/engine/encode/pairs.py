"""Two texts as one row of token ids: ``[CLS] first [SEP] second [SEP]``, with the type of each token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Files, Record
from mofang.engine.encode.tokens import CHARACTERS_PER_TOKEN_MAX

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DRAWN_MOST = 30


@dataclass(frozen=True, eq=False)
class PairEncoder:
    """{"input_ids", "attention_mask", "token_type_ids": int64 [B, L]} of two columns; where both together are longer than
    ``max_length``, the longer one is cut.
    """

    name: ClassVar[str] = "pairs"
    version: ClassVar[int] = 1

    columns: tuple[str, str]
    tokenizer_json: str
    max_length: int = 128
    padding_id: int = 0
    types: bool = True      # whether the graph reads token_type_ids

    @property
    def size(self) -> int:
        """Rows that an embedding table indexed by the ids needs."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself, cutting the longer text first, without padding."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length, strategy="longest_first")
        return tokenizer

    def rows(self, records: Sequence[Record]) -> list[tuple[list[int], list[int]]]:
        """Ids and types of each record, special tokens included, without padding."""
        longest = self.max_length * CHARACTERS_PER_TOKEN_MAX
        first, second = self.columns
        texts = [(str(one.get(first) or "")[:longest], str(one.get(second) or "")[:longest]) for one in records]
        return [(one.ids, one.type_ids) for one in self.tokenizer.encode_batch(texts)]

    def encode(self, records: Sequence[Record]) -> Arrays:
        """The rows, padded to the longest."""
        rows = self.rows(records)
        shape = (len(rows), max(1, max((len(ids) for ids, _ in rows), default=0)))
        made = {"input_ids": np.full(shape, self.padding_id, np.int64), "attention_mask": np.zeros(shape, np.int64),
                "token_type_ids": np.zeros(shape, np.int64)}
        for number, (ids, types) in enumerate(rows):
            made["input_ids"][number, :len(ids)], made["token_type_ids"][number, :len(ids)] = ids, types
            made["attention_mask"][number, :len(ids)] = 1
        if not self.types:
            made.pop("token_type_ids")
        return made

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Pairs decoded from random tokens of the vocabulary."""
        return [{column: self._drawn(rng) for column in self.columns} for _ in range(count)]

    def _drawn(self, rng: np.random.Generator) -> str:
        ids = rng.integers(0, self.size, size=int(rng.integers(1, DRAWN_MOST)))
        return self.tokenizer.decode(ids.tolist(), skip_special_tokens=True).strip() or "a"

    def save(self) -> Files:
        """pairs.json and tokenizer.json."""
        settings = {"columns": self.columns, "max_length": self.max_length, "padding_id": self.padding_id,
                    "types": self.types}
        return {"pairs.json": json.dumps(settings, ensure_ascii=False).encode(), "tokenizer.json": self.tokenizer_json.encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings: dict[str, Any] = json.loads(files["pairs.json"])
        tokenizer_json = files["tokenizer.json"].decode()
        json.loads(tokenizer_json)     # refused here, in words, and not by the first request
        first, second = settings["columns"]
        return cls((first, second), tokenizer_json, int(settings["max_length"]), int(settings["padding_id"]),
                   bool(settings["types"]))
