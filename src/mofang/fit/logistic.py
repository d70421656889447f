"""Linear regressions on one matrix, dense or sparse: the objective, and L-BFGS to minimise it.

The objective is that of scikit-learn's LogisticRegression (mean log loss plus ||W||^2 / 2CN, intercept free); with the link
"sigmoid" each column is a yes or no of its own, with "identity" it is ridge regression (half the squared error instead).
L-BFGS (Liu and Nocedal 1989) starts each step from the diagonal of Boehning's bound on the Hessian (1992)
instead of a multiple of the identity, which n-grams need, as some occur in every text and most in two. All
is float32 and nothing is copied, because with many classes the weights are the larger half of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mofang.engine.arrays import Array
from mofang.fit.loop.machine import threads

STEPS_MOST = 200
STEPS_LEAST = 5  # taken even when time is up, so that there is a model at all
MEMORY = 8
HALVINGS_MOST = 20
SUFFICIENT = 1e-4  # Armijo's share of the decrease that the slope promises
THIN_OPERATIONS = 2e8  # dense products below this are slower on several threads than on one
THREADED_OPERATIONS = 1e7


@dataclass(frozen=True)
class Solution:
    """W float32 [F, K] and bias float32 [K], the mean loss, how many steps it took and whether it got to the
    end.
    """

    weights: Array
    bias: Array
    loss: float
    steps: int
    finished: bool
    flat: Array
    link: Link = "softmax"

    def answers(self, matrix: Any) -> Array:
        """Float32 [N, K] for the rows of a matrix [N, F]: probabilities, or with the link "identity" numbers."""
        logits = matrix @ self.weights + self.bias
        if self.link == "identity":
            return np.asarray(logits, dtype=np.float32)
        if self.link == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), dtype=np.float32)
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Array = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
        return found


Link = Literal["softmax", "sigmoid", "identity"]
Piece = tuple[Any, Array, Array | None]  # rows of the matrix, their wanted columns, how much each counts


class Logistic:
    """The regression of ``labels`` on ``matrix`` [N, F]; two classes are one column of weights.

    ``wanted`` float32 [N, K] stands in the place of labels where a row has several, none, or shares of some (what a teacher
    said), or a number; ``classes`` is then K and ``link`` says how the columns are read.
    ``counts`` float32 [N], 1 on average, is how much each row counts (left out: all alike).
    ``late()`` is asked before each step; once it says yes, what was found so far is the solution. The end is
    reached when the next step promises to lower the loss by less than ``tolerance`` of it.
    """

    def __init__(
        self,
        matrix: Any,
        labels: Array,
        classes: int,
        late: Callable[[], bool],
        tolerance: float = 1e-6,
        counts: Array | None = None,
        wanted: Array | None = None,
        link: Link = "softmax",
    ) -> None:
        self.matrix, self.rows, self.late, self.tolerance = matrix, matrix.shape[0], late, tolerance
        self.pair = link == "softmax" and classes == 2
        self.link, self.columns = link, 1 if self.pair else classes
        self.features = matrix.shape[1]
        self.shares = wanted is not None
        if wanted is None:
            wanted = np.zeros((self.rows, classes), dtype=np.float32)
            wanted[np.arange(self.rows), labels] = 1
        self.wanted = wanted[:, 1:] if self.pair else wanted
        self.counts = None if counts is None else counts.astype(np.float32)[:, None]
        counted = self.wanted if self.counts is None else self.wanted * self.counts
        if link == "identity":
            self.share = counted.mean(axis=0)
        else:
            self.share = (counted.sum(axis=0) + 0.5) / (self.rows + 0.5 * max(2, classes if link == "softmax" else 2))
        squares = matrix.power(2) if hasattr(matrix, "power") else matrix * matrix
        squares = squares.sum(axis=0) if self.counts is None else self.counts.T @ squares
        self.spread = np.append(np.asarray(squares, dtype=np.float32).ravel() / self.rows, np.float32(1))
        self.pieces = self._cut()

    def solve(self, strength: float, start: Array | None = None) -> Solution:
        """Minimise from ``start`` (a solution's ``flat``) or from the classes' shares."""
        if start is None:
            start = np.zeros((self.features + 1, self.columns), dtype=np.float32)
            other = 1 - self.share if self._single else 1.0
            start[-1] = self.share if self.link == "identity" else np.log(self.share / other)
        from threadpoolctl import threadpool_limits

        dense = 2 * self.rows * self.features * self.columns
        with threadpool_limits(1 if dense < THIN_OPERATIONS else threads(), user_api="blas"):
            flat, loss, steps, finished = self._descend(start, strength)
        both = np.concatenate([-flat / 2, flat / 2], axis=1) if self.pair else flat
        return Solution(both[:-1], both[-1], loss, steps, finished, flat, self.link)

    @property
    def _single(self) -> bool:
        """Whether each column is a yes or no of its own."""
        return self.pair or self.link == "sigmoid"

    def _descend(self, point: Array, strength: float) -> tuple[Array, float, int, bool]:
        penalty = np.float32(1 / (strength * self.rows))
        bound = np.ones(self.columns) if self.link == "identity" else self.share * (1 - self.share)
        scale = np.outer(self.spread, bound).astype(np.float32)
        scale[:-1] += penalty
        np.reciprocal(scale, out=scale)
        pairs: list[tuple[Array, Array, float]] = []
        loss, gradient = self._loss(point, penalty)
        for step in range(STEPS_MOST):
            if self.late() and step >= STEPS_LEAST:
                return point, loss, step, False
            direction = _direction(gradient, scale, pairs)
            slope = _dot(direction, gradient)
            if -slope <= self.tolerance * loss:
                return point, loss, step, True
            found = self._search(point, loss, direction, slope, penalty)
            if found is None:
                return point, loss, step, True
            ahead, loss, beyond = found
            moved, turned = ahead - point, beyond - gradient
            point, gradient = ahead, beyond
            if (product := _dot(moved, turned)) > 0:
                pairs = [*pairs[1 - MEMORY :], (moved, turned, product)]
        return point, loss, STEPS_MOST, True

    def _search(
        self, point: Array, loss: float, direction: Array, slope: float, penalty: np.float32
    ) -> tuple[Array, float, Array] | None:
        """Step back along the direction, to the vertex of a parabola each time, until the loss falls
        enough.
        """
        length = 1.0
        for _ in range(HALVINGS_MOST):
            ahead = point + np.float32(length) * direction
            found, gradient = self._loss(ahead, penalty)
            if found <= loss + SUFFICIENT * length * slope:
                return ahead, found, gradient
            vertex = -slope * length**2 / (2 * (found - loss - slope * length))
            length = min(max(vertex, 0.1 * length), 0.5 * length)
        return None

    def _loss(self, point: Array, penalty: np.float32) -> tuple[float, Array]:
        weights = point[:-1]
        gradient = np.empty_like(point)
        found = [self._piece(piece, point) for piece in self.pieces] if len(self.pieces) == 1 else None
        if found is None:
            with ThreadPoolExecutor(len(self.pieces)) as pool:
                found = list(pool.map(lambda piece: self._piece(piece, point), self.pieces))
        np.multiply(weights, penalty, out=gradient[:-1])
        gradient[-1] = 0
        for _, part, ends in found:
            gradient[:-1] += part
            gradient[-1] += ends
        loss = sum(one[0] for one in found) / self.rows
        return loss + float(penalty) / 2 * _dot(weights, weights), gradient

    def _piece(self, piece: Piece, point: Array) -> tuple[float, Array, Array]:
        """Summed loss of some rows, and their share of the gradient of W and of the intercepts."""
        matrix, wanted, counts = piece
        logits = matrix @ point[:-1]
        logits += point[-1]
        if self.link == "identity":
            guessed = logits
            losses = 0.5 * (logits - wanted) ** 2
        elif self._single:
            if self.shares:
                losses = np.logaddexp(0, logits) - wanted * logits
            else:
                losses = np.logaddexp(0, np.where(wanted > 0, -logits, logits))
            guessed = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        else:
            logits -= logits.max(axis=1, keepdims=True)
            chosen = np.einsum("nk,nk->n", logits, wanted)[:, None]
            guessed = np.exp(logits, out=logits)
            total = guessed.sum(axis=1, keepdims=True)
            guessed /= total
            losses = np.log(total) * wanted.sum(axis=1, keepdims=True) - chosen
        guessed -= wanted
        if counts is not None:
            losses *= counts
            guessed *= counts
        guessed /= np.float32(self.rows)
        return float(losses.sum(dtype=np.float64)), matrix.T @ guessed, guessed.sum(axis=0)

    def _cut(self) -> list[Piece]:
        """Sparse matrices in as many stretches of rows as there are threads; BLAS cuts dense ones itself."""
        sparse = hasattr(self.matrix, "nnz")
        count = threads() if sparse and self.matrix.nnz * self.columns >= THREADED_OPERATIONS else 1
        edges = [self.rows * number // count for number in range(count + 1)]
        places = [slice(*ends) for ends in zip(edges, edges[1:], strict=False)]
        counts = self.counts
        return [
            (
                self.matrix[place] if count > 1 else self.matrix,
                self.wanted[place],
                None if counts is None else counts[place],
            )
            for place in places
        ]


def _direction(gradient: Array, scale: Array, pairs: list[tuple[Array, Array, float]]) -> Array:
    """The two loops of L-BFGS: minus the estimated inverse Hessian times the gradient."""
    found, factors = -gradient, []
    for moved, turned, product in reversed(pairs):
        factor = _dot(moved, found) / product
        factors.append(factor)
        found -= np.float32(factor) * turned
    found *= scale
    if pairs:
        moved, turned, product = pairs[-1]
        found *= np.float32(product / _dot(turned * scale, turned))
    for (moved, turned, product), factor in zip(pairs, reversed(factors), strict=True):
        found += np.float32(factor - _dot(turned, found) / product) * moved
    return found


def _dot(left: Array, right: Array) -> float:
    return float(np.dot(left.ravel(), right.ravel()))
