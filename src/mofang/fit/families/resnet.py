"""A small residual network for images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mofang.engine.arrays import Arrays
from mofang.fit.family import Conditions, Estimate, Family, Fitted, passes
from mofang.fit.material import Material
from mofang.fit.networks.starting import Activation, Initialisation
from mofang.fit.size import Size

STEPS, EPOCHS_LEAST = 750, 6  # without a chosen number of epochs


@dataclass(frozen=True, kw_only=True)
class Resnet(Family):
    """A residual network of ``depth`` layers; ``size`` scales images to that side, 0 keeps
    theirs up to 64.
    """

    tag: ClassVar[str] = "resnet"
    version: ClassVar[int] = 2
    tasks: ClassVar[tuple[str, ...]] = ("image_classification",)
    varies: ClassVar[bool] = True

    depth: Literal[8, 14, 20, 32] = 8
    width: Annotated[int, Field(ge=4, le=256)] = 16
    size: Annotated[int, Field(ge=0, le=512)] = 0
    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    batch: Annotated[int, Field(ge=2)] = 64
    shift: bool = True
    balance: bool = False
    activation: Activation = "relu"
    initialisation: Initialisation = "default"

    def fit(self, material: Material, conditions: Conditions) -> Fitted:
        """Train on standardised pixels, each image moved a little differently in every epoch."""
        from mofang.engine.encode.image import ImageEncoder
        from mofang.fit.loop.arrays import encode_dense
        from mofang.fit.loop.classification import fit_classes, weights_of
        from mofang.fit.loop.plan import Plan
        from mofang.fit.networks.resnet import shifted
        from mofang.fit.networks.starting import initialised

        column = material.columns("image")[0]
        size = (self.size, self.size) if self.size else None
        encoder = ImageEncoder.fit(material.train.records, column, size=size)
        encoded = (
            encode_dense(encoder, material.train.records),
            encode_dense(encoder, material.validation.records),
        )
        architecture = {
            "channels": encoder.channels,
            "side": min(encoder.height, encoder.width),
            "classes": len(material.labels),
        }
        plan = Plan(
            self._epochs(len(material.train)),
            self.learning_rate,
            rows=self.batch,
            weight_decay=0.02,
            patience=6,
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
            shifted if self.shift else None,
        )

    def graph(self, weights: Mapping[str, bytes], architecture: Mapping[str, Any], sample: Arrays) -> bytes:
        """The trained network as ONNX."""
        from mofang.fit.loop.start import WEIGHTS, restored
        from mofang.fit.networks.graph import network_graph

        return network_graph(restored(self._network(architecture), weights[WEIGHTS]), sample)

    def estimate(self, size: Size) -> Estimate:
        """Three stages of equal work; convolutions of this size run at about a third of the machine's best
        rate.
        """
        values = self.size**2 if self.size else size.length
        places = values / 4 if values >= 48 * 48 else values
        multiplications = places * 9 * self.width**2 * (self.depth - 1)
        return Estimate(6.0 + size.rows / 3000, 3 * 6 * multiplications * size.rows * self._epochs(size.rows))

    def _network(self, architecture: Mapping[str, Any]) -> Any:
        from mofang.fit.networks.resnet import ResnetNetwork

        return ResnetNetwork(
            architecture["channels"], architecture["side"], architecture["classes"], self.depth, self.width, self.activation
        )

    def _epochs(self, rows: int) -> int:
        return passes(self.epochs, rows, self.batch, STEPS, EPOCHS_LEAST)
