"""What one cleaning or split hands to the next: which records it kept, and which of them belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mofang.core.artifact import Artifact
from mofang.core.run import Run
from mofang.data.cleaning.photocopies import groups
from mofang.data.records import RecordReader
from mofang.data.roles import ID

PAIRED = np.dtype([("hi", ">u8"), ("lo", ">u8")])
TIES = "near.parquet"

Ids = npt.NDArray[np.void]


def ids_of(records: Artifact) -> Ids:
    """All record ids of a set of records, 16 bytes each, in order."""
    found = [packed(batch.column(ID)) for batch in RecordReader(records).batches(1 << 16, media=False, columns=[])]
    return np.concatenate(found) if found else np.zeros(0, PAIRED)


def packed(ids: list[str]) -> Ids:
    """Ids of 32 hexadecimal digits as 16 bytes each."""
    return np.frombuffer(bytes.fromhex("".join(ids)), PAIRED)


def places_in(known: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """For each wanted id its place among the known ones (which stand in order), -1 where it is not among them."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    high = known["hi"].astype(np.uint64)
    places = np.searchsorted(high, wanted["hi"].astype(np.uint64))
    places = np.minimum(places, len(known) - 1)
    same = (known["hi"][places] == wanted["hi"]) & (known["lo"][places] == wanted["lo"])
    return np.where(same, places, -1)


def kept_before(previous: Artifact, signed: np.ndarray[Any, Any]) -> npt.NDArray[np.bool_]:
    """For each signed record whether an earlier cleaning kept it."""
    known = np.sort(ids_of(previous / "kept"), order=("hi", "lo"))
    wanted = np.zeros(len(signed), PAIRED)
    wanted["hi"], wanted["lo"] = signed["id"][:, 0], signed["id"][:, 1]
    return np.asarray(places_in(known, wanted) >= 0)


def write_ties(run: Run, prefix: str, pairs: npt.NDArray[np.int64], signed: np.ndarray[Any, Any]) -> None:
    """Which of the kept records are near copies of each other, though their labels differ: id and group."""
    rows, inverse = np.unique(pairs, return_inverse=True)
    group = groups(len(rows), inverse.reshape(-1, 2))
    ids = [f"{int(hi):016x}{int(lo):016x}" for hi, lo in signed["id"][rows]]
    with run.part(f"{prefix}{TIES}") as path:
        pq.write_table(pa.table({ID: ids, "group": [ids[place] for place in group]}), path, compression="zstd")


def ties_of(records: Artifact) -> dict[str, str]:
    """Id to group of the records that are near copies of others; empty where cleaning found none."""
    if not records.has(TIES):
        return {}
    with records.open(TIES) as file:
        table = pq.read_table(file, use_threads=False, pre_buffer=False)
    return dict(zip(table[ID].to_pylist(), table["group"].to_pylist(), strict=True))
