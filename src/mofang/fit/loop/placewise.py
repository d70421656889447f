"""Each token of a text: the objective of families that find spans, or where an answer begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mofang.data.snapshots.targets import question_and_context
from mofang.engine.arrays import Array, Arrays
from mofang.engine.decode.spans import tags_of
from mofang.engine.encode.pieces import pieces
from mofang.engine.encode.places import FAR, PlaceEncoder
from mofang.engine.outputs import graph_arrays
from mofang.fit.family import Conditions, Fitted
from mofang.fit.loop.arrays import Ragged
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.chaining import chain_loss, steps_of, taught_chain
from mofang.fit.loop.objective import Batch, Judged, tensors
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.start import WEIGHTS, fit_network, notes_of, weights_file
from mofang.fit.material import Material, Rows
from mofang.fit.placed import Asked, chained

NO_TAG = -100          # of a token that begins no piece: it counts nothing
TAGS, FIRST, LAST = "tags", "first", "last"
LOSS_WINDOWS = 1000    # validation windows whose loss is told
SAMPLE_RECORDS, SAMPLE_WINDOWS = 16, 32


class Windows:
    """The windows of one part as rows for batches, with what is wanted of each.

    Spans: the tag of every token that begins a piece. Answers: the tokens that begin the answer's first and last piece,
    or 0 in windows that do not hold all of it. ``uneven`` counts spans that end within a piece.
    """

    def __init__(self, encoder: PlaceEncoder, material: Material, rows: Rows) -> None:
        found, _ = encoder.rows(rows.records)
        self.asks = material.target == "answer"
        columns = material.columns("text")
        text = question_and_context(columns)[1] if self.asks else columns[0]
        wanted, self.uneven = _tags(rows, text, self.asks)
        self.wanted = wanted     # the tags of each record's pieces
        offsets = np.cumsum([0, *(len(row.ids) for row in found)]).astype(np.int64)
        flat = {name: np.zeros(int(offsets[-1]), np.int64) for name in ("input_ids", "token_type_ids", TAGS)}
        self.ends = np.zeros((len(found), 2), np.int64)
        for number, row in enumerate(found):
            part = slice(int(offsets[number]), int(offsets[number + 1]))
            starts = np.array(row.starts)
            flat["input_ids"][part] = row.ids
            flat["token_type_ids"][part][row.head:] = encoder.frame[3]
            tags = wanted[row.record][np.maximum(starts, 0)] if len(wanted[row.record]) else np.zeros(len(starts), np.int64)
            flat[TAGS][part] = np.where(starts >= 0, 0 if self.asks else tags, NO_TAG)
            if self.asks:
                self.ends[number] = _ends(wanted[row.record], starts)
        if not encoder.types:
            flat.pop("token_type_ids")
        flat["attention_mask"] = np.ones(int(offsets[-1]), np.int64)
        self.rows = Ragged(flat, offsets, {"input_ids": encoder.padding_id, TAGS: NO_TAG})

    def batch(self, rows: Array) -> Arrays:
        """The windows with these indices, padded."""
        found = self.rows.batch(rows)
        return found | {FIRST: self.ends[rows, 0], LAST: self.ends[rows, 1]} if self.asks else found


class Placewise:
    """Cross-entropy over the tags of tokens (or of their whole sequence, where the network holds a chain), or over the tokens for
    begin and end (half each); see ``Windows``."""

    def __init__(self, train: Windows, validation: Windows, asked: Asked, plan: Plan, encoder: PlaceEncoder) -> None:
        self.train, self.validation, self.asked, self.plan, self.encoder = train, validation, asked, plan, encoder
        self.weights = torch.tensor(plan.class_weights) if plan.class_weights else None
        self.smooths = not train.asks  # tags are smoothed, the ends of an answer are not

    @property
    def lengths(self) -> Array:
        """Tokens of every training window, int64 [W]."""
        return self.train.rows.lengths

    def batch(self, rows: Array, epoch: int, step: int) -> Batch:
        """These training windows; the count is of their tagged tokens, or of the windows."""
        return self._batch(self.train, rows)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Summed over the batch's tags, or over its windows."""
        arrays = dict(batch.arrays)
        tags, first, last = arrays.pop(TAGS), arrays.pop(FIRST, None), arrays.pop(LAST, None)
        logits = network(**arrays).float()
        steps = None if self.train.asks else steps_of(network)
        if steps is not None:
            return chain_loss(logits, tags, steps, NO_TAG)
        if first is None or last is None:
            weights = None if self.weights is None else self.weights.to(tags.device)
            return nn.functional.cross_entropy(logits.flatten(0, 1), tags.flatten(), weights, ignore_index=NO_TAG,
                                               reduction="sum", label_smoothing=self.plan.label_smoothing)
        closed = (tags == NO_TAG).clone()
        closed[:, 0] = False                       # the first token says that there is none
        logits = logits.masked_fill(closed.unsqueeze(-1), FAR)
        both = [nn.functional.cross_entropy(logits[:, :, side], wanted, reduction="sum")
                for side, wanted in enumerate((first, last))]
        return (both[0] + both[1]) / 2

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """F1 of the answers as they will be served, and the mean loss of the first thousand validation windows."""
        chain = taught_chain(network)
        encoder = replace(self.encoder, chain=chain) if chain else None
        score = self.asked.score(runner(network, device, self.train.asks), encoder)
        total = count = 0.0
        some = min(LOSS_WINDOWS, len(self.validation.rows.lengths))
        with torch.inference_mode():
            for rows in Batches(self.validation.rows.lengths[:some], 4 * self.plan.rows, 4 * self.plan.positions).in_order():
                batch = self._batch(self.validation, rows).to(device)
                total += float(self.loss(network, batch))
                count += batch.count
        return Judged(score, total / max(1.0, count))

    def _batch(self, windows: Windows, rows: Array) -> Batch:
        arrays = windows.batch(rows)
        count = len(rows) if windows.asks else int((arrays[TAGS] != NO_TAG).sum())
        return Batch(tensors(arrays), float(max(1, count)))


