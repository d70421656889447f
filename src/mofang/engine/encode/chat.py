"""Conversations as token ids: a chat template, a tokenizer and a context, the same in training and in use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Files, Record, texts
from mofang.engine.encode.template import (
    MARKS,
    TURNS,
    ChatTemplate,
    Message,
    is_conversation,
    read_messages,
    template_of,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END, PADDING = "<|end|>", "<|padding|>"
CHARACTERS_PER_TOKEN_MAX = 32


@dataclass(frozen=True)
class Turn:
    """Token ids of one piece of a conversation, and whether the assistant wrote it."""

    ids: list[int]
    learnt: bool


@dataclass(frozen=True, eq=False)
class ChatEncoder:
    """Prompts or conversations in, token ids out: {"input_ids": int64 [B, L], "attention_mask": int64 [B, L]}.

    A prompt is one message of the user. What is longer than ``max_length`` loses its beginning, never its end; ``cuts``
    says how many tokens. Padding stands on the right with mask 0. A text that looks like one of the tokenizer's own marks
    is taken apart by a blank, so that nobody can speak in another role.
    """

    name: ClassVar[str] = "chat"
    version: ClassVar[int] = 1

    columns: tuple[str, ...]
    max_length: int
    tokenizer_json: str
    template: str
    bos_token: str = ""
    eos_token: str = END
    padding_id: int = 0

    @classmethod
    def fit(cls, corpus: Sequence[str], columns: Sequence[str], *, vocabulary: int = 8000, max_length: int = 256) -> Self:
        """Learn byte-pair merges over bytes (no text is unknown), with marks for the turns."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, show_progress=False, special_tokens=[PADDING, END, *MARKS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(corpus, trainer, length=len(corpus))
        return cls(tuple(columns), max_length, tokenizer.to_str(), TURNS)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself; nothing is cut or padded by it."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def chat(self) -> ChatTemplate:
        """The template, checked."""
        return template_of(self.template, self.bos_token, self.eos_token)

    @property
    def size(self) -> int:
        """Rows that an embedding table indexed by the ids needs."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def ends(self) -> frozenset[int]:
        """The ids that end an answer."""
        found = self.tokenizer.token_to_id(self.eos_token) if self.eos_token else None
        return frozenset() if found is None else frozenset({found})

    @cached_property
    def _marks(self) -> list[str]:
        added = json.loads(self.tokenizer_json).get("added_tokens") or []
        return sorted((one["content"] for one in added if one.get("special") and len(one["content"]) > 1), key=len, reverse=True)

    def messages(self, record: Mapping[str, Any]) -> list[Message]:
        """A record as messages: a conversation as it is, other texts as one message of the user."""
        text = texts([record], self.columns)[0]
        if len(self.columns) == 1 and is_conversation(text):
            return read_messages(text, self.columns[0])
        return [{"role": "user", "content": text}]

    def turns(self, messages: Sequence[Message]) -> list[Turn]:
        """A whole conversation in pieces, each tokenised alone, so that a prompt has the same ids when it is asked."""
        return [Turn(self._ids(text), learnt) for text, learnt in self.chat.turns(self._harmless(messages))]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of what stands before an answer, uncut: piece by piece as ``turns`` would cut it."""
        plain = self._harmless(messages)
        whole = self.chat.render(plain)
        begun, ids = "", []
        for text, _ in self.chat.turns(plain):
            begun += text
            ids += self._ids(text)
        return ids + self._ids(whole[len(begun) :]) if whole.startswith(begun) else self._ids(whole)

    def prompts(self, records: Sequence[Record]) -> list[list[int]]:
        """Token ids of each record as something to be answered, uncut."""
        return [self.prompt(self.messages(one)) for one in records]

    def cuts(self, records: Sequence[Record]) -> list[int]:
        """How many tokens each record's beginning loses."""
        return [max(0, len(one) - self.max_length) for one in self.prompts(records)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without marks."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"input_ids": int64 [B, L], "attention_mask": int64 [B, L]}."""
        return padded([one[-self.max_length :] for one in self.prompts(records)], self.padding_id)

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """Texts decoded from random tokens of the vocabulary."""
        records = []
        for _ in range(count):
            ids = rng.integers(0, self.size, size=int(rng.integers(1, min(self.max_length, 40) + 1)))
            records.append(dict.fromkeys(self.columns, self.decode(ids.tolist()) or "a"))
        return records

    def save(self) -> Files:
        """chat.json, template.jinja and tokenizer.json."""
        settings = {"columns": self.columns, "max_length": self.max_length, "bos_token": self.bos_token,
                    "eos_token": self.eos_token, "padding_id": self.padding_id}
        return {"chat.json": json.dumps(settings, ensure_ascii=False).encode(), "template.jinja": self.template.encode(),
                "tokenizer.json": self.tokenizer_json.encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings = json.loads(files["chat.json"])
        tokenizer_json = files["tokenizer.json"].decode()
        json.loads(tokenizer_json)
        return cls(tuple(settings["columns"]), int(settings["max_length"]), tokenizer_json,
                   files["template.jinja"].decode(), str(settings["bos_token"]), str(settings["eos_token"]),
                   int(settings["padding_id"]))

    def _ids(self, text: str) -> list[int]:
        longest = self.max_length * CHARACTERS_PER_TOKEN_MAX
        return list(self.tokenizer.encode(text[-longest:], add_special_tokens=False).ids)

    def _harmless(self, messages: Sequence[Message]) -> list[Message]:
        """Contents in which no mark of the tokenizer stands whole."""
        found = []
        for one in messages:
            content = one["content"]
            for mark in self._marks:
                if mark in content:
                    content = content.replace(mark, f"{mark[0]} {mark[1:]}")
            found.append({**one, "content": content})
        return found


def padded(rows: Sequence[Sequence[int]], padding_id: int) -> Arrays:
    """Rows of ids as one array with its mask, padded on the right to the longest."""
    longest = max(1, max(map(len, rows), default=0))
    input_ids = np.full((len(rows), longest), padding_id, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}
