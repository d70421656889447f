"""Dense layers: for tables, and for images as the plainest network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.encoders import dense_encoder
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.networks.starting import Activation, Initialisation
from mofang.fit.size import Size

PASSES = 3 * 2  # forward, and two products backward; two operations per weight

STEPS, EPOCHS_LEAST = 1500, 10  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class Mlp(Family):
    """Dense layers of the widths in ``hidden``, with ``activation`` between them."""

    tag: ClassVar[str] = "mlp"
    version: ClassVar[int] = 2
    tasks: ClassVar[tuple[str, ...]] = ("image_classification", "table_classification")
    varies: ClassVar[bool] = True

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (256, 128)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch: Annotated[int, Field(ge=1)] = 64
    balance: bool = False
    activation: Activation = "relu"
    initialisation: Initialisation = "default"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Train on standardised values."""
        from mofang.fit.loop.arrays import encode_dense
        from mofang.fit.loop.classification import fit_classes, weights_of
        from mofang.fit.loop.plan import Plan
        from mofang.fit.networks.dense import values_of
        from mofang.fit.networks.starting import initialised

        encoder = dense_encoder(material)
        encoded = (
            encode_dense(encoder, material.train.records),
            encode_dense(encoder, material.validation.records),
        )
        values = values_of(next(iter(encoded[0].arrays.values())).shape[1:])
        architecture = {"values": values, "classes": len(material.labels)}
        plan = Plan(
            self._epochs(len(material.train)),
            self.learning_rate,
            rows=self.batch,
            patience=8,
            seed=conditions.seed,
            seconds=conditions.seconds,
            class_weights=weights_of(material, self.balance),
        )
        return fit_classes(
            lambda: initialised(self._network(architecture), self.initialisation),
            encoder,
            encoded,
            material,
            plan,
            conditions,
            architecture,
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The trained layers as ONNX."""
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.graph import network_graph

        return network_graph(restored(self._network(architecture), weights[WEIGHTS]), sample)

    def _network(self, architecture: Mapping[str, Any]) -> Any:
        from mofang.fit.networks.dense import DenseNetwork

        return DenseNetwork(architecture["values"], self.hidden, architecture["classes"], self.dropout, self.activation)

    def estimate(self, size: Size) -> Estimate:
        """A step costs about 1 ms beside its arithmetic, which runs at a quarter of the machine's best
        rate.
        """
        widths = (size.length, *self.hidden, size.classes)
        weights = sum(before * after for before, after in zip(widths, widths[1:], strict=False))
        steps = self._epochs(size.rows) * size.rows / self.batch
        return Estimate(4.0 + 0.001 * steps, 4 * PASSES * weights * size.rows * self._epochs(size.rows))

    def _epochs(self, rows: int) -> int:
        return passes(self.epochs, rows, self.batch, STEPS, EPOCHS_LEAST)
