"""One small training loop: AdamW, warm-up and cosine, clipped gradients, early stopping, exact resume.

Everything random follows from (seed, step), never from a generator's hidden state, so that a run that was
killed and resumed gives the same bits as one that was not. The loss of a step is the sum over all its micro-
batches divided by their count together, so that splitting a batch for memory changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mofang.core import stopping
from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.engine.arrays import Array, Arrays
from mofang.fit.loop import deadline
from mofang.fit.loop.arrays import Encoded
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.checkpoint import read_checkpoint, write_checkpoint

MEASURED_STEPS = 8
SEED_STRIDE = 1_000_003
Score = Callable[[Array, Array], float]
Renew = Callable[[Array, int], Arrays]
Augment = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]


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
    rows: int = 0
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
    """A trained network's best weights (in the network already), its validation probabilities and its
    curves.
    """

    probabilities: Array
    curves: list[dict[str, float]]
    best_epoch: int
    stopped: str
    resumed: bool


class Loop:
    """Trains one network on encoded rows; ``network(**arrays)`` gives logits [B, K]."""

    def __init__(
        self,
        network: nn.Module,
        train: tuple[Encoded, Array],
        validation: tuple[Encoded, Array],
        plan: Plan,
        score: Score,
        scratch: Path,
        augment: Augment | None = None,
        renew: Renew | None = None,
    ) -> None:
        self.network, self.plan, self.score, self.scratch, self.augment = (
            network,
            plan,
            score,
            scratch,
            augment,
        )
        self.renew = renew
        self.train, self.train_labels = train
        self.validation, self.validation_labels = validation
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(self.device)
        self.weights = torch.tensor(plan.class_weights, device=self.device) if plan.class_weights else None
        self.batches = Batches(self.train.lengths, plan.rows, plan.positions, plan.seed)
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
        probabilities, _ = self._validate()
        cursor = self.cursor
        return Outcome(
            probabilities, cursor.curves, cursor.best_epoch, cursor.stopped or "finished", self.resumed
        )

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
            bar.note(f"loss {cursor.loss_sum / max(1, cursor.rows):.3f}")
            self._checkpoint_when_due()
        self._close_epoch(bar)

    def _close_epoch(self, bar: Bar) -> None:
        """Validate, remember the best weights, and decide whether to go on."""
        cursor = self.cursor
        probabilities, loss = self._validate()
        score = self.score(probabilities, self.validation_labels)
        cursor.curves.append(
            {
                "epoch": cursor.epoch + 1,
                "step": cursor.step,
                "rate": self._rate(),
                "loss": cursor.loss_sum / max(1, cursor.rows),
                "validation_loss": loss,
                "validation_score": score,
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
        cursor.group, cursor.loss_sum, cursor.rows, cursor.epoch_s = 0, 0.0, 0, 0.0
        self._checkpoint_when_due()

    def _step(self, group: list[Array]) -> None:
        plan, cursor = self.plan, self.cursor
        torch.manual_seed(plan.seed * SEED_STRIDE + cursor.step)
        count = sum(len(rows) for rows in group)
        for rows in group:
            labels = torch.from_numpy(self.train_labels[rows]).to(self.device)
            batch = self.renew(rows, cursor.epoch) if self.renew else self.train.batch(rows)
            arrays = _tensors(batch, self.device)
            if self.augment is not None:
                arrays = self.augment(arrays, torch.default_generator)
            logits = self.network(**arrays)
            loss = nn.functional.cross_entropy(logits, labels, self.weights, reduction="sum")
            (loss / count).backward()  # type: ignore[no-untyped-call]
            cursor.loss_sum += float(loss.detach())
        cursor.rows += count
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

    def _validate(self) -> tuple[Array, float]:
        """Probabilities [N, K] of the validation rows and their mean loss."""
        probabilities = predict(self.network, self.validation, self.plan, self.device)
        labels = self.validation_labels
        if not len(labels):
            return probabilities, 0.0
        chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        return probabilities, float(-np.log(np.maximum(chosen, 1e-12)).mean())

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


def predict(network: nn.Module, rows: Encoded, plan: Plan, device: torch.device | None = None) -> Array:
    """Probabilities float32 [N, K] in the order of the rows."""
    place = device or torch.device("cpu")
    network.eval()
    order, found = [], []
    with torch.inference_mode():
        for batch in Batches(rows.lengths, 4 * plan.rows, 4 * plan.positions).in_order():
            logits = network(**_tensors(rows.batch(batch), place))
            found.append(torch.softmax(logits.float(), dim=1).cpu().numpy())
            order.append(batch)
    if not found:
        return np.zeros((0, 0), dtype=np.float32)
    stacked = np.concatenate(found)
    made = np.empty_like(stacked)
    made[np.concatenate(order)] = stacked
    return made


def _tensors(arrays: Arrays, device: torch.device) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}


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
