"""How likely a network finds answers: the one computation behind supervised training, preferences and rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mofang.engine.arrays import Array
from mofang.fit.generation.packing import Conversations, packed_batch
from mofang.fit.networks.generator import Generator

TOKENS_AT_ONCE = 4096


def token_log_probabilities(network: Generator, arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probability float32 [T] of every learnt token given what stands before it, and the row int64 [T] that it is of.

    The head works on learnt places only, so that no logits are made for prompts.
    """
    states = network.states(arrays["input_ids"], arrays["documents"], arrays["places"])
    learnt = arrays["learnt"][:, 1:]
    before = states[:, :-1][learnt]
    wanted = arrays["input_ids"][:, 1:][learnt]
    logits = network.logits(before).float()
    found = -torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    return found, arrays["origin"][:, 1:][learnt]


def row_sums(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """The sum of each row's values, float32 [count]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, rows, values)


def measure(network: Generator, rows: Conversations, device: torch.device) -> tuple[Array, Array]:
    """Summed log-probability float64 [N] of each row's answers, and how many tokens they have, int64 [N]."""
    network.eval()
    sums, counts = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    for some in stretches(rows.lengths):
        arrays = {name: value.to(device) for name, value in packed_batch([rows.row(int(one)) for one in some]).items()}
        with torch.inference_mode():
            found, origin = token_log_probabilities(network, arrays)
        sums[some] = row_sums(found.double(), origin, len(some)).cpu().numpy()
        counts[some] = np.bincount(origin.cpu().numpy(), minlength=len(some))
    return sums, counts


def stretches(lengths: Sequence[int] | Array, most: int = TOKENS_AT_ONCE) -> list[Array]:
    """Rows from short to long in stretches of about so many tokens."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    made: list[Array] = []
    begin = total = 0
    for place, row in enumerate(order):
        total += int(lengths[row])
        if total > most and place > begin:
            made.append(order[begin:place])
            begin, total = place, int(lengths[row])
    return [*made, order[begin:]] if len(order) else made
