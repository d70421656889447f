"""How good a model is that finds places in texts, measured as it will serve: encoded, gathered, decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np

from mofang.core.metrics import text_tokens, token_f1
from mofang.data.snapshots.targets import question_and_context
from mofang.engine.arrays import Array, Arrays
from mofang.engine.decode.chain import Chain
from mofang.engine.encode import Encoder
from mofang.engine.encode.places import PlaceEncoder
from mofang.engine.encode.surroundings import SurroundingsEncoder
from mofang.engine.outputs import Gathers
from mofang.engine.task import Answer, Signature, task_named
from mofang.fit.material import Material, Rows

CHUNK = 64
WEIGHTS = (0.25, 0.5, 1.0)      # how much the chain of tags may count, the least first

Run = Callable[[Arrays], Arrays]
Chained = TypeVar("Chained", PlaceEncoder, SurroundingsEncoder)


class Asked:
    """Rows that are asked again and again: encoded once, those of similar length together."""

    def __init__(self, material: Material, rows: Rows, encoder: Encoder) -> None:
        self.material, self.rows, self.encoder = material, rows, encoder
        order = sorted(range(len(rows)), key=lambda row: sum(len(str(value or "")) for value in rows.records[row].values()))
        self.parts = [order[begin:begin + CHUNK] for begin in range(0, len(order), CHUNK)]
        self.arrays = [encoder.encode([rows.records[row] for row in part]) for part in self.parts]

    def answers(self, run: Run, encoder: Encoder | None = None) -> list[Answer]:
        """The task's answers; ``run`` gives the graph's outputs for an encoder's arrays."""
        task, reader = task_named(self.material.task), encoder or self.encoder
        given = {"task": self.material.task, "inputs": list(self.material.inputs), "labels": list(self.material.labels)}
        made: list[Answer] = [{}] * len(self.rows)
        for part, arrays in zip(self.parts, self.arrays, strict=True):
            records, outputs = [self.rows.records[row] for row in part], run(arrays)
            gathered = reader.gather(arrays, outputs) if isinstance(reader, Gathers) else outputs
            for row, answer in zip(part, task.answer(cast(Signature, given), gathered, records), strict=True):
                made[row] = answer
        return made

    def score(self, run: Run, encoder: Encoder | None = None) -> float:
        """F1 of exact spans over all rows, or the mean F1 over the words of answers."""
        return judged(self.material, self.rows, self.answers(run, encoder))


def chained(asked: Asked, encoder: Chained, run: Run, tags: Sequence[Array]) -> tuple[Chained, float]:
    """The encoder with the chain of ``tags`` (of the training texts) that scores best on the rows asked, and its score; as it
    was where none helps."""
    kept = {id(arrays): run(arrays) for arrays in asked.arrays}
    best, score = encoder, asked.score(lambda arrays: kept[id(arrays)], encoder)
    whole = Chain.of(tags, 1 + 2 * len(asked.material.labels))
    for weight in WEIGHTS:
        tried = replace(encoder, chain=replace(whole, weight=weight))
        if (found := asked.score(lambda arrays: kept[id(arrays)], tried)) > score:
            best, score = tried, found
    return best, score


def judged(material: Material, rows: Rows, answers: list[Answer]) -> float:
    """F1 of exact spans over all rows, or the mean F1 over the words of answers."""
    if not answers:
        return 0.0
    if material.target == "spans":
        return span_f1(material, rows, answers)
    _, context = question_and_context(material.columns("text"))
    scores = []
    for record, (start, end), answer in zip(rows.records, rows.targets, answers, strict=True):
        true = str(record[context])[start:end] if start >= 0 else ""
        scores.append(token_f1(text_tokens(true), text_tokens(answer["text"])))
    return float(np.mean(scores))


def span_f1(material: Material, rows: Rows, answers: list[Answer]) -> float:
    """F1 of spans that begin, end and are labelled exactly right."""
    hits = said = true = 0
    for target, answer in zip(rows.targets, answers, strict=True):
        wanted = {(start, end, material.labels[label]) for start, end, label in target}
        found = {(one["start"], one["end"], one["label"]) for one in answer["spans"]}
        hits, said, true = hits + len(wanted & found), said + len(found), true + len(wanted)
    return 2 * hits / (said + true) if said + true else 1.0
