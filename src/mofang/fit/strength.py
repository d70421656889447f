"""Linear models of several penalties, the best on validation kept: what the families that need no epochs share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.engine.arrays import Array
from mofang.fit.family import Curves
from mofang.fit.logistic import STEPS_MOST, Link, Logistic, Solution
from mofang.fit.loop import deadline
from mofang.fit.material import Material
from mofang.fit.scale import Scale

PRODUCTS_MOST = 50_000_000  # non-zero values x classes of the rows on which the strength is chosen
FINE, ROUGH = 1e-5, 2e-4  # tolerances, for little work and for much
NO_LABELS = np.zeros(0, np.int64)
LINKS: dict[str, Link] = {"class": "softmax", "classes": "sigmoid", "number": "identity"}


@dataclass(frozen=True)
class Found:
    """One penalty's solution, its answers on the validation rows float32 [N, K], and how good they are."""

    strength: float
    solution: Solution
    answers: Array
    score: tuple[float, float]


class Search:
    """Solutions of several strengths, from strong to weak, each started from the last; the best on validation
    stays.
    """

    def __init__(self, material: Material, train: Any, validation: Any, balance: bool, most: int = PRODUCTS_MOST) -> None:
        self.material, self.train, self.validation, self.balance, self.most = material, train, validation, balance, most
        self.rows = np.arange(train.shape[0])
        self.curves: Curves = []
        self.found: list[Found] = []
        self.scale = Scale.of(material)
        columns = self.scale.columns
        self.products = getattr(train, "nnz", train.size) * (1 if columns == 2 else columns)

    @property
    def best(self) -> Found:
        """The highest score, then the lowest loss."""
        return max(self.found, key=lambda one: one.score)

    def sample(self, seed: int) -> Array | None:
        """Rows on which to choose the strength, where there are many; None for all."""
        if self.products <= 2 * self.most:
            return None
        count = max(1, int(len(self.rows) * self.most / self.products))
        return np.sort(np.random.default_rng(seed).permutation(self.rows)[:count])

    def run(self, rows: Array, strengths: tuple[float, ...], clock: Clock, bar: Bar) -> None:
        """Solve for each strength on these rows, while there is time."""
        material, validation = self.material, self.material.validation
        matrix = self.train if len(rows) == len(self.rows) else self.train[rows]
        tolerance = FINE if self.products <= 2 * self.most else ROUGH
        labels, wanted = self.scale.wanted(material.train, rows)
        counts = material.class_weights[material.train.labels[rows]] if self.balance and labels is not None else None
        problem = Logistic(
            matrix, labels if labels is not None else NO_LABELS, self.scale.columns, clock.late, tolerance, counts, wanted,
            LINKS[material.target],
        )
        start = self.best.solution.flat if self.found else None
        for strength in strengths:
            if self.found and clock.late():
                return
            solution = problem.solve(strength, start)
            start = solution.flat
            answers = self.scale.back(solution.answers(self.validation))
            loss = self.scale.loss(answers, validation.targets)
            score = material.score(answers, validation.targets)
            self.found.append(Found(strength, solution, answers, (score, -loss)))
            self.curves.append(
                {
                    "c": strength,
                    "rows": len(rows),
                    "steps": solution.steps,
                    "loss": solution.loss,
                    "validation_loss": loss,
                    "validation_score": score,
                }
            )
            bar.advance()
            bar.note(f"C {strength:g} · {score:.3f}")


class Clock:
    """A limit in seconds (0: none), after which the best found so far stands, and the deadline, after which
    nothing does.
    """

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds if seconds else float("inf")

    def part(self, share: float) -> Clock:
        """A clock for this share of what is left."""
        left = self.ends - time.monotonic()
        return Clock(0 if left == float("inf") else max(1e-3, share * left))

    def late(self) -> bool:
        """Whether the limit has passed."""
        if deadline.is_past():
            raise MofangError("time-is-up", step=0, steps=STEPS_MOST)
        return time.monotonic() >= self.ends
