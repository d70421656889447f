"""Direct preference optimisation (Rafailov et al. 2023): the answer that people chose becomes likelier than the other one,
measured against the model as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.fit.generation.likelihood import row_sums, stretches, token_log_probabilities
from mofang.fit.generation.packing import Conversations, packed_batch
from mofang.fit.loop.objective import Batch, Judged
from mofang.fit.networks.generator import Generator


@dataclass(frozen=True)
class Preferred:
    """Pairs of conversations that differ in their answer, and how likely the reference finds each answer: summed
    log-probabilities float64 [N], computed once."""

    chosen: Conversations
    rejected: Conversations
    chosen_reference: Array
    rejected_reference: Array

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def lengths(self) -> Array:
        """Tokens of both conversations of each pair."""
        return self.chosen.lengths + self.rejected.lengths


class Preferences:
    """-log sigmoid(beta * margin), where the margin is by how much more the policy than the reference prefers the chosen
    answer, in summed log-probabilities."""

    def __init__(self, train: Preferred, validation: Preferred, beta: float, width: int) -> None:
        self.train, self.validation, self.beta, self.width = train, validation, beta, width

    @property
    def lengths(self) -> Array:
        """Tokens of each pair."""
        return self.train.lengths

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """Chosen and rejected answers of the rows, packed, with what the reference gives them."""
        return self._batch(self.train, rows)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss summed over the pairs."""
        return -nn.functional.logsigmoid(self.beta * self._margins(network, batch)).sum()

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """Loss, margin and the share of held-out pairs in which the chosen answer gained on the other one."""
        pairs, found = self.validation, np.zeros(len(self.validation))
        for some in stretches(pairs.lengths):
            with torch.inference_mode():
                found[some] = self._margins(network, self._batch(pairs, some).to(device)).cpu().numpy()
        loss = float(np.logaddexp(0, -self.beta * found).mean()) if len(found) else 0.0
        figures = {"margin": float(found.mean()), "preferred": float((found > 0).mean())} if len(found) else {}
        return Judged(-loss, loss, figures)

    def _batch(self, pairs: Preferred, rows: Array) -> Batch:
        both = [side.row(int(one)) for side in (pairs.chosen, pairs.rejected) for one in rows]
        reference = (pairs.chosen_reference - pairs.rejected_reference)[rows].astype(np.float32)
        return Batch({**packed_batch(both, self.width), "reference": torch.from_numpy(reference)}, len(rows))

    def _margins(self, network: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(network, Generator)
        count = len(batch.arrays["reference"])
        found, origin = token_log_probabilities(network, batch.arrays)
        sums = row_sums(found, origin, 2 * count)
        return sums[:count] - sums[count:] - batch.arrays["reference"]
