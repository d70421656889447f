"""Long texts in overlapping windows: each window is a row of tokens, and a record's answer is made of those of its windows.

The same cutting and the same making hold in training and in serving, because both are this encoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Files, Record, texts
from mofang.engine.encode.tokens import CHARACTERS_PER_TOKEN_MAX, TokenEncoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OWNER = "@record"
OVERS = ("mean", "max")


@dataclass(frozen=True, eq=False)
class WindowEncoder:
    """Texts in, rows of token ids out: at most ``windows`` of ``tokens.max_length`` tokens a text, ``overlap`` of them shared
    with the window before; what lies behind the last one is not read.

    encode gives {"input_ids": int64 [R, L], "attention_mask": int64 [R, L], "@record": int64 [R]}, R rows of all records.
    """

    name: ClassVar[str] = "windows"
    version: ClassVar[int] = 1

    tokens: TokenEncoder
    windows: int
    overlap: int
    over: str = "mean"

    @property
    def size(self) -> int:
        """Rows that an embedding table indexed by the ids needs."""
        return self.tokens.size

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which gives what does not fit into one window as further ones."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokens.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.tokens.max_length, stride=self.overlap)
        return tokenizer

    def rows(self, records: Sequence[Record]) -> tuple[list[list[int]], Array]:
        """The windows of all records, one after the other, and the record of each, int64 [R]."""
        longest = self.windows * self.tokens.max_length * CHARACTERS_PER_TOKEN_MAX
        cut = [text[:longest] for text in texts(records, self.tokens.columns)]
        found: list[list[int]] = []
        owners: list[int] = []
        for place, whole in enumerate(self.tokenizer.encode_batch(cut)):
            windows = [whole, *whole.overflowing][: self.windows]
            found += [window.ids for window in windows]
            owners += [place] * len(windows)
        return found, np.array(owners, dtype=np.int64)

    def owners(self, records: Sequence[Record]) -> Array:
        """The record of each row, int64 [R]."""
        return self.rows(records)[1]

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"input_ids": int64 [R, L], "attention_mask": int64 [R, L], "@record": int64 [R]}."""
        rows, owners = self.rows(records)
        longest = max(1, max(map(len, rows), default=0))
        ids = np.full((len(rows), longest), self.tokens.padding_id, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for number, row in enumerate(rows):
            ids[number, :len(row)] = row
            mask[number, :len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask, OWNER: owners}

    def gather(self, arrays: Mapping[str, Array], outputs: Mapping[str, Array]) -> Arrays:
        """One row for each record of the outputs for ``arrays``."""
        return {name: self.merged(array, arrays[OWNER]) for name, array in outputs.items()}

    def merged(self, answers: Array, owners: Array) -> Array:
        """The mean of each record's rows of ``answers`` [R, K], or the largest of each column; shares of classes stay shares
        that sum to 1.
        """
        count = int(owners[-1]) + 1 if len(owners) else 0
        rows = np.bincount(owners, minlength=count)
        if self.over == "mean":
            made = np.zeros((count, answers.shape[1]), np.float64)
            np.add.at(made, owners, answers)
            return np.asarray(made / rows[:, None], answers.dtype)
        most = np.full((count, answers.shape[1]), -np.inf)
        np.maximum.at(most, owners, answers)
        if answers.shape[1] > 1 and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
            most /= most.sum(axis=1, keepdims=True)
        return np.asarray(most, answers.dtype)

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts decoded from random tokens, every third of them longer than a window."""
        records = self.tokens.draw(rng, count)
        for number in range(0, count, 3):
            longer = [records[int(place)] for place in rng.integers(0, count, 6)]
            records[number] = {name: " ".join(str(one[name]) for one in longer) for name in self.tokens.columns}
        return records

    def save(self) -> Files:
        """windows.json, tokens.json and tokenizer.json."""
        settings = {"windows": self.windows, "overlap": self.overlap, "over": self.over}
        return {"windows.json": json.dumps(settings).encode(), **self.tokens.save()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings = json.loads(files["windows.json"])
        if settings["over"] not in OVERS:
            raise ValueError(f"answers of windows are merged by {', '.join(OVERS)}")
        return cls(TokenEncoder.load(files), int(settings["windows"]), int(settings["overlap"]), settings["over"])
