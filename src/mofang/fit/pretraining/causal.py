"""Causal language modelling: each token is asked for from those before it in the same document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mofang.engine.arrays import Array, Arrays
from mofang.fit.pretraining.asking import TARGETS
from mofang.fit.pretraining.rows import IGNORED, Packed


@dataclass(frozen=True, eq=False)
class Causal:
    """Documents packed into full rows: none sees another, positions restart with each, no loss crosses a border."""

    name: ClassVar[str] = "clm"
    packed: Packed

    @property
    def lengths(self) -> Array:
        """Positions of each row."""
        return self.packed.lengths

    @property
    def tokens(self) -> int:
        """Tokens of all documents, with the end of each."""
        return self.packed.total

    def arrays(self, rows: Array, epoch: int) -> Arrays:
        """input_ids, position_ids and document_ids [B, context], ``where`` and ``targets`` [T]."""
        made = self.packed.arrays(rows, epoch)
        where = np.flatnonzero(made["targets"] != IGNORED)
        return {
            "input_ids": made["ids"],
            "position_ids": made["positions"],
            "document_ids": made["documents"],
            "where": where,
            TARGETS: made["targets"].reshape(-1)[where],
        }
