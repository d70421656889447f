"""One small training loop: AdamW, warm-up and cosine, clipped gradients, early stopping, exact resume.

Everything random follows from (seed, step), never from a generator's hidden state, so that a run that was
killed and resumed gives the same bits as one that was not. The loss of a step is the sum over all its micro-
batches divided by their count together, so that splitting a batch for memory changes nothing.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mofang.core import stopping
from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.engine.arrays import Array
from mofang.fit.loop import deadline
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.checkpoint import read_checkpoint, write_checkpoint
from mofang.fit.loop.objective import Judged, Objective

MEASURED_STEPS = 8
SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train.

    ``positions`` limits the padded positions of a batch, ``rows`` its rows; ``class_weights`` is what a row of each
    class counts in the loss (left out: all alike).
    """

    epochs: int
    learning_rate: float
    rows: int = 32
    positions: int = 0
    micro_batches: int = 1
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip_norm: float = 1.0
    patience: int = 3
    seed: int = 0
    seconds: float = 0.0
    checkpoint_s: float = 30.0
    class_weights: tuple[float, ...] = ()


@dataclass
class Cursor:
    """Where training stands; with the tensors of a checkpoint it is all that a resumed run needs."""

    epoch: int = 0
    group: int = 0
    step: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    epoch_s: float = 0.0
    loss_sum: float = 0.0
    count: float = 0.0
    best_score: float = -math.inf
    best_loss: float = math.inf
    best_epoch: int = -1
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


@dataclass(frozen=True)
class Outcome:
    """What training came to: the verdict on the best weights (in the network already), and the way there."""

    judged: Judged
    curves: list[dict[str, float]]
    best_epoch: int
    stopped: str
    resumed: bool
    device: str = "cpu"


