"""Which encoder suits a task's columns, and the encoded sample on which an exported graph must agree."""

from __future__ import annotations

from collections.abc import Sequence

from mofang.engine.arrays import Arrays
from mofang.engine.encode import Encoder, Record
from mofang.fit.material import Material

SAMPLE_ROWS = 256
SAMPLE_BYTES = 16 * 2**20


def dense_encoder(material: Material, *, raw: bool = False) -> Encoder:
    """An encoder to one fixed shape per record: pixels or table features (``raw``: numbers as they are, for
    trees).
    """
    if columns := material.columns("image"):
        from mofang.engine.encode.image import ImageEncoder

        return ImageEncoder.fit(material.train.records, columns[0])
    from mofang.engine.encode.table import TableEncoder

    return TableEncoder.fit(material.train.records, material.inputs, raw=raw)


def encode_sample(encoder: Encoder, records: Sequence[Record]) -> Arrays:
    """The first rows as arrays: at most 256 rows and about 16 MB."""
    one = encoder.encode(records[:1])
    row_bytes = max(1, sum(array.nbytes for array in one.values()))
    found = encoder.encode(records[: max(1, min(SAMPLE_ROWS, SAMPLE_BYTES // row_bytes))])
    rows = len(next(iter(found.values())))
    kept = max(1, rows * SAMPLE_BYTES // max(SAMPLE_BYTES, sum(array.nbytes for array in found.values())))
    return {name: array[:kept] for name, array in found.items()}
