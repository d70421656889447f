"""The contrastive objective: each text must find its own positive among those of the batch, and the other way round."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mofang.engine.arrays import Array
from mofang.engine.decode.positives import OUTPUT, Positive, ranks, read_positive
from mofang.engine.encode import Record
from mofang.fit.loop.arrays import Encoded
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.objective import Batch, Judged, tensors

ANCHOR, POSITIVE, NEGATIVE = "anchor", "positive", "negative"
JUDGED_ROWS, JUDGED_POSITIONS = 256, 16_384
SEED_NEGATIVES = 7_919
Encode = Callable[[Sequence[Record]], Encoded]


@dataclass(frozen=True)
class Pairs:
    """Encoded rows: texts, what belongs to each, and hard negatives with the row that each belongs to.

    ``own`` and ``theirs`` are numbers of a text's and a positive's words, int64 [N]: equal words are never pushed apart.
    """

    anchors: Encoded
    positives: Encoded
    negatives: Encoded | None
    begins: Array
    own: Array
    theirs: Array

    def __len__(self) -> int:
        return len(self.own)


def read_pairs(records: Sequence[Record], targets: Sequence[str], column: str, encode: Encode) -> Pairs:
    """Encode rows and their positives; a positive stands in the request's own column, as it would when it is asked."""
    found: list[Positive] = [read_positive(one) for one in targets]
    beside: list[Record] = [{column: text} for one in found for text in one.negatives]
    begins = np.cumsum([0, *(len(one.negatives) for one in found)]).astype(np.int64)
    texts = [str(record.get(column) or "") for record in records]
    return Pairs(
        encode(records),
        encode([{column: one.text} for one in found]),
        encode(beside) if beside else None,
        begins,
        _numbers(texts),
        _numbers([one.text for one in found]),
    )


class Contrast:
    """InfoNCE (van den Oord et al. 2018) in both directions with the other rows of a batch as negatives.

    ``dims`` are shorter lengths at which the vectors shall be useful too (Kusupati et al. 2022): the loss is the mean
    over all of them. A micro-batch sees its own rows only, so larger batches make a harder and a better task.
    """

    def __init__(
        self, train: Pairs, validation: Pairs, *, temperature: float, dims: Sequence[int] = (), seed: int = 0
    ) -> None:
        self.train, self.validation = train, validation
        self.temperature, self.dims, self.seed = temperature, tuple(dims), seed

    @property
    def lengths(self) -> Array:
        """Positions of a row: its text's and its positive's."""
        return np.maximum(self.train.anchors.lengths, self.train.positives.lengths)

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """The rows' texts and positives, one hard negative of each row that has any, and which words are equal."""
        pairs = self.train
        arrays = {f"{ANCHOR}/{name}": value for name, value in tensors(pairs.anchors.batch(rows)).items()}
        arrays |= {f"{POSITIVE}/{name}": value for name, value in tensors(pairs.positives.batch(rows)).items()}
        if pairs.negatives is not None:
            chosen = self._negatives(rows, epoch)
            if len(chosen):
                arrays |= {f"{NEGATIVE}/{name}": value for name, value in tensors(pairs.negatives.batch(chosen)).items()}
        own, theirs = torch.from_numpy(pairs.own[rows]), torch.from_numpy(pairs.theirs[rows])
        same = (own[:, None] == own[None]) | (theirs[:, None] == theirs[None]) | (own[:, None] == theirs[None])
        same.fill_diagonal_(False)
        return Batch({**arrays, "same": same}, len(rows))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss summed over the rows, both directions counting half, the mean over all lengths of vectors."""
        anchors, positives = (network(**_below(batch.arrays, name)) for name in (ANCHOR, POSITIVE))
        beside = _below(batch.arrays, NEGATIVE)
        negatives = network(**beside) if beside else None
        losses = []
        for dims in (anchors.shape[1], *self.dims):
            cut = [_cut(one, dims) for one in (anchors, positives)]
            hard = None if negatives is None else _cut(negatives, dims)
            losses.append(self._both_ways(cut[0], cut[1], hard, batch.arrays["same"]))
        return torch.stack(losses).mean()

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """Mean reciprocal rank of the right text among all distinct ones of the validation rows."""
        pairs = self.validation
        queries, texts = (embed(network, one, device) for one in (pairs.anchors, pairs.positives))
        _, first, places = np.unique(pairs.theirs, return_index=True, return_inverse=True)
        found = ranks(queries, texts[first], places)
        scores = torch.from_numpy(queries @ texts[first].T) / self.temperature
        loss = float(nn.functional.cross_entropy(scores, torch.from_numpy(places.astype(np.int64)))) if len(found) else 0.0
        score = float((1 / found).mean()) if len(found) else 0.0
        figures = {f"recall_at_{most}": float((found <= most).mean()) for most in (1, 10)} if len(found) else {}
        return Judged(score, loss, figures, {OUTPUT: queries})

    def _both_ways(self, anchors: Tensor, positives: Tensor, negatives: Tensor | None, same: Tensor) -> Tensor:
        wanted = torch.arange(len(anchors), device=anchors.device)
        scores = (anchors @ positives.T / self.temperature).masked_fill(same, float("-inf"))
        forth = scores if negatives is None else torch.cat([scores, anchors @ negatives.T / self.temperature], dim=1)
        return (
            nn.functional.cross_entropy(forth, wanted, reduction="sum")
            + nn.functional.cross_entropy(scores.T, wanted, reduction="sum")
        ) / 2

    def _negatives(self, rows: Array, epoch: int) -> Array:
        """One of each row's hard negatives, another one in other epochs."""
        begins = self.train.begins
        counts = (begins[1:] - begins[:-1])[rows]
        drawn = np.random.default_rng((self.seed, SEED_NEGATIVES, epoch)).integers(0, 2**31, len(self.train))[rows]
        found: Array = (begins[:-1][rows] + drawn % np.maximum(counts, 1))[counts > 0]
        return found


def embed(network: nn.Module, rows: Encoded, device: torch.device) -> Array:
    """Vectors float32 [N, D] of encoded texts, in their order."""
    network.eval()
    with torch.inference_mode():
        found = Batches(rows.lengths, JUDGED_ROWS, JUDGED_POSITIONS).asked(
            lambda batch: network(**tensors(rows.batch(batch), device)).float().cpu().numpy())
    return np.zeros((0, 1), np.float32) if found is None else found


def dims_of(wanted: Sequence[int], width: int) -> tuple[int, ...]:
    """The shorter lengths among those that were asked for, from long to short."""
    return tuple(sorted({one for one in wanted if 0 < one < width}, reverse=True))




def _cut(vectors: Tensor, dims: int) -> Tensor:
    return vectors if dims == vectors.shape[1] else nn.functional.normalize(vectors[:, :dims], dim=1)


def _below(arrays: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}


def _numbers(texts: Sequence[str]) -> Array:
    """A number for each text's words; equal words have equal numbers."""
    return np.array([zlib.crc32(data := text.strip().encode()) << 20 | len(data) & 0xFFFFF for text in texts], np.int64)
