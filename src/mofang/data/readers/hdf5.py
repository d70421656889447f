"""HDF5: data sets of equal length in a group are the columns of a table, read in slices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mofang.data.readers import CHUNK_ROWS, Chunk, Reading, Reject, needed
from mofang.data.readers.packed import chunk_with_media, value_of_bytes
from mofang.data.sources.files import SourceFile

DATASETS_MOST = 10_000
CELLS_MOST = 4096  # of one row; more is no column
SLICE_BYTES = 16 * 2**20
ROWS_MOST = 2**33
MISSING = ".missing"


def read_hdf5(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """All rows of the tables in HDF5 files, the name of each table's group as the label where there are several.

    Links that lead out of the file and data kept outside of it are not followed. ``NAME.missing`` marks missing values.
    """
    h5py = needed("h5py")
    for file in files:
        if file.archive is not None or file.size_bytes == 0:
            reject(file.name, 0, "file-empty" if not file.size_bytes else "not-hdf5", "it lies in an archive: unpack it first")
            continue
        try:
            with h5py.File(file.path, "r", rdcc_nbytes=SLICE_BYTES) as opened:
                groups = _tables(h5py, opened, file.name, reject)
                number = 1
                for group, columns in groups.items():
                    for chunk in _chunks(columns, file.name, number):
                        if len(groups) > 1:
                            chunk.columns.setdefault("part", [group.strip("/")] * len(chunk.numbers))
                        yield chunk
                        number += len(chunk.numbers)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, RecursionError) as error:
            reject(file.name, 0, "not-hdf5", str(error))


def _tables(h5py: Any, opened: Any, file: str, reject: Reject) -> dict[str, dict[str, Any]]:
    """Group to its columns: data sets as long as the group's longest."""
    found: dict[str, dict[str, Any]] = {}
    waiting, seen, count = [("", opened)], set(), 0
    while waiting:
        name, group = waiting.pop()
        for key in group:
            count += 1
            if count > DATASETS_MOST:
                raise ValueError(f"more than {DATASETS_MOST} data sets")
            path = f"{name}/{key}"
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
                reject(file, 0, "entry-link", path)
                continue
            one = group[key]
            if isinstance(one, h5py.Group):
                if one.id not in seen:
                    seen.add(one.id)
                    waiting.append((path, one))
            elif isinstance(one, h5py.Dataset) and _is_column(one, file, path, reject):
                found.setdefault(name, {})[key] = one
    tables: dict[str, dict[str, Any]] = {}
    for name, columns in sorted(found.items()):
        rows = max(one.shape[0] for one in columns.values())
        for key, one in columns.items():
            if one.shape[0] != rows:
                reject(file, 0, "column-shorter", f"{name}/{key}: {one.shape[0]} ≠ {rows}")
        tables[name] = {key: one for key, one in columns.items() if one.shape[0] == rows}
    return tables


def _is_column(one: Any, file: str, path: str, reject: Reject) -> bool:
    """True for a data set that holds one value a row (or a short list of them), inside this file."""
    reason = ""
    if one.external or one.is_virtual:
        reason = "entry-link"
    else:
        shape = tuple(one.shape or ())
        flat = 1 <= len(shape) <= 2 and shape[0] <= ROWS_MOST and all(cells <= CELLS_MOST for cells in shape[1:])
        chunk = int(np.prod(one.chunks)) * one.dtype.itemsize if one.chunks else 0
        if not flat or one.dtype.kind not in "biufSOU" or chunk > 16 * SLICE_BYTES:
            reason = "not-a-column"
    if reason:
        reject(file, 0, reason, f"{path} {one.shape} {one.dtype}")
    return not reason


def _chunks(columns: dict[str, Any], file: str, number: int) -> Iterator[Chunk]:
    rows = next(iter(columns.values())).shape[0] if columns else 0
    width = sum(one.dtype.itemsize * int(np.prod(one.shape[1:])) for one in columns.values())
    vague = any(one.dtype.kind == "O" for one in columns.values())
    step = max(1, min(64 if vague and _has_media(columns) else CHUNK_ROWS, SLICE_BYTES // max(width, 1)))
    for start in range(0, rows, step):
        values = {name: _values(one[start : start + step]) for name, one in columns.items()}
        for name in [one for one in values if one.endswith(MISSING) and one.removesuffix(MISSING) in values]:
            gone, plain = values.pop(name), name.removesuffix(MISSING)
            values[plain] = [None if missing else value for value, missing in zip(values[plain], gone, strict=True)]
        for name in [one for one in values if f"{one}.path{MISSING}" in values]:
            del values[f"{name}.path{MISSING}"]
        count = len(next(iter(values.values())))
        yield chunk_with_media(file, list(range(number, number + count)), values)
        number += count


def _has_media(columns: dict[str, Any]) -> bool:
    return any(one.dtype.metadata and "vlen" in one.dtype.metadata and one.dtype.metadata["vlen"] is not str
               for one in columns.values())


def _values(slice: Any) -> list[Any]:
    """Python values: texts decoded, bytes of pictures kept, lists as text."""
    found: list[Any] = []
    for value in slice.tolist():
        if isinstance(value, np.ndarray):
            value = value.astype(np.uint8).tobytes() if value.dtype.kind in "ui" else str(value.tolist())
        elif isinstance(value, bytes):
            value = value_of_bytes(value)
        elif isinstance(value, list):
            value = str(value)
        found.append(value)
    return found
