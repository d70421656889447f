"""Which features are worth keeping, judged on the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.featuring.workbench import Workbench
from mofang.data.operators.values import number

KeepBy = Literal["mutual-information", "chi-square"]
SCORED_ROWS = 20_000
BINS = 10


def select_features(bench: Workbench, correlated: float, best: int, by: KeepBy, seed: int) -> None:
    """Drop constant features and near copies of others (|r| of at least ``correlated``; 0: none), then keep the ``best``
    (0: all) by what they tell about the label."""
    dropped = {name: "constant" for name in bench.features if len(set(map(_key, bench.columns[name]))) < 2}
    _drop(bench, dropped)
    if correlated:
        copies = _copies(bench, correlated)
        dropped |= copies
        _drop(bench, copies)
    if best and len(bench.features) > best:
        scores = score(bench, by, seed)
        kept = set(sorted(scores, key=lambda one: (-scores[one], list(scores).index(one)))[:best])
        weak = {name: f"{by} {scores[name]:.4f}" for name in scores if name not in kept}
        dropped |= weak
        _drop(bench, weak)
        bench.notes["scores"] = {name: round(scores[name], 4) for name in scores}
    if dropped:
        bench.notes["dropped"] = dropped
    if not bench.features:
        raise MofangError("features-none-left", dropped=", ".join(f"{name} ({why})" for name, why in dropped.items()))


def _key(value: Any) -> Any:
    return None if value is None or value != value else value


def _drop(bench: Workbench, dropped: dict[str, str]) -> None:
    bench.features = {name: role for name, role in bench.features.items() if name not in dropped}


def _matrix(bench: Workbench, names: Sequence[str]) -> Any:
    """float64 [rows, names], a missing number as the column's median."""
    found = np.array([[np.nan if one is None else one for one in map(number, bench.columns[name])] for name in names]).T
    middle = np.nan_to_num(np.nanmedian(found, axis=0)) if len(found) else 0.0
    return np.where(np.isnan(found), middle, found)


def _copies(bench: Workbench, correlated: float) -> dict[str, str]:
    """Features that say the same as an earlier one."""
    names = [name for name in bench.numbers() if bench.values(name)]
    if len(names) < 2:
        return {}
    matrix = _matrix(bench, names)
    matrix = matrix - matrix.mean(0)
    size = np.sqrt((matrix**2).sum(0))
    matrix = matrix / np.where(size > 0, size, 1.0)
    alike = np.abs(matrix.T @ matrix)
    dropped: dict[str, str] = {}
    for place, name in enumerate(names):
        for other in range(place):
            if names[other] not in dropped and alike[other, place] >= correlated - 1e-12:
                dropped[name] = f"as {names[other]}"
                break
    return dropped


def score(bench: Workbench, by: KeepBy, seed: int) -> dict[str, float]:
    """What each feature tells about the label: mutual information in nats, or χ² as Cramér's V."""
    names, stride = list(bench.features), max(1, len(bench.ids) // SCORED_ROWS)
    labels = np.unique(np.array(bench.labels, dtype=object).astype(str), return_inverse=True)[1][::stride]
    coded = np.stack([_coded(bench, name)[::stride] for name in names], axis=1)
    if by == "chi-square":
        return {name: _cramer(_binned(coded[:, place]), labels) for place, name in enumerate(names)}
    from sklearn.feature_selection import mutual_info_classif

    discrete = np.array([bench.features[name] != "number" or len(np.unique(coded[:, place])) <= 2
                         for place, name in enumerate(names)])
    found = mutual_info_classif(coded, labels, discrete_features=discrete, random_state=seed)
    return dict(zip(names, found.tolist(), strict=True))


def _coded(bench: Workbench, name: str) -> Any:
    if bench.features[name] == "number":
        return _matrix(bench, [name])[:, 0]
    return np.unique(np.array(bench.levels(name), dtype=object).astype(str), return_inverse=True)[1].astype(np.float64)


def _binned(values: Any) -> Any:
    if len(np.unique(values)) <= BINS:
        return np.unique(values, return_inverse=True)[1]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _cramer(values: Any, labels: Any) -> float:
    """Cramér's V of two columns of codes, from 0 to 1."""
    table = np.zeros((int(values.max()) + 1, int(labels.max()) + 1))
    np.add.at(table, (values, labels), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    least = min(table.shape) - 1
    if not least:
        return 0.0
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / least))
