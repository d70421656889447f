"""One label for each row: the objective of every family that ends in logits, and the model that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder
from mofang.fit.encoders import encode_sample
from mofang.fit.family import Conditions, Fitted
from mofang.fit.loop.arrays import Encoded
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.objective import Batch, Judged, tensors
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.start import fit_network, notes_of, weights_files
from mofang.fit.material import Material

Score = Callable[[Array, Array], float]
Renew = Callable[[Array, int], Arrays]
Augment = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]
LABELS = "labels"


class Classes:
    """Cross-entropy of logits [B, K] = ``network(**arrays)`` against one label a row.

    ``train`` and ``validation`` are encoded rows with their labels int64 [N]. ``renew`` gives other arrays for the same
    rows in every epoch, ``augment`` changes a batch's tensors a little; validation rows are never changed.
    """

    smooths = True

    def __init__(
        self,
        train: tuple[Encoded, Array],
        validation: tuple[Encoded, Array],
        plan: Plan,
        score: Score,
        augment: Augment | None = None,
        renew: Renew | None = None,
    ) -> None:
        self.train, self.train_labels = train
        self.validation, self.validation_labels = validation
        self.plan, self.score, self.augment, self.renew = plan, score, augment, renew
        self.weights = torch.tensor(plan.class_weights) if plan.class_weights else None
        self.named: list[str] = []  # the training rows' record ids, where they are known

    @property
    def lengths(self) -> Array:
        """Positions of every training row, int64 [N]."""
        return self.train.lengths

    def ids(self, rows: Array) -> list[str]:
        """The records behind these rows."""
        return [self.named[row] if self.named else f"row {row}" for row in rows.tolist()]

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The rows' arrays and labels, varied as this epoch varies them."""
        arrays = tensors(self.renew(rows, epoch) if self.renew else self.train.batch(rows))
        if self.augment is not None:
            arrays = self.augment(arrays, torch.default_generator)
        return Batch({**arrays, LABELS: torch.from_numpy(self.train_labels[rows])}, len(rows))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy summed over the rows, each counting as its class does."""
        arrays = dict(batch.arrays)
        labels = arrays.pop(LABELS)
        weights = None if self.weights is None else self.weights.to(labels.device)
        return nn.functional.cross_entropy(network(**arrays).float(), labels, weights, reduction="sum",
                                           label_smoothing=self.plan.label_smoothing)

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """Probabilities float32 [N, K] of the validation rows, their headline metric and mean loss."""
        probabilities = predict(network, self.validation, self.plan, device)
        labels, loss = self.validation_labels, 0.0
        if len(labels):
            chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
            loss = float(-np.log(np.maximum(chosen, 1e-12)).mean())
        return Judged(self.score(probabilities, labels), loss, {}, {"probabilities": probabilities})


def predict(network: nn.Module, rows: Encoded, plan: Plan, device: torch.device | None = None) -> Array:
    """Probabilities float32 [N, K] in the order of the rows."""
    place = device or torch.device("cpu")
    network.eval()

    def ask(batch: Array) -> Array:
        return np.asarray(torch.softmax(network(**tensors(rows.batch(batch), place)).float(), dim=1).cpu().numpy())

    with torch.inference_mode():
        found = Batches(rows.lengths, 4 * plan.rows, 4 * plan.positions).asked(ask)
    return np.zeros((0, 0), dtype=np.float32) if found is None else found


def fit_classes(
    build: Callable[[], nn.Module],
    encoder: Encoder,
    encoded: tuple[Encoded, Encoded],
    material: Material,
    plan: Plan,
    conditions: Conditions,
    architecture: dict[str, Any],
    augment: Augment | None = None,
) -> Fitted:
    """Teach the network that ``build`` makes the material's labels."""
    plan = conditions.learning.plan(plan)
    train, validation = encoded
    renew = None
    if conditions.variation is not None:
        from mofang.fit.loop.renewing import Renewal

        renew = Renewal(conditions.variation, encoder, train, material, plan.seed).batch
    labelled = (train, material.train.labels), (validation, material.validation.labels)
    objective = Classes(*labelled, plan, material.score, augment, renew)
    objective.named = material.train.ids
    network, outcome = fit_network(build, objective, plan, conditions)
    return Fitted(
        encoder,
        weights_files(network),
        architecture,
        outcome.judged.outputs["probabilities"],
        encode_sample(encoder, material.validation.records),
        outcome.curves,
        notes_of(network, outcome),
        steps=outcome.steps,
        measures=outcome.speed,
    )


def weights_of(material: Material, balance: bool) -> tuple[float, ...]:
    """What each class counts in the loss where a family balances them; () where all rows count alike."""
    return tuple(map(float, material.class_weights)) if balance else ()
