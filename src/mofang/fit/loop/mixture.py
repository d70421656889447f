"""One objective for the loop: questions alone or mixed by weight, judged each for itself on the validation documents.

A step asks one kind of question, drawn by its weight from (seed, step); so a killed run asks the same again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.objective import Batch, Judged, tensors
from mofang.fit.pretraining.asking import TARGETS, Asking

DRAWS = 13  # keeps the draw of a step's question apart from other draws of the same seed
JUDGED_POSITIONS = 131_072  # validation reads at most so many: enough for a loss to three digits
VALIDATION_EPOCH = 2**31 - 1  # validation rows are asked the same questions every time


@dataclass(frozen=True, eq=False)
class Question:
    """One kind of question on training and validation rows, with its weight."""

    train: Asking
    validation: Asking
    weight: float

    @property
    def name(self) -> str:
        """mlm, clm, …"""
        return self.train.name


@dataclass(frozen=True, eq=False)
class Mixture:
    """An ``Objective`` of the loop. ``bytes`` are those of all validation texts."""

    questions: Sequence[Question]
    positions: int
    bytes: int
    seed: int
    smooths: ClassVar[bool] = True

    @property
    def lengths(self) -> Array:
        """Positions of each row."""
        return self.questions[0].train.lengths

    def question(self, step: int) -> Question:
        """What a step asks."""
        if len(self.questions) == 1:
            return self.questions[0]
        weights = np.array([one.weight for one in self.questions])
        draw = np.random.default_rng((self.seed, step, DRAWS)).choice(len(weights), p=weights / weights.sum())
        return self.questions[int(draw)]

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The rows, asked what this step asks."""
        return made(self.question(step).train, rows, epoch)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy summed over the targets."""
        found: Tensor = network(**batch.arrays)
        return found

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """Loss, perplexity and bits per byte of each question, and the weighted mean of the losses."""
        figures: dict[str, float] = {}
        total = sum(one.weight for one in self.questions)
        mean = 0.0
        for question in self.questions:
            loss, right = self._asked(network, question.validation, device)
            mean += loss * question.weight / total
            name = f"{question.name}_" if len(self.questions) > 1 else ""
            figures[f"{name}accuracy"] = right
            if len(self.questions) > 1:
                figures[f"{name}loss"] = loss
            if question.name != "nsp":
                figures[f"{name}perplexity"] = math.exp(min(loss, 50.0))
                figures[f"{name}bits_per_byte"] = loss / math.log(2) * question.validation.tokens / max(1, self.bytes)
        return Judged(-mean, mean, figures)

    def _asked(self, network: nn.Module, asking: Asking, device: torch.device) -> tuple[float, float]:
        """Mean loss and share of right answers on validation rows spread evenly over all."""
        rows = evenly(asking.lengths, JUDGED_POSITIONS)
        lengths = asking.lengths[rows]
        loss, right, count = 0.0, 0.0, 0.0
        with torch.inference_mode():
            for places in Batches(lengths, len(rows) + 1, max(self.positions, int(lengths.max()))).in_order():
                batch = made(asking, rows[places], VALIDATION_EPOCH).to(device)
                inputs = {name: value for name, value in batch.arrays.items() if name != TARGETS}
                logits, targets = network(**inputs), batch.arrays[TARGETS]
                loss += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
                right += float((logits.argmax(dim=1) == targets).sum())
                count += batch.count
        return loss / max(1.0, count), right / max(1.0, count)


def made(asking: Asking, rows: Array, epoch: int) -> Batch:
    """Rows as a batch; its count is that of the targets."""
    arrays = asking.arrays(rows, epoch)
    return Batch(tensors(arrays), float(len(arrays[TARGETS])))


def evenly(lengths: Array, positions: int) -> Array:
    """Rows spread evenly over all whose lengths together are about ``positions``; all where they are fewer."""
    total = int(lengths.sum())
    if total <= positions:
        return np.arange(len(lengths))
    count = max(1, len(lengths) * positions // total)
    return np.unique(np.linspace(0, len(lengths) - 1, count).astype(np.int64))
