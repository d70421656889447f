"""Which tasks to ask next: those a model is least sure of, and among them such as differ from each other.

Uncertainty is entropy, margin or least confidence of the proposals' probabilities; difference is k-centre greedy
(Sener, Savarese 2018) over hashed character n-grams or given vectors. The same seed gives the same order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from mofang.core.errors import MofangError
from mofang.data.labelling.content import Contents, records_of
from mofang.data.labelling.desk import open_tasks
from mofang.data.labelling.projects import Project
from mofang.data.records import RecordReader
from mofang.data.roles import ID, with_role

if TYPE_CHECKING:
    from mofang.core.shop import Shop

How = Literal["entropy", "margin", "least"]
Floats = npt.NDArray[np.float64]
DIMENSIONS = 512
POOL = 8
POOL_MOST = 20_000


def uncertainty(chances: Floats, how: How = "entropy") -> Floats:
    """How unsure each row of probabilities is: 0 for certain, larger for less so; rows are made to sum to 1."""
    shares = np.clip(np.asarray(chances, np.float64), 0, None)
    total = shares.sum(1, keepdims=True)
    shares = np.divide(shares, total, out=np.full_like(shares, 1 / shares.shape[1]), where=total > 0)
    if how == "entropy":
        logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        return np.asarray(-(shares * logs).sum(1))
    top = np.sort(shares, axis=1)
    if how == "least" or shares.shape[1] < 2:
        return np.asarray(1 - top[:, -1])
    return np.asarray(1 - (top[:, -1] - top[:, -2]))


def hashed(texts: list[str], dimensions: int = DIMENSIONS) -> Floats:
    """Texts as unit vectors of hashed character pairs and triples."""
    found = np.zeros((len(texts), dimensions))
    for row, text in enumerate(texts):
        points = np.frombuffer(f" {text[:2000]} ".encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
        for width in (2, 3):
            if len(points) >= width:
                codes = np.zeros(len(points) - width + 1, np.uint64)
                for place in range(width):
                    codes = codes * np.uint64(0x9E3779B97F4A7C15) + points[place : len(points) - width + 1 + place]
                codes ^= codes >> np.uint64(29)
                codes *= np.uint64(0xBF58476D1CE4E5B9)
                found[row] += np.bincount((codes >> np.uint64(40)).astype(np.int64) % dimensions, minlength=dimensions)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(lengths, 1e-12))


def k_centre(
    vectors: Floats, count: int, *, weights: Floats | None = None, near: Floats | None = None, seed: int = 0
) -> list[int]:
    """So many rows, each time the one farthest from all chosen (and from ``near``, what is labelled already).

    ``weights`` stretch a row's distance: an uncertain row counts as farther. Equal ones go by a seeded order.
    """
    rows = len(vectors)
    stretch = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    luck = np.random.default_rng(seed).permutation(rows)
    squares = (vectors**2).sum(1)
    apart = np.full(rows, np.inf)
    for one in near if near is not None else ():
        apart = np.minimum(apart, np.maximum(squares + float(one @ one) - 2 * vectors @ one, 0))
    chosen: list[int] = []
    left = np.ones(rows, np.bool_)
    for _ in range(min(count, rows)):
        score = np.where(np.isinf(apart), 4.0, apart) ** 0.5 * stretch
        score = np.where(left, np.round(score, 12), -1)
        ties = (score == score.max()).nonzero()[0]
        best = int(ties[np.argmin(luck[ties])])
        chosen.append(best)
        left[best] = False
        apart = np.minimum(apart, np.maximum(squares + squares[best] - 2 * vectors @ vectors[best], 0))
    return chosen


def choose(chances: Floats, vectors: Floats | None, count: int, *, how: How = "entropy", seed: int = 0) -> list[int]:
    """A batch of uncertain rows; with ``vectors`` the most uncertain few times as many, thinned by their difference."""
    unsure = uncertainty(chances, how)
    luck = np.random.default_rng(seed).permutation(len(unsure))
    order = np.lexsort((luck, -np.round(unsure, 12)))
    if vectors is None:
        return [int(one) for one in order[:count]]
    pool = order[: min(POOL_MOST, POOL * count)]
    least = unsure[pool].min(initial=0.0)
    span = float(unsure[pool].max(initial=0.0) - least)
    weights = 0.25 + (unsure[pool] - least) / span if span > 0 else None
    return [int(pool[one]) for one in k_centre(vectors[pool], count, weights=weights, seed=seed)]


def next_batch(
    shop: Shop, project: Project, count: int, *, how: How = "entropy", diverse: bool = True, seed: int = 0
) -> list[int]:
    """The tasks to put at the front of a project's queue, by its proposals and its texts."""
    contents = Contents(shop, project)
    wanted = open_tasks(shop, project)
    chances, tasks = _chances(contents, wanted)
    texts = diverse and project.schema.kind not in ("boxes", "polygons")
    if not len(tasks):
        if not texts or not len(wanted):
            raise MofangError("label-no-proposals", name=project.name)
        pool = np.random.default_rng(seed).permutation(wanted)[: max(count, min(POOL_MOST, 50 * count))]
        pool = np.sort(pool)
        return [int(pool[one]) for one in k_centre(hashed(texts_of(contents, pool)), count, seed=seed)]
    if not texts:
        return [int(tasks[one]) for one in choose(chances, None, count, how=how, seed=seed)]
    unsure = uncertainty(chances, how)
    luck = np.random.default_rng(seed).permutation(len(unsure))
    pool = np.lexsort((luck, -np.round(unsure, 12)))[: min(POOL_MOST, POOL * count)]
    vectors = hashed(texts_of(contents, tasks[pool]))
    return [int(tasks[pool[one]]) for one in choose(chances[pool], vectors, count, how=how, seed=seed)]


