"""Rows of answers: what every family whose network gives [B, K] for rows of texts is taught, whatever the task.

One label a row is ``Classes``; here are several labels, numbers, a teacher's shares of each class, records cut into windows,
and unlabelled texts whose answers should not hang on dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder, Record
from mofang.engine.encode.ngrams import NgramEncoder
from mofang.engine.encode.tokens import TokenEncoder
from mofang.engine.encode.windows import WindowEncoder
from mofang.fit.family import Conditions, Fitted
from mofang.fit.loop.arrays import Encoded, encode_ngrams, encode_tokens, ragged_tokens
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.classification import Augment, Renew, fit_classes, weights_of
from mofang.fit.loop.objective import Batch, Judged, tensors
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.start import fit_network, notes_of, weights_files
from mofang.fit.material import Material
from mofang.fit.scale import Scale
from mofang.fit.verdict import fitted_rows

WANTED, BESIDE = "wanted", "beside/"
Gather = Callable[[Array], Array]


class Rowwise:
    """The loss of outputs [B, K] = ``network(**arrays)`` against shares of classes, several labels, or a scaled number.

    ``wanted`` float32 [N, K] belongs to the training rows; ``gather`` makes one answer for each validation record out of the
    rows that it was cut into. ``beside`` are unlabelled rows with the weight of their part: two answers to the same row, under
    other dropout, should agree (Liang et al. 2021, R-Drop).
    """

    def __init__(
        self,
        train: tuple[Encoded, Array],
        validation: tuple[Encoded, Any],
        plan: Plan,
        material: Material,
        scale: Scale,
        *,
        gather: Gather | None = None,
        renew: Renew | None = None,
        augment: Augment | None = None,
        beside: tuple[Encoded, float] | None = None,
    ) -> None:
        self.train, self.wanted = train
        self.validation, self.truth = validation
        self.plan, self.material, self.scale = plan, material, scale
        self.gather, self.renew, self.augment, self.beside = gather, renew, augment, beside
        self.weights = torch.tensor(plan.class_weights) if plan.class_weights else None
        self.smooths = scale.end != "identity"

    @property
    def lengths(self) -> Array:
        """Positions of every training row, int64 [N]."""
        return self.train.lengths

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The rows' arrays and what is wanted of them, and as many unlabelled rows of this step beside them."""
        arrays = tensors(self.renew(rows, epoch) if self.renew else self.train.batch(rows))
        if self.augment is not None:
            arrays = self.augment(arrays, torch.default_generator)
        arrays[WANTED] = torch.from_numpy(self.wanted[rows])
        if self.beside is not None:
            unlabelled = self.beside[0]
            drawn = np.random.default_rng((self.plan.seed, epoch, step)).integers(0, len(unlabelled.lengths), len(rows))
            arrays |= {BESIDE + name: value for name, value in tensors(unlabelled.batch(drawn)).items()}
        return Batch(arrays, len(rows))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss summed over the rows, and the weighted one of the unlabelled rows beside them."""
        arrays = dict(batch.arrays)
        wanted = arrays.pop(WANTED)
        others = {name.removeprefix(BESIDE): arrays.pop(name) for name in list(arrays) if name.startswith(BESIDE)}
        total = self._loss(network(**arrays).float(), wanted)
        if self.beside is not None and others:
            once, twice = network(**others).float(), network(**others).float()
            total = total + self.beside[1] * self._apart(once, twice)
        return total

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """Answers on the validation records, the headline metric and the mean loss."""
        rows = self.scale.back(self.answers(network, device))
        answers = rows if self.gather is None else self.gather(rows)
        score = self.material.score(answers, self.truth)
        return Judged(score, self.scale.loss(answers, self.truth), {}, {"answers": answers, "rows": rows})

    def answers(self, network: nn.Module, device: torch.device) -> Array:
        """What the network gives for the validation rows in their order, float32 [N, K]."""
        def ask(rows: Array) -> Array:
            outputs = network(**tensors(self.validation.batch(rows), device)).float()
            return np.asarray(self._ended(outputs).cpu().numpy())

        with torch.inference_mode():
            found = Batches(self.validation.lengths, 4 * self.plan.rows, 4 * self.plan.positions).asked(ask)
        return np.zeros((0, self.scale.columns), np.float32) if found is None else found

    def _loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        if self.scale.end == "identity":
            return nn.functional.mse_loss(outputs, wanted, reduction="sum")
        if share := self.plan.label_smoothing:
            wanted = wanted * (1 - share) + share / (2 if self.scale.end == "sigmoid" else wanted.shape[1])
        if self.scale.end == "sigmoid":
            each = nn.functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
            return each.mean(dim=1).sum()
        weights = 1.0 if self.weights is None else self.weights.to(wanted.device)
        return -(torch.log_softmax(outputs, dim=1) * wanted * weights).sum()

    def _ended(self, outputs: Tensor) -> Tensor:
        if self.scale.end == "identity":
            return outputs
        return torch.sigmoid(outputs) if self.scale.end == "sigmoid" else torch.softmax(outputs, dim=1)

    def _apart(self, once: Tensor, twice: Tensor) -> Tensor:
        """How far two answers are from each other: the symmetric Kullback-Leibler divergence, or the squared difference."""
        if self.scale.end == "identity":
            return nn.functional.mse_loss(once, twice, reduction="sum")
        if self.scale.end == "sigmoid":
            return ((torch.sigmoid(once) - torch.sigmoid(twice)) * (once - twice)).mean(dim=1).sum() / 2
        difference = torch.log_softmax(once, dim=1) - torch.log_softmax(twice, dim=1)
        return ((torch.softmax(once, dim=1) - torch.softmax(twice, dim=1)) * difference).sum() / 2


def fit_rows(
    build: Callable[[], nn.Module],
    encoder: Encoder,
    encoded: tuple[Encoded, Encoded],
    material: Material,
    plan: Plan,
    conditions: Conditions,
    architecture: dict[str, Any],
    augment: Augment | None = None,
) -> Fitted:
    """Teach the network that ``build`` makes the material's targets."""
    train, validation = encoded
    plain = material.target == "class" and material.train.soft is None and not (conditions.unlabelled and conditions.agree)
    if plain and not isinstance(encoder, WindowEncoder):
        fitted = fit_classes(build, encoder, encoded, material, plan, conditions, architecture, augment)
        return replace(fitted, notes=fitted.notes | cut_note(encoder, train))
    plan, scale = conditions.learning.plan(plan), Scale.of(material)
    wanted, gather = scale.matrix(material.train), None
    if isinstance(encoder, WindowEncoder):
        wanted = wanted[encoder.owners(material.train.records)]
        gather = partial(encoder.merged, owners=encoder.owners(material.validation.records))
    renew = None
    if conditions.variation is not None and gather is None:
        from mofang.fit.loop.renewing import Renewal

        renew = Renewal(conditions.variation, encoder, train, material, plan.seed).batch
    beside = None
    if conditions.unlabelled and conditions.agree:
        beside = (encode_texts(encoder, conditions.unlabelled), conditions.agree)
    objective = Rowwise(
        (train, wanted), (validation, material.validation.targets), plan, material, scale,
        gather=gather, renew=renew, augment=augment, beside=beside,
    )
    network, outcome = fit_network(build, objective, plan, conditions)
    said, notes = outcome.judged.outputs, notes_of(network, outcome) | cut_note(encoder, train)
    fitted = fitted_rows(
        encoder, weights_files(network), architecture | scale.to_dict(), said["answers"], material, outcome.curves,
        notes, said["rows"],
    )
    return replace(fitted, steps=outcome.steps, measures=outcome.speed)


