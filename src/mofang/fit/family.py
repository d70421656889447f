"""A family is one way to learn: its settings are a frozen dataclass, its work is to fit and to draw its
graph.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mofang.core.progress import Bar
from mofang.core.variant import Variant
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record
from mofang.fit.loop.learning import Learning
from mofang.fit.material import Material
from mofang.fit.size import Size

Progress = Callable[..., AbstractContextManager[Bar]]
Curves = list[dict[str, float]]


@dataclass(frozen=True)
class Variation:
    """Variants of training rows to make in every epoch: which kinds, and how strong."""

    kinds: tuple[str, ...]
    strength: float


@dataclass(frozen=True)
class Conditions:
    """What a fit may use: its seed, a limit in seconds (0: none), a folder that survives a kill, a progress
    bar, the variants of training rows that it should make, and the folder of a base to start from.

    ``unlabelled`` are records without targets, ``agree`` how much it counts that two answers to one of them are alike,
    and ``learning`` the settings of the loop.
    """

    seed: int
    seconds: float
    scratch: Path
    progress: Progress
    variation: Variation | None = None
    base: Path | None = None
    unlabelled: Sequence[Record] = ()
    agree: float = 0.0
    learning: Learning = field(default_factory=Learning)


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    ``weights`` are the files that hold it, ``architecture`` what besides the settings is needed to build it
    again, and ``sample`` the encoded first few validation rows, on which an exported graph must give ``outputs``, by
    name. One of classes gives ``probabilities``, float32 [N, K] of all validation rows, instead; any other one says its
    ``score`` on the validation rows, higher being better. ``steps`` and ``measures`` come from the loop's outcome:
    figures of single steps that follow from the seed, and the speed that this machine reached.
    """

    encoder: Encoder
    weights: dict[str, bytes]
    architecture: dict[str, Any]
    probabilities: Array | None
    sample: Arrays
    curves: Curves = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    base_model: str = ""
    outputs: Arrays = field(default_factory=dict)
    score: float | None = None
    steps: Curves = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)

    def sampled(self) -> Arrays:
        """What the model itself gives for the sample rows, by name."""
        if self.outputs:
            return self.outputs
        assert self.probabilities is not None, "a model of no classes says what it gives for the sample"
        return {"probabilities": self.probabilities[: len(next(iter(self.sample.values())))]}


@dataclass(frozen=True)
class Estimate:
    """Seconds that a fit is expected to take: a fixed part, and work that the machine does
    at its own rate.
    """

    fixed_s: float
    operations: float = 0.0

    def seconds(self, rate: float) -> float:
        """With ``rate`` floating-point operations per second."""
        return self.fixed_s + self.operations / rate


class Family(Variant):
    """The choice of how to learn. Each kind is one module of ``families/``."""

    tasks: ClassVar[tuple[str, ...]] = ()
    loops: ClassVar[bool] = True  # whether the training loop fits it, so that the settings of learning reach it
    shortens: ClassVar[bool] = False  # whether ``select`` may try it on a part of the rows first, and shorten it to a budget
    starts_ahead: ClassVar[bool] = False  # whether it starts from weights that were pretrained elsewhere
    learns_shares: ClassVar[bool] = False  # whether it can learn a teacher's shares of each class
    varies: ClassVar[bool] = False  # whether it learns in epochs, each of which may see other variants
    takes_base: ClassVar[bool] = False  # whether it can start from a base that was pretrained here

    @abstractmethod
    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Learn from the training rows; the validation rows choose and stop."""

    @abstractmethod
    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The fitted model as ONNX: the encoder's arrays in, "probabilities" float32 [B, K] (or the outputs of another
        task by their names) out, batch axis free.
        """

    def answers(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any],
                sample: Arrays) -> Callable[[Arrays], Arrays] | None:
        """What gives for arrays what the fitted model itself gives, apart from its graph; None where the network that ``graph``
        exports is the model, or where there is no other form."""
        return None

    def base_digest(self) -> str:
        """The content of the model that this one starts from; "" where it starts from nothing."""
        return ""

    @abstractmethod
    def estimate(self, size: Size) -> Estimate:
        """How long ``fit`` will take."""


def passes(chosen: int, rows: int, batch: int, steps: int, least: int) -> int:
    """How often to go through the data: as chosen, or (0) for about so many steps, ``least`` to ten times
    as often.
    """
    return chosen or max(least, min(10 * least, math.ceil(steps * batch / max(1, rows))))
