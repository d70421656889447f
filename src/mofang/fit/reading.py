"""What a frozen encoder makes of texts: one vector for each, read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mofang.core.progress import Bar
from mofang.engine.arrays import Array

ROWS, POSITIONS = 64, 4096  # of a batch


def read_vectors(network: Callable[..., Any], rows: Any, bar: Bar | None = None, *, half: bool = False) -> Array:
    """The vectors float32 [N, H] that ``network(**arrays)`` gives for encoded rows, in their order.

    ``half`` computes them in half the bits where the machine's probe found that faster; ``bar`` advances by the share read.
    """
    import torch

    from mofang.fit.loop.batches import Batches
    from mofang.fit.loop.machine import threads
    from mofang.fit.loop.objective import tensors
    from mofang.fit.loop.precision import casting
    from mofang.fit.loop.probe import choices

    torch.set_num_threads(threads())
    precision = choices().precision if half else "fp32"

    def ask(batch: Array) -> Array:
        if bar is not None:
            bar.advance(len(batch) / len(rows.lengths))
        return np.asarray(network(**tensors(rows.batch(batch))).float().numpy())

    with torch.inference_mode(), casting(precision, torch.device("cpu")):
        made = Batches(rows.lengths, ROWS, POSITIONS).asked(ask)
    assert made is not None
    return made
