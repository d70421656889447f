"""Answers found in a context against the true ones, as SQuAD counts them: exact match, and F1 over tokens.

Before they are compared, both lose case, punctuation, the articles a, an, the, and odd spaces; a Chinese character is a
token of its own. Where there is no answer, only "none" is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mofang.core.metrics import Floats, Ints, text_tokens, token_f1
from mofang.data.snapshots.targets import question_and_context
from mofang.engine.arrays import Arrays
from mofang.engine.encode import Record
from mofang.engine.task import Answer

OVERALL = ("f1", "exact_match", "answerable_right")


class Measured:
    """Answers of one model against the true ones, a score for each record."""

    def __init__(
        self, about: dict[str, Any], records: Sequence[Record], truth: list[tuple[int, int]], outputs: Arrays,
        answers: Sequence[Answer],
    ) -> None:
        self.names = [(name, "") for name in OVERALL]
        _, context = question_and_context([one["name"] for one in about["inputs"]])
        self.truth = [str(record[context])[start:end] if start >= 0 else ""
                      for record, (start, end) in zip(records, truth, strict=True)]
        self.answers = [str(answer["text"]) for answer in answers]
        pairs = list(zip(self.truth, self.answers, strict=True))
        self.scores = np.array([_scores(*pair) for pair in pairs]).reshape(len(pairs), len(OVERALL))
        self._sure = [float(answer["score"]) for answer in answers]

    def of(self, weights: Ints) -> Floats:
        """Means over the records."""
        found: Floats = weights @ self.scores / max(1, weights.sum())
        return found

    def mistakes(self) -> list[tuple[int, float]]:
        """Records answered otherwise than in the true words, the surest first."""
        wrong = np.flatnonzero(self.scores[:, 1] == 0).tolist()
        return sorted(((row, self._sure[row]) for row in wrong), key=lambda one: (-one[1], one[0]))


def _scores(true: str, said: str) -> tuple[float, float, float]:
    """In the order of ``OVERALL``."""
    wanted, found = text_tokens(true), text_tokens(said)
    return token_f1(wanted, found), float(wanted == found), float(bool(true) == bool(said))
