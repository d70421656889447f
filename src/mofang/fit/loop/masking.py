"""In-domain pretraining before a task is learnt: an encoder first guesses hidden words of the task's own texts (Gururangan et
al. 2020, "Don't stop pretraining"), with the question that ``pretrain`` asks too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from mofang.core.canonical import write_durably
from mofang.engine.arrays import Array
from mofang.engine.encode import Record
from mofang.engine.encode.tokens import SPECIAL, TokenEncoder
from mofang.fit.family import Conditions
from mofang.fit.loop.arrays import encode_tokens
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.objective import Batch, Judged, tensors
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.start import fit_network, weights_file
from mofang.fit.networks.transformer import states_of
from mofang.fit.pretraining.asking import TARGETS, Special
from mofang.fit.pretraining.masked import Masked
from mofang.fit.pretraining.rows import Documents, Pieces
from mofang.fit.pretraining.words import Vocabulary

KEPT = "masked.safetensors"


class Guesser(nn.Module):
    """An encoder that says which word is hidden: its states against its own table of words."""

    def __init__(self, body: Any, words: int) -> None:
        super().__init__()
        self.body = body
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, where: Tensor, **arrays: Tensor) -> Tensor:
        """Logits [T, V] at the places ``where`` of [B * L]."""
        states = states_of(self.body(**arrays))
        chosen = states.reshape(-1, states.shape[-1])[where]
        return nn.functional.linear(chosen, self.body.embeddings.word_embeddings.weight, self.bias)


class Guessing:
    """Cross-entropy of the hidden words; the validation rows hide the same ones every time."""

    def __init__(self, train: Masked, validation: Masked, plan: Plan) -> None:
        self.train, self.validation, self.plan = train, validation, plan

    @property
    def lengths(self) -> Array:
        """Positions of every training row, int64 [N]."""
        return self.train.lengths

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The rows with words hidden anew in every epoch."""
        arrays = tensors(self.train.arrays(rows, epoch))
        return Batch(arrays, len(arrays[TARGETS]))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy summed over the hidden words."""
        arrays = dict(batch.arrays)
        targets = arrays.pop(TARGETS)
        return nn.functional.cross_entropy(network(**arrays).float(), targets, reduction="sum")

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """The mean loss on the validation rows; lower is better."""
        total, count = 0.0, 0
        with torch.inference_mode():
            for rows in Batches(self.validation.lengths, self.plan.rows, self.plan.positions).in_order():
                arrays = tensors(self.validation.arrays(rows, 0), device)
                targets = arrays.pop(TARGETS)
                total += float(nn.functional.cross_entropy(network(**arrays).float(), targets, reduction="sum"))
                count += len(targets)
        loss = total / max(1, count)
        return Judged(-loss, loss, {"masked_loss": loss}, {})


def guess_first(
    build: Callable[[], Any],
    encoder: TokenEncoder,
    texts: tuple[Sequence[Record], Sequence[Record]],
    plan: Plan,
    steps: int,
    conditions: Conditions,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The body's weights after so many steps of guessing hidden words, and what the model says about them.

    A time limit gives half of itself to this. Once done it is kept in the run's folder, so a resumed run does not begin again.
    """
    kept = conditions.scratch / KEPT
    seconds = conditions.seconds / 2
    train, validation = (_asked(encoder, records, plan.seed) for records in texts)
    rows_a_step = max(1, min(plan.rows, round(plan.positions / max(1.0, float(train.lengths.mean())))))
    epochs = max(1, -(-steps * rows_a_step // max(1, len(train.pieces))))
    told = {"masked_steps": steps, "masked_epochs": epochs}
    if kept.is_file():
        return load(kept.read_bytes()), told
    inner = replace(plan, epochs=epochs, steps=steps, seconds=seconds, class_weights=(), patience=epochs + 1)
    scratch = Path(conditions.scratch / "masked")
    scratch.mkdir(exist_ok=True)
    objective = Guessing(train, validation, inner)

    def guesser() -> nn.Module:
        return Guesser(build().body, encoder.size)

    network, outcome = fit_network(guesser, objective, inner, replace(conditions, scratch=scratch, seconds=seconds))
    body = network.body
    assert isinstance(body, nn.Module)
    data = weights_file(body)
    write_durably(kept, data)
    return load(data), told | {"masked_loss": round(outcome.judged.loss, 4)}


def _asked(encoder: TokenEncoder, records: Sequence[Record], seed: int) -> Masked:
    found = encode_tokens(encoder, records)
    documents = Documents(found.flat["input_ids"], found.offsets[:-1] + 1, found.offsets[1:] - 1)
    kept = documents.lengths > 0
    documents = Documents(documents.tokens, documents.starts[kept], documents.stops[kept])
    places = {name: encoder.tokenizer.token_to_id(name) or 0 for name in SPECIAL}
    special = Special(
        pad=encoder.padding_id, cls=places["[CLS]"], sep=places["[SEP]"], mask=places["[MASK]"], words=encoder.size,
        taken=tuple(places.values()),
    )
    return Masked(Pieces(documents, encoder.max_length), special, Vocabulary(encoder.tokenizer), seed)
