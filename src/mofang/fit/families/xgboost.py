"""Gradient-boosted trees (Chen and Guestrin 2016) for tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.fit.encoders import dense_encoder, encode_sample
from mofang.fit.family import Conditions, Curves, Estimate, Family, Fitted
from mofang.fit.loop import deadline
from mofang.fit.loop.machine import threads
from mofang.fit.material import Material
from mofang.fit.size import Size

MODEL = "model.ubj"
PATIENCE_ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Xgboost(Family):
    """Boosted trees; missing numbers stay missing, and boosting stops when validation no longer improves.

    ``balance`` lets all classes count alike, however rare.
    """

    tag: ClassVar[str] = "xgboost"
    version: ClassVar[int] = 2
    tasks: ClassVar[tuple[str, ...]] = ("table_classification",)
    loops: ClassVar[bool] = False

    rounds: Annotated[int, Field(ge=1)] = 500
    depth: Annotated[int, Field(ge=1, le=16)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    rows_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    columns_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    balance: bool = False

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Boost until the validation log loss stops falling; the trees up to the best round are kept."""
        import xgboost

        encoder = dense_encoder(material, raw=True)
        train, validation = (
            xgboost.DMatrix(
                encoder.encode(rows.records)["features"],
                label=rows.labels,
                weight=material.class_weights[rows.labels] if self.balance else None,
            )
            for rows in (material.train, material.validation)
        )
        history: dict[str, dict[str, list[float]]] = {}
        with conditions.progress("Boosting", "提升树训练中", total=self.rounds) as bar:
            watch = _watch(bar, conditions.seconds)
            booster = xgboost.train(
                self._settings(len(material.labels), conditions.seed),
                train,
                self.rounds,
                evals=[(train, "train"), (validation, "validation")],
                evals_result=history,
                early_stopping_rounds=PATIENCE_ROUNDS,
                verbose_eval=False,
                callbacks=[watch],
            )
        booster = booster[: booster.best_iteration + 1]
        metric = next(iter(history["train"]))
        curves: Curves = [
            {"round": number + 1, "loss": one, "validation_loss": other}
            for number, (one, other) in enumerate(
                zip(history["train"][metric], history["validation"][metric], strict=True)
            )
        ]
        found = _both(booster.predict(validation))
        return Fitted(
            encoder,
            {MODEL: bytes(booster.save_raw("ubj"))},
            {"classes": len(material.labels)},
            found,
            encode_sample(encoder, material.validation.records),
            curves,
            {"rounds": booster.num_boosted_rounds()},
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The trees as one ONNX node."""
        import xgboost

        from mofang.engine.graphs import trees_graph

        booster = xgboost.Booster(model_file=bytearray(weights[MODEL]))
        return trees_graph(bytes(booster.save_raw("json")), architecture["classes"])

    def estimate(self, size: Size) -> Estimate:
        """Histograms: rows x columns x depth per tree, one tree per class and round; half of the rounds are
        used.
        """
        trees = self.rounds / 2 * (1 if size.classes == 2 else size.classes)
        return Estimate(3.0 + 0.002 * trees, 200 * trees * size.rows * size.length * self.depth)

    def _settings(self, classes: int, seed: int) -> dict[str, Any]:
        objective = (
            {"objective": "binary:logistic", "eval_metric": "logloss"}
            if classes == 2
            else {"objective": "multi:softprob", "num_class": classes, "eval_metric": "mlogloss"}
        )
        return {
            **objective,
            "max_depth": self.depth,
            "eta": self.learning_rate,
            "subsample": self.rows_share,
            "colsample_bytree": self.columns_share,
            "tree_method": "hist",
            "seed": seed,
            "nthread": threads(),
            "verbosity": 0,
        }


def _watch(bar: Any, seconds: float) -> Any:
    import time

    from xgboost.callback import TrainingCallback

    began = time.monotonic()

    class Watch(TrainingCallback):
        """Moves the bar, keeps to the time limit, gives way to a deadline."""

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            bar.advance()
            if deadline.is_past():
                raise MofangError("time-is-up", step=epoch + 1, steps=int(bar.total or 0))
            return bool(seconds) and time.monotonic() - began >= seconds

    return Watch()


def _both(probabilities: Array) -> Array:
    """Probabilities [N, K]; two classes come as the second one's alone."""
    found = probabilities if probabilities.ndim == 2 else np.stack([1 - probabilities, probabilities], axis=1)
    return found.astype(np.float32)
