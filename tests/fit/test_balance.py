"""Rare classes: all classes count alike where a family is told so, and the search tries it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_array

from mofang.fit.families import Linear, Mlp, Resnet, Xgboost
from mofang.fit.logistic import Logistic
from mofang.fit.size import Size
from mofang.fit.tasks import candidates


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_weighted_rows_are_those_of_scikit_learn(classes: int, sparse: bool) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(3)
    labels = random.choice(classes, 300, p=[0.9, 0.1] if classes == 2 else [0.8, 0.15, 0.05])
    matrix = (random.standard_normal((300, 6)) + 0.8 * np.eye(6)[labels]).astype(np.float32)
    counts = np.bincount(labels, minlength=classes)
    weights = (300 / (classes * counts))[labels]
    solution = Logistic(csr_array(matrix) if sparse else matrix, labels, classes, lambda: False, 1e-9, weights).solve(0.5)
    peer = LogisticRegression(C=0.5, class_weight="balanced", max_iter=2000, tol=1e-8).fit(matrix, labels)
    assert solution.answers(matrix) == pytest.approx(peer.predict_proba(matrix), abs=2e-3)


def test_a_rare_class_is_looked_for_and_an_even_one_is_not() -> None:
    even, rare = (Size(1000, 2, 20.0, rarest=share) for share in (0.45, 0.05))
    assert all(not one.balance for one in candidates("table_classification", even))
    tried = candidates("table_classification", rare)
    assert {Linear(), Linear(balance=True), Xgboost(), Xgboost(balance=True), Mlp(balance=True)} <= set(tried)
    assert Mlp() not in tried
    images = candidates("image_classification", dataclasses.replace(rare, length=784.0))
    assert Resnet(balance=True) in images and len(images) == len(set(images))
    assert Linear(balance=True).to_dict() == {"tag": "linear", "version": 3, "balance": True}
