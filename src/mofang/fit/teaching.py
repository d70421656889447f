"""What else a model may learn from besides the labels: what another model says of the same texts, and texts without labels.

Distillation (Hinton, Vinyals and Dean 2015): the teacher's shares of each class, softened by a temperature, say more than the
label. Pseudo-labels (Lee 2013): texts that the model is sure about become training rows with its own answer; it is kept only if
the validation rows, which no pseudo-label ever touches, say that it helped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.data.records import RecordReader
from mofang.engine.arrays import Array
from mofang.engine.encode import Record
from mofang.fit.family import Conditions, Family, Fitted
from mofang.fit.material import Material, Rows

TINY = 1e-7


@dataclass(frozen=True)
class Unlabelled:
    """Records without labels that may be learnt from, and why others of them may not."""

    ids: list[str]
    records: list[Record]
    left_out: dict[str, int]


def read_unlabelled(records: Artifact, material: Material) -> Unlabelled:
    """The model's columns of records; those that are empty, or stand in the training or validation part, are left out.

    Raises ``unlabelled-columns`` where a column is missing.
    """
    reader = RecordReader(records)
    names = [one["name"] for one in material.inputs]
    if missing := [name for name in names if name not in reader.roles]:
        raise MofangError("unlabelled-columns", columns=", ".join(missing))
    known = {_content(record, names) for part in (material.train, material.validation) for record in part.records}
    ids: list[str] = []
    kept: list[Record] = []
    left_out = {"empty": 0, "known": 0}
    for batch in reader.batches(columns=names):
        for id, record in zip(batch.column("id"), batch.rows(names), strict=True):
            content = _content(record, names)
            reason = "empty" if not "".join(content).strip() else "known" if content in known else ""
            if reason:
                left_out[reason] += 1
                continue
            known.add(content)
            ids.append(id)
            kept.append(record)
    return Unlabelled(ids, kept, left_out)


def softened(material: Material, said: Array, temperature: float, share: float) -> Material:
    """The material with training targets that are the teacher's answers to this ``share`` and the labels' to the rest.

    ``said`` float32 [N, K] are the teacher's answers on the training rows.
    """
    train = material.train
    if material.target == "number":
        mixed = share * said[:, 0] + (1 - share) * np.asarray(train.targets, np.float32)
        return replace(material, train=replace(train, targets=mixed.astype(np.float32)))
    if material.target == "classes":
        logits = np.log(np.clip(said, TINY, 1)) - np.log(np.clip(1 - said, TINY, 1))
        soft = 1 / (1 + np.exp(-logits / temperature))
        mixed = share * soft + (1 - share) * train.targets
        return replace(material, train=replace(train, targets=mixed.astype(np.float32)))
    raised = np.clip(said, TINY, 1) ** (1 / temperature)
    raised /= raised.sum(axis=1, keepdims=True)
    hard = np.eye(len(material.labels), dtype=np.float32)[train.labels]
    soft = (share * raised + (1 - share) * hard).astype(np.float32)
    return replace(material, train=replace(train, soft=soft))


def with_answers(material: Material, others: Unlabelled, said: Array, temperature: float) -> Material:
    """The material with unlabelled records as further training rows, wanted of which is what the teacher said, float32 [M, K]."""
    train = material.train
    labels = said.argmax(axis=1).astype(np.int64) if material.target == "class" else said
    if material.target == "number":
        labels = said[:, 0]
    soft = None
    if train.soft is not None:
        raised = np.clip(said, TINY, 1) ** (1 / temperature)
        soft = np.concatenate([train.soft, (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)])
    targets = np.concatenate([train.targets, labels.astype(train.targets.dtype)])
    return replace(material, train=Rows(train.ids + others.ids, train.records + others.records, targets, soft))


def self_taught(
    family: Family,
    material: Material,
    conditions: Conditions,
    unlabelled: Unlabelled,
    confidence: float,
    rounds: int,
    answer: Callable[[Family, Fitted, Material, Sequence[Record]], Array],
) -> tuple[Fitted, dict[str, Any]]:
    """Fit, add the unlabelled records that the model is sure about with its own answer, fit again; the best on validation.

    The second value says what each round added and scored, beside the score without any.
    """
    best = family.fit(material, replace(conditions, scratch=_folder(conditions, 0)))
    without = reached = _score(material, best)
    told: list[dict[str, Any]] = []
    latest = best
    for number in range(1, rounds + 1):
        said = answer(family, latest, material, unlabelled.records)
        sure = np.flatnonzero(said.max(axis=1) >= confidence)
        if not len(sure):
            told.append({"round": number, "added": 0})
            break
        grown = _grown(material, unlabelled, sure, said)
        latest = family.fit(grown, replace(conditions, scratch=_folder(conditions, number)))
        score = _score(material, latest)
        added = np.bincount(said[sure].argmax(axis=1), minlength=len(material.labels))
        classes = dict(zip(material.labels, added.tolist(), strict=True))
        told.append({"round": number, "added": len(sure), "classes": classes, "validation": round(score, 6)})
        if score > reached:
            best, reached = latest, score
    return best, {"without": round(without, 6), "with": round(reached, 6), "rounds": told, "left_out": unlabelled.left_out}


def _grown(material: Material, unlabelled: Unlabelled, sure: Array, said: Array) -> Material:
    train, chosen = material.train, said[sure].argmax(axis=1)
    soft = None
    if train.soft is not None:
        soft = np.concatenate([train.soft, np.eye(said.shape[1], dtype=np.float32)[chosen]])
    rows = Rows(
        train.ids + [unlabelled.ids[place] for place in sure],
        train.records + [unlabelled.records[place] for place in sure],
        np.concatenate([train.labels, chosen.astype(np.int64)]),
        soft,
    )
    return replace(material, train=rows)


def _score(material: Material, fitted: Fitted) -> float:
    if fitted.score is not None:
        return fitted.score
    assert fitted.probabilities is not None
    return material.score(fitted.probabilities, material.validation.targets)


def _folder(conditions: Conditions, number: int) -> Any:
    folder = conditions.scratch / f"round-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _content(record: Record, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(record.get(name) or "") for name in names)
