"""How a network learns, as settings that ``train`` and ``pretrain`` share: each field is a flag of both.

None leaves a choice to the family. This module holds no torch: it is imported with the stages.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mofang.core.stage import NotInKey, OnDisk, Settings
from mofang.core.variant import Variant
from mofang.fit.loop.plan import Plan

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Optimizer(Variant):
    """What a step does with the gradient. The learning rate is the family's, or ``pretrain``'s."""


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Optimizer):
    """Plain steps on the gradient of all rows at once: one step an epoch, so it needs many epochs."""

    tag: ClassVar[str] = "gd"


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """Stochastic gradient descent with momentum, after Nesterov where ``nesterov`` (Sutskever et al. 2013)."""

    tag: ClassVar[str] = "sgd"

    momentum: Share = 0.9
    nesterov: bool = True


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient."""

    tag: ClassVar[str] = "adam"

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8


@dataclass(frozen=True, kw_only=True)
class Adamw(Optimizer):
    """AdamW (Loshchilov and Hutter 2019): weight decay apart from the gradient."""

    tag: ClassVar[str] = "adamw"

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8


@dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    """AdaGrad (Duchi, Hazan and Singer 2011): rare features take larger steps."""

    tag: ClassVar[str] = "adagrad"

    epsilon: Positive = 1e-10


@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for hidden matrices, with AdamW for embeddings, heads and vectors.

    ``rate`` is the matrices' own learning rate, scaled as for an update of the size of AdamW's; 0 takes the family's.
    """

    tag: ClassVar[str] = "muon"

    rate: Amount = 0.0
    momentum: Share = 0.95
    nesterov: bool = True
    beta1: Share = 0.9
    beta2: Share = 0.95
    epsilon: Positive = 1e-8


class Schedule(Variant):
    """How the learning rate goes on after the warm-up, over the planned steps."""


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """Always the same rate."""

    tag: ClassVar[str] = "constant"


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Times ``factor`` at each of these shares of the steps."""

    tag: ClassVar[str] = "step"

    at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Falls by the same factor in every step, to ``last`` of the rate at the end."""

    tag: ClassVar[str] = "exponential"

    last: Annotated[float, Field(gt=0, le=1)] = 0.01


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine down to ``last`` of the rate (Loshchilov and Hutter 2017)."""

    tag: ClassVar[str] = "cosine"

    last: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Learning(Settings):
    """All settings of the loop; docs/train.md says what each does and when to use it."""

    optimizer: Optimizer = Adamw()
    schedule: Schedule = Cosine()
    warm_up: Share | None = None
    weight_decay: Amount | None = None
    l1: Amount = 0.0
    label_smoothing: Share = 0.0
    ema: Share = 0.0
    clip: Amount | None = None
    batch: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,6})?$")] = ""
    memory_mb: Count = 0
    accumulate: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    freeze: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(@[0-9]+)?$")], ...] = ()
    patience: Annotated[int, Field(ge=1)] | None = None
    target: float | None = None
    improvement: Amount = 0.0
    steps: Count = 0
    checkpoint_s: Annotated[Amount, NotInKey()] = 30.0
    checkpoint_steps: Annotated[Count, NotInKey()] = 0
    tensorboard: Annotated[str, OnDisk(), NotInKey()] = ""
    devices: Annotated[int, Field(ge=1, le=4096)] = 1
    placement: Literal["ddp", "fsdp", "tensor"] = "ddp"

    def plan(self, plan: Plan) -> Plan:
        """The plan of a family with what was chosen here over it; twice gives the same as once."""
        found = {name: getattr(self, name) for name in self.chosen if name in OWN}
        if self.clip is not None:
            found["clip_norm"] = self.clip
        if self.batch.isdigit() and int(self.batch) != plan.rows:
            found["rows"] = int(self.batch)
            found["positions"] = round(plan.positions * int(self.batch) / plan.rows)
        if self.accumulate > 1:
            found["micro_batches"] = self.accumulate
        if isinstance(self.optimizer, GradientDescent):
            found["micro_batches"] = 0
        if self.batch == "auto":
            found["fits_mb"] = self.memory_mb or -1
        return dataclasses.replace(plan, **found)

    @property
    def chosen(self) -> list[str]:
        """The settings that are not left at their defaults."""
        usual = Learning()
        return [one.name for one in dataclasses.fields(self) if getattr(self, one.name) != getattr(usual, one.name)]


OWN = ("optimizer", "schedule", "warm_up", "weight_decay", "l1", "label_smoothing", "ema", "precision", "freeze",
       "patience", "target", "improvement", "steps", "checkpoint_s", "checkpoint_steps", "tensorboard")
