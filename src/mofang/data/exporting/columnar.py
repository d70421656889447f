"""Parquet and Arrow files: every column under its name, an image or sound as the pair {bytes, path} that data set hubs use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mofang.data.records import Batch
from mofang.data.roles import ID

GROUP_ROWS = 1 << 14
PAIR = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])


class ColumnarWriter:
    """One file for each part, written batch by batch."""

    def __init__(self, place: Path, part: str, roles: Mapping[str, str], media: list[str], *, arrow: bool) -> None:
        fields = [pa.field(ID, pa.string())]
        fields += [
            pa.field(name, PAIR if name in media else pa.float64() if role == "number" else pa.string())
            for name, role in roles.items()
        ]
        self._schema = pa.schema(fields)
        self._media = media
        self.files = [f"{part}.{'arrow' if arrow else 'parquet'}"]
        path = place / self.files[0]
        self._writer: Any = (
            pa.ipc.new_file(path, self._schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
            if arrow
            else pq.ParquetWriter(path, self._schema, compression="zstd")
        )

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        arrays = []
        for one in self._schema:
            column = batch.table.column(one.name)
            if one.name in self._media:
                pairs = zip(batch.media[one.name], column.to_pylist(), strict=True)
                column = pa.array([{"bytes": content, "path": path} for content, path in pairs], PAIR)
            arrays.append(column.cast(one.type))
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()