def encode_texts(encoder: Encoder, records: Sequence[Record]) -> Encoded:
    """Records as rows ready for batching."""
    if isinstance(encoder, NgramEncoder):
        return encode_ngrams(encoder, records)
    if isinstance(encoder, WindowEncoder):
        rows = encoder.rows(records)[0]
        return ragged_tokens(rows, encoder.tokens.padding_id)
    assert isinstance(encoder, TokenEncoder), encoder.name
    return encode_tokens(encoder, records)


def windowed(encoder: TokenEncoder, windows: int, overlap: int, over: str) -> TokenEncoder | WindowEncoder:
    """The encoder itself for one window, which cuts a longer text off; else one that cuts it into windows."""
    if windows == 1:
        return encoder
    if overlap > encoder.max_length // 2:
        raise MofangError("overlap-too-large", overlap=overlap, length=encoder.max_length, most=encoder.max_length // 2)
    return WindowEncoder(encoder, windows, overlap, over)


def cut_note(encoder: Encoder, train: Encoded) -> dict[str, int]:
    """How many training texts fill all that the encoder reads of one, and so are probably cut."""
    if isinstance(encoder, TokenEncoder):
        return {"cut_texts": int((train.lengths >= encoder.max_length).sum())}
    return {}


def plan_of(material: Material, conditions: Conditions, epochs: int, learning_rate: float, *, positions: int, rows: int = 64,
            patience: int = 2, balance: bool = False) -> Plan:
    """The plan of a family that learns rows: what the run gives, and the usual patience."""
    return Plan(epochs, learning_rate, rows=rows, positions=positions, patience=patience, seed=conditions.seed,
                seconds=conditions.seconds, class_weights=balance_of(material, balance))


def balance_of(material: Material, balance: bool) -> tuple[float, ...]:
    """What each class counts in the loss, where rows have one class each; () otherwise."""
    return weights_of(material, balance) if material.target == "class" else ()


def finished_graph(network: nn.Module, sample: Arrays, architecture: Mapping[str, Any]) -> bytes:
    """The network as ONNX with the end and the scale that its architecture names."""
    from mofang.fit.networks.graph import network_graph
    from mofang.fit.scale import ENDS

    end = ENDS[architecture.get("target", "class")]
    return network_graph(network, sample, end, architecture.get("centre", 0.0), architecture.get("spread", 1.0))