class Loop:
    """Trains one network on one objective; ``scratch`` is a folder that survives a kill."""

    def __init__(self, network: nn.Module, objective: Objective, plan: Plan, scratch: Path) -> None:
        self.network, self.objective, self.plan, self.scratch = network, objective, plan, scratch
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(self.device)
        self.batches = Batches(objective.lengths, plan.rows, plan.positions, plan.seed)
        self.optimizer = _optimizer(network, plan)
        self.cursor = Cursor(steps=plan.epochs * len(self._groups(0)))
        self.best = self._weights()
        self.resumed = self._resume()
        self._began = time.monotonic() - self.cursor.elapsed_s
        self._saved = time.monotonic()

    def run(self, bar: Bar) -> Outcome:
        """Train to the end of the plan, to the time limit or until validation stops improving."""
        bar.advance(self.cursor.step)
        with stopping.in_steps():
            while self.cursor.epoch < self.plan.epochs and not self.cursor.stopped:
                self._epoch(bar)
        self.network.load_state_dict(self.best)
        judged, cursor = self._judge(), self.cursor
        ended = cursor.stopped or "finished"
        return Outcome(judged, cursor.curves, cursor.best_epoch, ended, self.resumed, self.device.type)

    def _epoch(self, bar: Bar) -> None:
        groups, cursor = self._groups(self.cursor.epoch), self.cursor
        began = time.monotonic() - cursor.epoch_s
        self.network.train()
        while cursor.group < len(groups) and not self._out_of_time():
            self._step(groups[cursor.group])
            cursor.group += 1
            cursor.epoch_s = time.monotonic() - began
            self._keep_to_time()
            bar.advance()
            bar.note(f"loss {cursor.loss_sum / max(1.0, cursor.count):.3f}")
            self._checkpoint_when_due()
        self._close_epoch(bar)

    def _close_epoch(self, bar: Bar) -> None:
        """Validate, remember the best weights, and decide whether to go on."""
        cursor = self.cursor
        judged = self._judge()
        score, loss = judged.score, judged.loss
        cursor.curves.append(
            {
                "epoch": cursor.epoch + 1,
                "step": cursor.step,
                "rate": self._rate(),
                "loss": cursor.loss_sum / max(1.0, cursor.count),
                "validation_loss": loss,
                "validation_score": score,
                **judged.figures,
            }
        )
        bar.note(f"loss {cursor.curves[-1]['loss']:.3f} · {score:.3f}")
        if (score, -loss) > (cursor.best_score, -cursor.best_loss):
            cursor.best_score, cursor.best_loss, cursor.best_epoch = score, loss, cursor.epoch
            self.best = self._weights()
        elif cursor.epoch - cursor.best_epoch >= self.plan.patience:
            cursor.stopped = "validation stopped improving"
        if self._out_of_time() and cursor.epoch + 1 < self.plan.epochs:
            cursor.stopped = "time limit"
        cursor.epoch += 1
        cursor.group, cursor.loss_sum, cursor.count, cursor.epoch_s = 0, 0.0, 0.0, 0.0
        self._checkpoint_when_due()

    def _step(self, group: list[Array]) -> None:
        plan, cursor = self.plan, self.cursor
        torch.manual_seed(plan.seed * SEED_STRIDE + cursor.step)
        batches = [self.objective.batch(rows, cursor.epoch, cursor.step) for rows in group]
        count = sum(batch.count for batch in batches)
        for batch in batches:
            loss = self.objective.loss(self.network, batch.to(self.device))
            (loss / count).backward()  # type: ignore[no-untyped-call]
            cursor.loss_sum += float(loss.detach())
        cursor.count += count
        if not math.isfinite(cursor.loss_sum):
            raise MofangError("training-diverged", step=cursor.step, rate=plan.learning_rate)
        nn.utils.clip_grad_norm_(self.network.parameters(), plan.clip_norm)
        for settings in self.optimizer.param_groups:
            settings["lr"] = self._rate()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        cursor.step += 1

    def _rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero over the planned steps."""
        plan, cursor = self.plan, self.cursor
        warm = max(1.0, plan.warm_up * cursor.steps)
        if cursor.step < warm:
            return plan.learning_rate * (cursor.step + 1) / (warm + 1)
        done = min(1.0, (cursor.step - warm) / max(1.0, cursor.steps - warm))
        return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _judge(self) -> Judged:
        self.network.eval()
        return self.objective.judge(self.network, self.device)

    def _keep_to_time(self) -> None:
        """Once the first steps are timed, shorten the schedule so that the rate reaches zero within the
        limit.
        """
        cursor, limit = self.cursor, self.plan.seconds
        cursor.elapsed_s = time.monotonic() - self._began
        if limit and cursor.step == MEASURED_STEPS:
            possible = int(0.9 * limit / (cursor.elapsed_s / MEASURED_STEPS))
            cursor.steps = max(MEASURED_STEPS, min(cursor.steps, possible))

    def _out_of_time(self) -> bool:
        cursor, limit = self.cursor, self.plan.seconds
        return bool(limit) and cursor.step > 0 and (cursor.elapsed_s >= limit or cursor.step >= cursor.steps)

    def _checkpoint_when_due(self) -> None:
        late = deadline.is_past() and not self.cursor.stopped and self.cursor.epoch < self.plan.epochs
        stop = stopping.asked()
        if late or stop or time.monotonic() - self._saved >= self.plan.checkpoint_s:
            self._save()
        if stop:
            raise stop
        if late:
            raise MofangError("time-is-up", step=self.cursor.step, steps=self.cursor.steps)

    def _save(self) -> None:
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for place, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{place}/{name}": value for name, value in values.items()}
        write_checkpoint(self.scratch, self.cursor.step, tensors, self.cursor.to_dict())
        self._saved = time.monotonic()

    def _resume(self) -> bool:
        found = read_checkpoint(self.scratch)
        if found is None:
            return False
        tensors, state = found
        self.cursor = Cursor.from_dict(state)
        self.network.load_state_dict(_below(tensors, "network/"))
        self.best = {name: value.to(self.device) for name, value in _below(tensors, "best/").items()}
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimizer/").items():
            place, _, kind = name.partition("/")
            states.setdefault(int(place), {})[kind] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": states, "param_groups": whole["param_groups"]})
        return True

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _groups(self, epoch: int) -> list[list[Array]]:
        """The batches of an epoch in groups: one group is one step."""
        batches, size = self.batches.epoch(epoch), self.plan.micro_batches
        return [batches[start : start + size] for start in range(0, len(batches), size)]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer(network: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); biases and normalisation weights are not decayed."""
    trained = [value for value in network.parameters() if value.requires_grad]
    decayed = [value for value in trained if value.ndim > 1]
    plain = [value for value in trained if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=plan.learning_rate, fused=True
    )