def runner(network: nn.Module, device: torch.device, asks: bool) -> Callable[[Arrays], Arrays]:
    """What the graph will give for an encoder's arrays: probabilities of tags, or logits of begin and end."""
    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            logits = network(**tensors(graph_arrays(arrays), device)).float()
            if asks:
                return {"number": logits.cpu().numpy()}
            return {"probabilities": torch.softmax(logits, dim=-1).cpu().numpy()}
    return run


def fit_places(
    build: Callable[[], nn.Module], encoder: PlaceEncoder, material: Material, plan: Plan, conditions: Conditions,
    architecture: dict[str, Any], windows: Windows,
) -> Fitted:
    """Teach the network that ``build`` makes where the material's spans or answers are; ``windows`` are the training part's."""
    plan = conditions.learning.plan(plan)
    validation = Windows(encoder, material, material.validation)
    asked, score = Asked(material, material.validation, encoder), 0.0
    network, outcome = fit_network(build, Placewise(windows, validation, asked, plan, encoder), plan, conditions)
    network.eval()
    sample, run = _sample(encoder, material.validation), runner(network, next(network.parameters()).device, windows.asks)
    notes = notes_of(network, outcome) | {"windows": len(windows.rows.lengths), "uneven_spans": windows.uneven}
    if windows.asks:
        score = outcome.judged.score
    elif chain := taught_chain(network):
        encoder, score = replace(encoder, chain=chain), outcome.judged.score
    else:
        encoder, score = chained(asked, encoder, run, windows.wanted)
        notes |= {"chain_weight": encoder.chain.weight} if encoder.chain else {}
    return Fitted(encoder, {WEIGHTS: weights_file(network)}, architecture, None, sample, outcome.curves, notes,
                  outputs=run(sample), score=score, steps=outcome.steps, measures=outcome.speed)


def placed_plan(plan: Plan, windows: Windows, outputs: int, outside: float) -> Plan:
    """The plan, with what a token outside of all spans counts beside one inside."""
    if windows.asks or outside == 1.0:
        return plan
    return replace(plan, class_weights=(outside, *[1.0] * (outputs - 1)))


def _sample(encoder: PlaceEncoder, rows: Rows) -> Arrays:
    arrays = encoder.encode(rows.records[:SAMPLE_RECORDS])
    kept = graph_arrays(arrays) | {"@record": arrays["@record"]}
    return {name: array[:SAMPLE_WINDOWS] for name, array in kept.items()}


def _tags(rows: Rows, text: str, asks: bool) -> tuple[list[Array], int]:
    """The tags of each record's pieces; an answer is a span of its own."""
    found, uneven = [], 0
    for record, target in zip(rows.records, rows.targets, strict=True):
        spans = ([(*target, 0)] if target[0] >= 0 else []) if asks else target
        tags, missed = tags_of(spans, pieces(str(record.get(text) or "")))
        found.append(tags)
        uneven += missed
    return found, uneven


def _ends(tags: Array, starts: Array) -> tuple[int, int]:
    """The tokens that begin an answer's first and last piece in this window; (0, 0) where it is not all there."""
    answered = np.flatnonzero(tags)
    if not len(answered):
        return 0, 0
    first, last = (np.flatnonzero(starts == piece) for piece in (answered[0], answered[-1]))
    return (int(first[0]), int(last[0])) if len(first) and len(last) else (0, 0)
