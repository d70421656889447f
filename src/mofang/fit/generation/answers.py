"""The supervised objective: the words of answers, and of nothing else, are learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.engine.encode import Record, texts
from mofang.engine.encode.chat import ChatEncoder, Turn
from mofang.engine.encode.template import Message, is_conversation
from mofang.fit.generation.likelihood import measure, token_log_probabilities
from mofang.fit.generation.packing import Conversations, packed_batch, put_together
from mofang.fit.loop.objective import Batch, Judged


class Answers:
    """Cross-entropy of the answers' tokens; conversations are packed, and none sees another.

    A step's loss is the sum over all learnt tokens divided by their number, whatever rows they stand in.
    """

    def __init__(self, train: Conversations, validation: Conversations, width: int) -> None:
        self.train, self.validation, self.width = train, validation, width

    @property
    def lengths(self) -> Array:
        """Tokens of every conversation."""
        return self.train.lengths

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The rows, packed."""
        arrays = packed_batch([self.train.row(int(one)) for one in rows], self.width)
        return Batch(arrays, max(1, int(arrays["learnt"].sum())))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Minus the log-probability of all learnt tokens."""
        found, _ = token_log_probabilities(network, batch.arrays)  # type: ignore[arg-type]
        return -found.sum()

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """Loss, perplexity and bits per byte of the validation rows' answers."""
        sums, counts = measure(network, self.validation, device)  # type: ignore[arg-type]
        tokens, letters = max(1, int(counts.sum())), max(1, int(self.validation.letters.sum()))
        loss = float(-sums.sum() / tokens)
        figures = {"perplexity": math.exp(min(loss, 50.0)), "bits_per_byte": float(-sums.sum() / letters / math.log(2))}
        return Judged(-loss, loss, figures)


def conversation(encoder: ChatEncoder, record: Record, target: str) -> list[Message]:
    """The messages of a training row: a prompt and its completion, or a conversation that ends in its answer already."""
    messages = encoder.messages(record)
    if messages[-1]["role"] == "assistant":
        return messages
    return [*messages, {"role": "assistant", "content": target}]


def read_conversations(encoder: ChatEncoder, records: Sequence[Record], targets: Sequence[str]) -> Conversations:
    """Training rows as token ids."""
    rows: list[list[Turn]] = []
    letters: list[int] = []
    for record, target in zip(records, targets, strict=True):
        messages = conversation(encoder, record, target)
        rows.append(encoder.turns(messages))
        letters.append(sum(len(one["content"].encode()) for one in messages if one["role"] == "assistant"))
    return put_together(rows, letters, encoder.max_length)


def corpus_of(records: Sequence[Record], targets: Sequence[str], columns: Sequence[str]) -> list[str]:
    """All words of the training rows, for a tokenizer to learn; conversations without their marks."""
    found: list[str] = []
    for one in [*texts(records, columns), *targets]:
        found += [message["content"] for message in _messages(one)] if is_conversation(one) else [one]
    return found


def _messages(text: str) -> list[dict[str, Any]]:
    from mofang.engine.encode.template import read_messages

    return [dict(one) for one in read_messages(text)]
