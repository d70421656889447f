"""One small training loop for every objective: steps, verdicts, early stopping, checkpoints, exact resume.

Everything random follows from (seed, step), never from a generator's hidden state, so that a run that was
killed and resumed gives the same bits as one that was not. The loss of a step is the sum over all its micro-
batches divided by their count together, so that splitting a batch for memory changes nothing.
"""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mofang.core import stopping
from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.engine.arrays import Array
from mofang.fit.loop import deadline
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.checkpoint import read_checkpoint
from mofang.fit.loop.cursor import Cursor, Outcome
from mofang.fit.loop.diverged import keep_batch
from mofang.fit.loop.freezing import freezing, thaw
from mofang.fit.loop.journal import Journal, Meter, lasting, read_steps, speed
from mofang.fit.loop.learning import Adamw
from mofang.fit.loop.objective import Batch, Judged, Objective
from mofang.fit.loop.operations import Operations
from mofang.fit.loop.optimizers import Average, Steps, add_l1
from mofang.fit.loop.placement import Alone, Placement, below
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.precision import casting, peak_rate, resolved
from mofang.fit.loop.rows import touch_rows_only
from mofang.fit.loop.schedule import rate_at

__all__ = ["Cursor", "Loop", "Outcome", "Plan"]

MEASURED_STEPS, LEFT_SHARE = 8, 0.93  # of the time left: the last verdict comes on top
SEED_STRIDE = 1_000_003


