"""Variants made while training: every epoch sees each training row a little otherwise, and never a validation row.

What a row becomes follows from the seed, the epoch and the record's id, so a killed run goes on with the same variants.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mofang.data.augmenting.kinds import chance, chosen_kinds
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Encoder
from mofang.engine.encode.image import ImageEncoder
from mofang.engine.encode.ngrams import NgramEncoder
from mofang.engine.encode.tokens import TokenEncoder
from mofang.fit.family import Variation
from mofang.fit.loop.arrays import Encoded, Ragged, encode_ngrams, encode_tokens
from mofang.fit.material import Material


class Renewal:
    """Batches of an epoch with every row varied; ``encoded`` are the rows as they are."""

    def __init__(self, variation: Variation, encoder: Encoder, encoded: Encoded, material: Material, seed: int) -> None:
        self.encoder, self.encoded, self.rows, self.seed = encoder, encoded, material.train, seed
        self.strength = variation.strength
        self.modality = "image" if isinstance(encoder, ImageEncoder) else "text"
        self.kinds = chosen_kinds(variation.kinds, self.modality)
        self.columns = material.columns(self.modality)
        order = np.argsort(self.rows.labels, kind="stable")
        self._class_rows = np.split(order, np.cumsum(np.bincount(self.rows.labels))[:-1])

    def batch(self, rows: Array, epoch: int) -> Arrays:
        """The rows with these indices as this epoch sees them."""
        if isinstance(self.encoder, ImageEncoder):
            return self._images(self.encoder, rows, epoch)
        records = [self._text(int(row), epoch) for row in rows]
        made: Ragged
        if isinstance(self.encoder, NgramEncoder):
            made = encode_ngrams(self.encoder, records)
        else:
            assert isinstance(self.encoder, TokenEncoder)
            made = encode_tokens(self.encoder, records)
        return made.batch(np.arange(len(records)))

    def _chance(self, row: int, epoch: int) -> Any:
        return chance(self.seed, epoch, self.rows.ids[row])

    def _text(self, row: int, epoch: int) -> dict[str, Any]:
        from mofang.data.augmenting.texts import varied

        record, rng = self.rows.records[row], self._chance(row, epoch)
        changed = {name: varied(record[name], self.kinds, rng, self.strength) for name in self.columns if record.get(name)}
        return record | changed

    def _images(self, encoder: ImageEncoder, rows: Array, epoch: int) -> Arrays:
        from mofang.data.augmenting.images import varied

        mean, scale = np.array(encoder.mean), np.array(encoder.scale)
        made = np.empty((len(rows), encoder.height, encoder.width, encoder.channels), np.uint8)
        for place, row in enumerate(map(int, rows)):
            others = self._class_rows[self.rows.labels[row]]

            def partner(rng: Any, others: Array = others) -> Any:
                return self._pixels(int(others[rng.integers(0, len(others))]), mean, scale)

            made[place] = varied(self._pixels(row, mean, scale), self.kinds, self._chance(row, epoch), self.strength, partner)
        standard = (made - mean) / scale  # as the encoder does it
        return {"pixels": np.ascontiguousarray(standard.transpose(0, 3, 1, 2), np.float32)}

    def _pixels(self, row: int, mean: Array, scale: Array) -> Array:
        """uint8 [H, W, C]: standardising is undone exactly."""
        pixels: Array = self.encoded.batch(np.array([row]))["pixels"][0]
        return (pixels.transpose(1, 2, 0).astype(np.float64) * scale + mean).round().clip(0, 255).astype(np.uint8)