def _chances(contents: Contents, wanted: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The newest proposal's probabilities of each task that wants answers and has one."""
    found: dict[int, list[float]] = {}
    classes = [str(one) for one in contents.project.schema.choices] or ["", " "]
    for batch in contents.proposals:
        artifact = contents.artifact(batch.entry)
        with artifact.open("proposals.parquet") as opened, pq.ParquetFile(opened) as file:
            for rows in file.iter_batches(65_536, columns=[ID, "score", "scores"]):
                numbers = contents.numbers(rows.column(ID).to_pylist())
                for task, score, scores in zip(
                    numbers.tolist(), rows.column("score").to_pylist(), rows.column("scores").to_pylist(), strict=True
                ):
                    if task >= 0 and (scores or score is not None):
                        found[task] = _row(classes, score, scores)
    tasks = wanted[np.isin(wanted, np.fromiter(found, np.int64, len(found)))]
    return np.array([found[int(task)] for task in tasks]).reshape(len(tasks), len(classes)), tasks


def _row(classes: list[str], score: float | None, scores: str) -> list[float]:
    """Probabilities in the order of the classes; of a bare score the rest is spread evenly."""
    if scores:
        told = json.loads(scores)
        return [float(told.get(name, 0.0)) for name in classes]
    sure = min(1.0, max(0.0, score or 0.0))
    return [sure, *([(1 - sure) / max(1, len(classes) - 1)] * (len(classes) - 1))]


def texts_of(contents: Contents, tasks: npt.NDArray[np.int64]) -> list[str]:
    """The texts of some tasks, in one pass over the records they came with."""
    found = {int(task): "" for task in tasks}
    for batch in contents.batches:
        if not np.any((tasks >= batch.first) & (tasks < batch.first + batch.rows)):
            continue
        reader = RecordReader(records_of(contents.shop, batch))
        column = contents.project.schema.column
        names = [column] if column in reader.roles else with_role(reader.roles, ("text", "category", "number"))
        for piece in reader.batches(65_536, media=False, columns=names):
            numbers = contents.numbers(piece.column(ID))
            wanted: Any = np.isin(numbers, tasks).nonzero()[0]
            chosen = piece.take(wanted)
            for place, row in zip(wanted, chosen.rows(names), strict=True):
                found[int(numbers[place])] = " ".join(str(value) for value in row.values() if value is not None)
    return [found[int(task)] for task in tasks]