class Loop:
    """Trains one network on one objective; ``scratch`` is a folder that survives a kill."""

    def __init__(
        self, network: nn.Module, objective: Objective, plan: Plan, scratch: Path, placement: Placement | None = None
    ) -> None:
        self.objective, self.plan, self.scratch = objective, plan, scratch
        self.placement = placement or Alone()
        self.device = self.placement.device
        self.bare, self.frozen = network, freezing(network, plan.freeze)
        if isinstance(plan.optimizer, Adamw | None) and not plan.l1 and self.placement.ranks == 1:
            touch_rows_only(network)
        self.network = self.placement.wrap(network)
        self.precision = resolved(plan.precision, network, self.device)
        self.batches = Batches(objective.lengths, plan.rows, plan.positions, plan.seed)
        self.optimizer = Steps(self.network, plan)
        self.cursor = Cursor(steps=plan.epochs * len(self._groups(0)))
        if plan.steps:
            self.cursor.steps = min(self.cursor.steps, plan.steps)
        self._planned = self.cursor.steps
        self.average = Average(self.placement.weights(self.network), plan.ema) if plan.ema else None
        self.best = self._weights()
        self.refused = 0
        self._final: Judged | None = None  # the verdict on the best weights, where there was only one
        self.resumed = self._resume()
        self.journal = Journal(scratch, self.cursor.step, plan.tensorboard, self.placement.is_first)
        self.meter = Meter(lambda: peak_rate(self.precision, self.device))
        self.operations = Operations(network)
        self._timed = self.cursor.step, self.cursor.elapsed_s
        self._began = time.monotonic() - self.cursor.elapsed_s
        self._saved = time.monotonic()

    def run(self, bar: Bar) -> Outcome:
        """Train to the end of the plan, to a limit or until validation stops improving."""
        bar.advance(self.cursor.step)
        try:
            with stopping.in_steps():
                while self.cursor.epoch < self.plan.epochs and not self.cursor.stopped:
                    self._epoch(bar)
        finally:
            self.journal.close()
        self.placement.put(self.network, self.best)
        self.network.eval()
        cursor, judged = self.cursor, self._final
        if judged is None:
            judged = self.objective.judge(self.network, self.device)  # float32, as an exported graph
        steps = read_steps(self.scratch)
        return Outcome(
            judged, cursor.curves, cursor.best_epoch, cursor.stopped or "finished", self.resumed, self.device.type,
            self.precision, self.plan.rows, self.refused, lasting(steps), speed(steps),
        )

    def _epoch(self, bar: Bar) -> None:
        groups, cursor = self._groups(self.cursor.epoch), self.cursor
        thaw(self.bare, self.frozen, cursor.epoch)
        self.network.train()
        while cursor.group < len(groups) and not self._over() and not cursor.stopped:
            self._step(groups[cursor.group])
            cursor.group += 1
            self._keep_to_time()
            bar.advance()
            bar.note(self._words())
            if self.plan.judge_steps and cursor.step % self.plan.judge_steps == 0:
                self._verdict(bar)
                self.network.train()
            self._checkpoint_when_due()
        last = bool(self._over()) or cursor.epoch + 1 == self.plan.epochs
        if (cursor.count and last) if self.plan.judge_steps else (last or not self._soon_over(len(groups))):
            self._verdict(bar)
        if self._over() and not cursor.stopped and cursor.epoch + 1 < self.plan.epochs:
            cursor.stopped = self._over()
        cursor.epoch, cursor.group = cursor.epoch + 1, 0
        self._checkpoint_when_due()

    def _verdict(self, bar: Bar) -> None:
        """Validate, remember the best weights, and decide whether to go on."""
        cursor = self.cursor
        only = cursor.best_epoch < 0 and bool(self.plan.seconds) and not self.plan.judge_steps and (
            bool(self._over()) or cursor.epoch + 1 == self.plan.epochs)  # one verdict is enough where time is short
        judged = self._judge("fp32" if only else self.precision)
        row = {
            "epoch": cursor.epoch + 1,
            "step": cursor.step,
            "rate": self._rate(),
            "loss": cursor.loss_sum / max(1.0, cursor.count),
            "validation_loss": judged.loss,
            "validation_score": judged.score,
            **judged.figures,
        }
        cursor.curves.append(row)
        self.journal.verdict(row)
        bar.note(f"loss {row['loss']:.3f} · {judged.score:.3f}")
        if cursor.take(judged, self.plan.patience, self.plan.improvement):
            self.best, self._final = self._weights(), judged if only else None
        if self.plan.target is not None and judged.score >= self.plan.target:
            cursor.stopped = "target reached"
        cursor.loss_sum, cursor.count = 0.0, 0.0
        self.meter.skip()

    def _step(self, group: list[Array]) -> None:
        plan, cursor = self.plan, self.cursor
        _seed(plan.seed * SEED_STRIDE + cursor.step, self.device)
        batches = [self._batch(self.placement.share(rows)) for rows in group]
        count = self.placement.total(sum(batch.count for batch in batches))
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in batches:
            with self.operations.counted(batch):
                with casting(self.precision, self.device):
                    loss = self.objective.loss(self.network, batch.to(self.device))
                (loss * (self.placement.ranks if batch.count else 0) / count).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() * bool(batch.count)
        lost = self.placement.total(float(total))
        if plan.l1:
            add_l1(self.network, plan.l1)
        norm = self.placement.clip(self.network, plan.clip_norm)
        if not (math.isfinite(lost) and math.isfinite(norm)):
            self._stop_diverged(group, batches)
        rate = self._rate()
        self.optimizer.step(rate)
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.placement.weights(self.network), cursor.step)
        cursor.loss_sum += lost
        cursor.count += count
        self._note(group, lost / count, rate, norm, count)
        cursor.step += 1

    def _batch(self, rows: Array) -> Batch:
        """These rows; a rank without any takes part with one that counts nothing."""
        cursor = self.cursor
        if len(rows):
            return self.objective.batch(rows, cursor.epoch, cursor.step)
        idle = self.objective.batch(self._groups(0)[0][0][:1], cursor.epoch, cursor.step)
        return Batch(idle.arrays, 0.0)

    def _note(self, group: list[Array], loss: float, rate: float, norm: float, count: float) -> None:
        positions = float(sum(int(self.batches.lengths[rows].sum()) for rows in group))
        self.meter.operations = self.operations.each(positions)
        self.journal.step(
            {"step": self.cursor.step, "epoch": self.cursor.epoch + 1, "loss": loss, "rate": rate, "gradient_norm": norm,
             "positions": positions, "targets": count, **self.meter.read(positions, count)}
        )

    def _words(self) -> str:
        row = self.journal.last
        return f"loss {self.cursor.loss_sum / max(1.0, self.cursor.count):.3f} · {row['positions_s']:,.0f} tokens/s"

    def _stop_diverged(self, group: list[Array], batches: list[Batch]) -> None:
        """Keep the batch beside the run and say which it was."""
        self.journal.flush()
        place, ids = keep_batch(self.scratch, self.cursor.step, group, batches, self.objective)
        told = {"step": self.cursor.step, "rate": self.plan.learning_rate, "records": ids, "folder": str(place)}
        raise MofangError("training-diverged", **told)

    def _rate(self) -> float:
        plan, cursor = self.plan, self.cursor
        return rate_at(cursor.step, cursor.steps, plan.learning_rate, plan.warm_up, plan.schedule)

    def _judge(self, precision: str) -> Judged:
        """The verdict on the weights as they are, or on their average where one is kept."""
        self.network.eval()
        if self.average is None:
            return self._verdict_of(precision)
        kept = {name: value.clone() for name, value in self.placement.weights(self.network).items()}
        self.placement.put(self.network, self.average.weights)
        judged = self._verdict_of(precision)
        self.placement.put(self.network, kept)
        return judged

    def _verdict_of(self, precision: str) -> Judged:
        with casting(precision, self.device):
            return self.objective.judge(self.network, self.device)

    def _keep_to_time(self) -> None:
        """Once the first steps are timed, shorten the schedule so that the rate reaches zero within the limit; look again
        after twice as many steps, because the first ones are slow and others may come to use the machine.
        """
        cursor, limit = self.cursor, self.plan.seconds
        cursor.elapsed_s = self.placement.total(time.monotonic() - self._began) / self.placement.ranks
        number = cursor.step // MEASURED_STEPS
        if not limit or cursor.step % MEASURED_STEPS or number & (number - 1) or cursor.step > 0.6 * cursor.steps:
            return
        steps, spent = cursor.step - self._timed[0], cursor.elapsed_s - self._timed[1]
        possible = cursor.step + int(LEFT_SHARE * (limit - cursor.elapsed_s) * steps / spent)
        cursor.steps = max(MEASURED_STEPS, min(self._planned, possible))
        self._timed = cursor.step, cursor.elapsed_s

    def _soon_over(self, groups: int) -> bool:
        """Whether a shortened plan ends within half an epoch: its last verdict then stands for this one, too."""
        return bool(self.plan.seconds) and self.cursor.steps - self.cursor.step < groups / 2

    def _over(self) -> str:
        """Why there are no more steps; "" while there are."""
        cursor, limit = self.cursor, self.plan.seconds
        if limit and cursor.step > 0 and (cursor.elapsed_s >= limit or cursor.step >= cursor.steps):
            return "time limit"
        return "step limit" if self.plan.steps and cursor.step >= cursor.steps else ""

    def _checkpoint_when_due(self) -> None:
        plan, cursor = self.plan, self.cursor
        late = self._agreed(deadline.is_past() and not cursor.stopped and cursor.epoch < plan.epochs)
        stop = self._agreed(stopping.asked() is not None)
        counted = bool(plan.checkpoint_steps) and cursor.step % plan.checkpoint_steps == 0
        if self._agreed(late or stop or counted or time.monotonic() - self._saved >= plan.checkpoint_s):
            self._save()
        if stop:  # another rank may have been asked a step earlier
            raise stopping.asked() or stopping.Stopped(signal.SIGTERM)
        if late:
            raise MofangError("time-is-up", step=cursor.step, steps=cursor.steps)

    def _agreed(self, wish: bool) -> bool:
        """Whether any rank wishes it."""
        return self.placement.total(float(wish)) > 0

    def _save(self) -> None:
        self.journal.flush()
        tensors = self.placement.state(self.network, self.optimizer)
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.weights.items()}
        self.placement.write(self.scratch, self.cursor.step, tensors, self.cursor.to_dict())
        self._saved = time.monotonic()
        self.meter.skip()

    def _resume(self) -> bool:
        found = read_checkpoint(self.scratch)
        if found is None:
            return False
        self.cursor, self.refused = Cursor.from_dict(found.state), found.refused
        self.placement.load(self.network, self.optimizer, found.tensors)
        self.best = {name: value.to(self.device) for name, value in below(found.tensors, "best/").items()}
        if self.average is not None:
            kept = below(found.tensors, "average/")
            self.average.weights = {name: value.to(self.device) for name, value in kept.items()}
        return True

    def _weights(self) -> dict[str, Tensor]:
        """A copy of the weights that count: their average where one is kept."""
        found = self.placement.weights(self.network) if self.average is None else self.average.weights
        return {name: value.detach().clone() for name, value in found.items()}

    def _groups(self, epoch: int) -> list[list[Array]]:
        """The batches of an epoch in groups: one group is one step."""
        batches = self.batches.epoch(epoch)
        size = self.plan.micro_batches or len(batches)
        return [batches[start : start + size] for start in range(0, len(batches), size)]


def _seed(seed: int, device: torch.device) -> None:
    """As ``torch.manual_seed``, which on a machine without an accelerator is half a millisecond of bookkeeping."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
