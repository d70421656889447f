"""Texts that were written: how likely the wanted words are, and how much what the model writes has in common with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.metrics import Floats, Ints
from mofang.core.run import Run
from mofang.data.records import Records
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record
from mofang.engine.encode.template import is_conversation, read_messages
from mofang.engine.task import Answer
from mofang.fit.answers import truth_of
from mofang.judge.overlap import chrf, rouge_l

OVERALL = ("log_likelihood", "loss", "perplexity", "bits_per_byte", "rouge_l", "chrf")
MAX_TOKENS = 256


def ask(run: Run, name: str, graph: Artifact, test: Records, rows: int) -> Arrays:
    """For each record the summed log-probability of the wanted words, their tokens and bytes, and what the model writes
    itself, greedily, at most half as long again."""
    import torch

    from mofang.fit.generation.answers import conversation, read_conversations
    from mofang.fit.generation.likelihood import measure
    from mofang.fit.generation.opened import open_generator
    from mofang.fit.generation.writer import Manner
    from mofang.judge.targets import records_of

    opened = open_generator(graph)
    _, targets = truth_of(test, opened.about)
    records = records_of(test, opened.about)
    read = read_conversations(opened.encoder, records, targets)
    sums, counts = measure(opened.network, read, torch.device("cpu"))
    asked = [_asked(conversation(opened.encoder, *pair), opened.encoder.columns) for pair in zip(records, targets, strict=True)]
    most = min(MAX_TOKENS, max(8, int(1.5 * counts.max(initial=1))))
    with run.progress("Writing", "生成中", total=len(asked)) as bar:
        texts = [one.text for one in opened.answer(asked, Manner(max_tokens=most), bar.advance)]
    return {"sums": sums, "tokens": counts, "bytes": read.letters, "text": np.array(texts, dtype=object)}


class Measured:
    """One model's words on the test records, against the wanted ones."""

    def __init__(
        self, about: dict[str, Any], records: Sequence[Record], truth: list[str], outputs: Arrays, answers: Sequence[Answer]
    ) -> None:
        self.names = [(name, "") for name in OVERALL]
        self.truth = [_last(one) for one in truth]
        self.answers = [str(answer["text"]) for answer in answers]
        self.sums, self.tokens, self.bytes = (outputs[name].astype(np.float64) for name in ("sums", "tokens", "bytes"))
        pairs = list(zip(self.truth, self.answers, strict=True))
        self.overlaps = np.array([(rouge_l(*pair), chrf(*pair)) for pair in pairs]).reshape(len(pairs), 2)

    def of(self, weights: Ints) -> Floats:
        """Likelihoods over all tokens of the records, overlaps as means over the records."""
        total, tokens = float(weights @ self.sums), max(1.0, float(weights @ self.tokens))
        loss = -total / tokens
        bits = -total / math.log(2) / max(1.0, float(weights @ self.bytes))
        overlap = weights @ self.overlaps / max(1, weights.sum())
        return np.array([-loss, loss, math.exp(min(loss, 50.0)), bits, *overlap])

    def mistakes(self) -> list[tuple[int, float]]:
        """Records whose wanted words have least in common with what was written."""
        pairs = enumerate(zip(self.truth, self.answers, strict=True))
        wrong = [row for row, (true, said) in pairs if true.strip() != said.strip()]
        return sorted(((row, float(self.overlaps[row, 1])) for row in wrong), key=lambda one: (one[1], one[0]))


def _asked(messages: Sequence[dict[str, str]], columns: Sequence[str]) -> Record:
    """What stands before the last answer, as a request writes it."""
    import json

    before = list(messages[:-1])
    if len(before) == 1 and before[0]["role"] == "user":
        return dict.fromkeys(columns[:1], before[0]["content"])
    return {columns[0]: json.dumps(before, ensure_ascii=False)}


def _last(target: str) -> str:
    """The wanted words: the last message of a conversation, or the text itself."""
    return read_messages(target)[-1]["content"] if is_conversation(target) else target
