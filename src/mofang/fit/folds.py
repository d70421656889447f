"""k-fold cross-validation: how much a figure depends on which rows happened to be trained on."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from functools import partial
from typing import Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.engine.arrays import Array
from mofang.fit.family import Conditions, Family, Fitted
from mofang.fit.material import Material, Rows

SALT = 5_171


def cross_validated(run: Run, family: Family, material: Material, conditions: Conditions, folds: int) -> dict[str, Any]:
    """Train ``folds`` times on all but one part of the training rows and rate on that part: scores, mean and spread.

    The validation part is not looked at, so the figure is free of its choices; the spread is the sample's standard
    deviation. Each fold's score is stored when it is done, so a killed run goes on at the next.
    """
    places = fold_of(material, folds, conditions.seed)
    scores: list[float] = []
    with run.progress("Cross-validation", "交叉验证", total=folds) as bar:
        for fold in range(folds):
            scores.append(run.once(f"fold-{fold}", partial(_score, run, family, material, conditions, places, fold)))
            bar.advance()
    mean, spread = statistics.fmean(scores), statistics.stdev(scores) if folds > 1 else 0.0
    run.announce("{folds} folds: {metric} {mean} ± {spread}", "{folds} 折：{metric} {mean} ± {spread}",
                 folds=folds, metric=material.headline, mean=f"{mean:.4f}", spread=f"{spread:.4f}")
    run.measure(folds_mean=round(mean, 6), folds_spread=round(spread, 6))
    return {"metric": material.headline, "scores": scores, "mean": mean, "spread": spread}


def _score(run: Run, family: Family, material: Material, conditions: Conditions, places: Array, fold: int) -> float:
    scratch = run.scratch / f"fold-{fold}"
    scratch.mkdir(exist_ok=True)
    rows = material.train
    part = dataclasses.replace(material, train=_rows(rows, places != fold), validation=_rows(rows, places == fold))
    learning = dataclasses.replace(conditions.learning, tensorboard="")  # the files are of the training that is kept
    fitted = family.fit(part, dataclasses.replace(conditions, scratch=scratch, learning=learning))
    shutil.rmtree(scratch)
    return score_of(part, fitted)


def score_of(material: Material, fitted: Fitted) -> float:
    """The headline of a fitted model on its validation rows."""
    if fitted.score is not None:
        return fitted.score
    assert fitted.probabilities is not None, "a family says its score, or the probabilities of classes"
    return float(material.score(fitted.probabilities, material.validation.targets))


def fold_of(material: Material, folds: int, seed: int) -> Array:
    """The fold of each training row, int64 [N], by lot; classes are evenly spread."""
    rows = material.train
    order = np.random.default_rng((seed, SALT)).permutation(len(rows))
    if folds < 2 or len(rows) < folds:
        raise MofangError("folds-too-many", folds=max(2, folds), label="-", rows=len(rows))
    if material.target == "class":
        counts = np.bincount(rows.labels, minlength=len(material.labels))
        rarest = int(np.where(counts > 0, counts, counts.max()).argmin())
        if counts[rarest] < folds:
            raise MofangError("folds-too-many", folds=folds, label=material.labels[rarest], rows=int(counts[rarest]))
        order = order[np.argsort(rows.labels[order], kind="stable")]
    found = np.empty(len(rows), dtype=np.int64)
    found[order] = np.arange(len(rows)) % folds
    return found


def _rows(rows: Rows, kept: Array) -> Rows:
    chosen = np.flatnonzero(kept)
    targets = rows.targets[chosen] if isinstance(rows.targets, np.ndarray) else [rows.targets[place] for place in chosen]
    soft = None if rows.soft is None else rows.soft[chosen]
    return Rows([rows.ids[place] for place in chosen], [rows.records[place] for place in chosen], targets, soft)
