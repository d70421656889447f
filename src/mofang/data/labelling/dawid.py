"""One answer out of many: the majority, and Dawid and Skene's model of who mistakes what for what.

Dawid, Skene (1979), by expectation and maximisation over the answers that are there; every person has a matrix of how
often each true class is called which, with priors that hold few answers near the average person's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ROUNDS_MOST = 200
SETTLED = 1e-7


@dataclass(frozen=True)
class Found:
    """For each item the probability of each class; for each person the matrix true by said; the classes' shares."""

    chances: Floats
    confusion: Floats
    prior: Floats
    rounds: int

    @property
    def best(self) -> Ints:
        """The likeliest class of each item; of equal ones the first."""
        return np.asarray(np.argmax(np.round(self.chances, 12), axis=1), np.int64)

    @property
    def confidence(self) -> Floats:
        """Its probability."""
        return np.asarray(self.chances.max(axis=1), np.float64)


def votes(items: Ints, labels: Ints, count: int, classes: int) -> Floats:
    """How many people gave each item each class."""
    return np.bincount(items * classes + labels, minlength=count * classes).reshape(count, classes).astype(np.float64)


def majority(items: Ints, labels: Ints, count: int, classes: int) -> Found:
    """The class most people gave; of equal ones the first. Confidence is the share that gave it."""
    found = votes(items, labels, count, classes)
    total = np.maximum(found.sum(1, keepdims=True), 1)
    return Found(found / total, np.zeros((0, classes, classes)), found.sum(0) / max(1.0, float(found.sum())), 0)


def dawid_skene(items: Ints, people: Ints, labels: Ints, shape: tuple[int, int, int], *, strength: float = 1.0) -> Found:
    """The likeliest truth behind answers: one row an answer, ``shape`` counts items, people and classes.

    ``strength`` is how many answers the prior of each row of a person's matrix weighs; it is spread as the matrix of all
    people together, so that somebody with two answers is thought average and a class nobody confuses stays clear.
    """
    count, crowd, classes = shape
    chances = majority(items, labels, count, classes).chances
    chances[chances.sum(1) == 0] = 1 / classes
    flat = people * classes + labels
    confusion, prior, rounds = np.zeros((crowd, classes, classes)), np.full(classes, 1 / classes), 0
    moved = np.inf
    while rounds < ROUNDS_MOST and moved >= SETTLED:
        rounds += 1
        prior = (chances.sum(0) + 1) / (count + classes)
        confusion = _confusion(chances[items], flat, crowd, classes, strength)
        weights = np.log(prior)[None, :] + _evidence(items, np.log(confusion), people, labels, count)
        weights -= weights.max(1, keepdims=True)
        after = np.exp(weights)
        after /= after.sum(1, keepdims=True)
        moved = float(np.abs(after - chances).max(initial=0.0))
        chances = after
    return Found(chances, confusion, prior, rounds)


def _confusion(truth: Floats, flat: Ints, crowd: int, classes: int, strength: float) -> Floats:
    """Each person's matrix true by said, drawn towards that of all."""
    seen = np.stack([np.bincount(flat, weights=truth[:, one], minlength=crowd * classes).reshape(crowd, classes)
                     for one in range(classes)], axis=1)
    together = seen.sum(0) + 0.5 + np.eye(classes) * classes
    together /= together.sum(1, keepdims=True)
    found = seen + strength * together[None]
    return np.asarray(found / found.sum(2, keepdims=True))


def _evidence(items: Ints, logs: Floats, people: Ints, labels: Ints, count: int) -> Floats:
    said = logs[people, :, labels]
    return np.stack([np.bincount(items, weights=said[:, one], minlength=count) for one in range(logs.shape[1])], axis=1)


def quality(found: Found) -> list[dict[str, Any]]:
    """How well each person does by the model: the share expected right over the classes as they occur."""
    diagonal = np.diagonal(found.confusion, axis1=1, axis2=2)
    return [{"expected_right": round(float((row * found.prior).sum()), 6)} for row in diagonal]
