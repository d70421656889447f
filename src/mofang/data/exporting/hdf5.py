"""HDF5: a group for each part, a data set for each column.

Numbers are float64, texts variable-length UTF-8, media variable-length bytes; ``NAME.missing`` marks the rows without a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.records import Batch
from mofang.data.roles import ID

CHUNK_ROWS = 1024
MISSING = ".missing"
PATH = ".path"
SLASH = "∕"  # HDF5 would take a plain one for a group


class Hdf5Writer:
    """One group for each part, all in ``records.h5``."""

    def __init__(self, place: Path, part: str, roles: Mapping[str, str], media: list[str]) -> None:
        try:
            import h5py
        except ModuleNotFoundError:
            raise MofangError("extra-missing", extra="data", package="h5py") from None
        self._roles, self._media, self._rows = roles, media, 0
        self.files = ["records.h5"]
        self._file = h5py.File(place / self.files[0], "a", track_order=True)
        self._group = self._file.create_group(part, track_order=True)
        text = h5py.string_dtype("utf-8")
        for name in [ID, *roles]:
            kind: Any = np.float64 if roles.get(name) == "number" else text
            self._make(name + PATH if name in media else name, kind)
            self._make((name + PATH if name in media else name) + MISSING, np.bool_)
        for name in media:
            self._make(name, h5py.vlen_dtype(np.uint8))

    def _make(self, name: str, kind: Any) -> None:
        packed = {"compression": "gzip", "compression_opts": 1} if kind in (np.float64, np.bool_) else {}
        self._group.create_dataset(_safe(name), shape=(0,), maxshape=(None,), chunks=(CHUNK_ROWS,), dtype=kind, **packed)

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        for name in [ID, *self._roles]:
            values = batch.column(name)
            number = self._roles.get(name) == "number"
            shown = name + PATH if name in self._media else name
            if not number and any("\0" in value for value in values if value):
                raise MofangError("export-nul", column=name)
            filled = [(np.nan if number else "") if value is None else value for value in values]
            self._append(shown, np.array(filled, np.float64) if number else filled)
            self._append(shown + MISSING, np.array([value is None for value in values], np.bool_))
        for name in self._media:
            data = self._group[_safe(name)]
            data.resize((self._rows + len(batch),))
            for place, one in enumerate(batch.media[name]):  # one by one: h5py takes media of equal length for one block
                data[self._rows + place] = np.frombuffer(one, np.uint8)
        self._rows += len(batch)

    def _append(self, name: str, values: Any) -> None:
        data = self._group[_safe(name)]
        data.resize((self._rows + len(values),))
        data[self._rows :] = values

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


def _safe(name: str) -> str:
    """A column's name as HDF5 takes it."""
    return name.replace("/", SLASH)
