"""Texts inside a prompt: what stands before (an instruction, examples), the text, what stands behind; as token ids.

A text that is too long loses its end, so that neither the examples nor the question behind it are ever cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Files, Record, texts
from mofang.engine.encode.tokens import CHARACTERS_PER_TOKEN_MAX

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DRAWN_MOST = 30


@dataclass(frozen=True, eq=False)
class PromptEncoder:
    """{"input_ids": int64 [B, L], "attention_mask": int64 [B, L]}: ``before``, the text's words, ``after``; padded on the right.

    The pieces are tokenised each alone, so that a prompt's ids are those that were rated when the model was made.
    """

    name: ClassVar[str] = "prompts"
    version: ClassVar[int] = 1

    columns: tuple[str, ...]
    max_length: int
    tokenizer_json: str
    before: str
    after: str
    begin: tuple[int, ...] = ()
    padding_id: int = 0

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself; nothing is cut or padded by it."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @property
    def size(self) -> int:
        """Rows that an embedding table indexed by the ids needs."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    def pieces(self, text: str) -> list[int]:
        """Token ids of words, without marks of their own."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    @cached_property
    def around(self) -> tuple[list[int], list[int]]:
        """Token ids of what stands before and behind."""
        return [*self.begin, *self.pieces(self.before)], self.pieces(self.after)

    @property
    def room(self) -> int:
        """Tokens that a text may have."""
        return self.max_length - sum(map(len, self.around))

    def ids(self, records: Sequence[Record]) -> list[list[int]]:
        """Each record's prompt, without padding."""
        (before, after), room = self.around, self.room
        longest = self.max_length * CHARACTERS_PER_TOKEN_MAX
        found = self.tokenizer.encode_batch([one[:longest] for one in texts(records, self.columns)], add_special_tokens=False)
        return [[*before, *one.ids[:room], *after] for one in found]

    def encode(self, records: Sequence[Record]) -> Arrays:
        """The prompts, padded to the longest."""
        rows = self.ids(records)
        shape = (len(rows), max(1, max(map(len, rows), default=0)))
        ids, mask = np.full(shape, self.padding_id, np.int64), np.zeros(shape, np.int64)
        for number, row in enumerate(rows):
            ids[number, :len(row)], mask[number, :len(row)] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts decoded from random tokens of the vocabulary."""
        drawn = [rng.integers(0, self.size, size=int(rng.integers(1, DRAWN_MOST))).tolist() for _ in range(count)]
        said = [self.tokenizer.decode(ids, skip_special_tokens=True).strip() or "a" for ids in drawn]
        return [dict.fromkeys(self.columns, one) for one in said]

    def save(self) -> Files:
        """prompts.json and tokenizer.json."""
        settings = {"columns": self.columns, "max_length": self.max_length, "before": self.before, "after": self.after,
                    "begin": self.begin, "padding_id": self.padding_id}
        return {"prompts.json": json.dumps(settings, ensure_ascii=False).encode(), "tokenizer.json": self.tokenizer_json.encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings = json.loads(files["prompts.json"])
        tokenizer_json = files["tokenizer.json"].decode()
        json.loads(tokenizer_json)  # refused here, in words, and not by the first request
        return cls(tuple(settings["columns"]), int(settings["max_length"]), tokenizer_json, str(settings["before"]),
                   str(settings["after"]), tuple(int(one) for one in settings["begin"]), int(settings["padding_id"]))
