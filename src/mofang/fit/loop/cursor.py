"""Where training stands, and what it came to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from mofang.fit.loop.objective import Judged


@dataclass
class Cursor:
    """Where training stands; with the tensors of a checkpoint it is all that a resumed run needs.

    ``epoch``, ``group`` and ``step`` are the place in the data, all counted from 0; ``idle`` counts the verdicts since
    the last that was better by enough, which was ``mark``.
    """

    epoch: int = 0
    group: int = 0
    step: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    loss_sum: float = 0.0
    count: float = 0.0
    best_score: float = -math.inf
    best_loss: float = math.inf
    best_epoch: int = -1
    mark: float = -math.inf
    idle: int = 0
    stopped: str = ""
    curves: list[dict[str, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, which has no infinities."""
        found = asdict(self)
        return {name: None if value in (math.inf, -math.inf) else value for name, value in found.items()}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Cursor:
        """What ``to_dict`` wrote."""
        return cls(**{name: value for name, value in given.items() if value is not None})

    def take(self, judged: Judged, patience: int, improvement: float) -> bool:
        """Weigh a verdict: whether it is the best so far; ``stopped`` says when enough were no better."""
        better = (judged.score, -judged.loss) > (self.best_score, -self.best_loss)
        if better:
            self.best_score, self.best_loss, self.best_epoch = judged.score, judged.loss, self.epoch
        if judged.score - self.mark >= improvement if improvement else better:
            self.mark, self.idle = judged.score, 0
        else:
            self.idle += 1
            if self.idle >= patience:
                self.stopped = "validation stopped improving"
        return better


@dataclass(frozen=True)
class Outcome:
    """What training came to: the verdict on the best weights (in the network already), and the way there.

    ``rows`` is the size of a batch, ``refused`` how many checkpoints were found altered when the run went on; ``steps`` are
    figures of steps that follow from the seed, ``speed`` those that this machine reached (journal.py).
    """

    judged: Judged
    curves: list[dict[str, float]]
    best_epoch: int
    stopped: str
    resumed: bool
    device: str = "cpu"
    precision: str = "fp32"
    rows: int = 0
    refused: int = 0
    steps: list[dict[str, float]] = field(default_factory=list)
    speed: dict[str, float] = field(default_factory=dict)
