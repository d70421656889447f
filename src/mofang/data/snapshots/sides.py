"""Which side of a split each record falls on, and how it stays there while records are added.

The rules and their price: docs/decisions/008-stable-sides.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mofang.core.artifact import Artifact
from mofang.data.cleaning.duplicates import content_of
from mofang.data.occurrences import Occurrences
from mofang.data.records import Batch, RecordReader
from mofang.data.roles import ID, MEDIA_ROLES
from mofang.data.snapshots.survivors import Ids, ids_of, places_in

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = 0, 1, 2
UNKNOWN = -1
GROUPS_LEAST = 3  # one for each part

Sides = npt.NDArray[np.int8]
Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Shares:
    """How much of the records is held back, and the seed that says which."""

    validation: float
    test: float
    seed: int


@dataclass(frozen=True)
class Cut:
    """A stretch of time up to ``end``: later than ``test`` is tested, later than ``validation`` validates."""

    validation: float
    test: float
    end: float


def side_of(key: bytes, validation: float, test: float, seed: int) -> int:
    """The side a key falls on, for ever: a digest of the key as a number from 0 to 1, cut at the two
    shares."""
    digest = hashlib.blake2b(
        key, digest_size=8, salt=seed.to_bytes(16, "big"), person=b"mofang split"
    ).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return TEST if place < test else VALIDATION if place < test + validation else TRAIN


class SplitKeys:
    """What decides on a record's side: its group, or else what its inputs say.

    Ids would do, but they are keyed with the shop's secret, and the same records should be split alike in
    every shop. The bare content is never stored. Records of texts or images that say the same stay together;
    equal rows of a table are told apart by their order, because in a table of few categories most rows have
    equals.
    """

    def __init__(self, reader: RecordReader, inputs: Sequence[str], scratch: Path) -> None:
        self._media = [name for name in inputs if name in reader.media_columns]
        self._values = [name for name in inputs if name not in reader.media_columns]
        telling = {"text", *MEDIA_ROLES}
        self._seen = None if telling & {reader.roles[name] for name in inputs} else Occurrences(scratch)

    def of_group(self, batch: Batch, group: str) -> list[bytes]:
        """The keys of a batch that is split by a column; a record without a group stands for itself."""
        return [
            str(key).encode() if key is not None else b"\0" + id.encode()
            for key, id in zip(batch.column(group), batch.column(ID), strict=True)
        ]

    def of_content(self, batch: Batch) -> list[bytes]:
        """The keys of a batch that is split by its inputs."""
        columns = [batch.column(name) for name in self._values]
        media = [batch.media[name] for name in self._media]
        keys = [
            content_of([one[row] for one in columns], [one[row] for one in media])
            for row in range(len(batch))
        ]
        if self._seen is None:
            return keys
        earlier = self._seen.count(numbers_of(keys))
        return [key + b"\0%d" % count for key, count in zip(keys, earlier, strict=True)]


def numbers_of(keys: Sequence[bytes]) -> Numbers:
    """A 64-bit number for each key, to compare keys by."""
    return np.frombuffer(b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in keys), "<u8").astype(np.uint64)


class Earlier:
    """The sides of an earlier snapshot's records, asked for by id."""

    def __init__(self, previous: Artifact | None) -> None:
        found = [ids_of(previous / part) for part in PARTS] if previous is not None else []
        ids = np.concatenate(found) if found else np.zeros(0, [("hi", ">u8"), ("lo", ">u8")])
        sides = np.repeat(np.arange(len(found), dtype=np.int8), [len(one) for one in found])
        order = np.argsort(ids, order=("hi", "lo"))
        self._ids, self._sides = ids[order], sides[order]
        split = previous.read_json("about.json")["split"] if previous is not None else {}
        self.cuts = [Cut(*one) for one in split.get("cuts", [])]

    def of(self, ids: Ids) -> Sides:
        """The side of each id then; UNKNOWN for a record that is new."""
        if not len(self._ids):
            return np.full(len(ids), UNKNOWN, np.int8)
        places = places_in(self._ids, ids)
        return np.where(places >= 0, self._sides[places], UNKNOWN).astype(np.int8)


def settle(sides: Sides, earlier: Sides, keys: Numbers, ties: npt.NDArray[np.int64]) -> Sides:
    """The final sides: an earlier side stays; a new record joins the earlier ones of its key (group, or equal content)
    and of its near copies (``ties``: a group's number, -1 for none).

    Where those lie on several sides, the most careful one: test, then validation. Near copies that are all new share
    the most careful of their own sides.
    """
    settled = np.where(earlier != UNKNOWN, earlier, sides).astype(np.int8)
    if len(keys) and (earlier != UNKNOWN).any():
        settled = _joined(settled, earlier, np.arange(len(keys)), keys, earlier)
    rows = np.nonzero(ties >= 0)[0]
    if len(rows):
        known = _joined(settled, earlier, rows, ties[rows], earlier)
        fresh = _joined(settled, earlier, rows, ties[rows], settled)
        old_groups = np.unique(ties[rows][earlier[rows] != UNKNOWN])
        settled[rows] = np.where(np.isin(ties[rows], old_groups), known[rows], fresh[rows])
    return settled


def _joined(settled: Sides, earlier: Sides, rows: npt.NDArray[np.int64], belong: Any, give: Sides) -> Sides:
    """The sides after each new row took the most careful side that ``give`` has for any row it belongs with."""
    names, group = np.unique(belong, return_inverse=True)
    most = np.full(len(names), UNKNOWN, np.int8)
    np.maximum.at(most, group, give[rows])
    new = (earlier[rows] == UNKNOWN) & (most[group] != UNKNOWN)
    joined = settled.copy()
    joined[rows[new]] = most[group][new]
    return joined


def with_every_part(sides: Sides, keys: Numbers, usable: npt.NDArray[np.bool_], shares: Shares) -> Sides:
    """The sides of groups, dealt out anew where so few groups leave a part empty: in the order of their keys the first
    to the test part, the next to the validation part, whole groups until each has its share, the rest to training."""
    names, group, rows = np.unique(keys[usable], return_inverse=True, return_counts=True)
    if len(names) < GROUPS_LEAST or len(np.unique(sides[usable])) == len(PARTS):
        return sides
    total = rows.sum()
    dealt = np.full(len(names), TRAIN, np.int8)
    place = 0
    for side, share, left in ((TEST, shares.test, 2), (VALIDATION, shares.validation, 1)):
        taken = 0
        while taken < share * total and place < len(names) - left:
            dealt[place], taken, place = side, taken + rows[place], place + 1
    found = sides.copy()
    found[usable] = dealt[group]
    return found


# Time


def sides_by_time(
    moments: npt.NDArray[np.float64], usable: npt.NDArray[np.bool_], shares: Shares, cuts: Sequence[Cut]
) -> tuple[Sides, list[Cut]]:
    """The side of every record by its time, and the cuts with which the next snapshot goes on.

    Without cuts the newest share is tested and the next newest validates. With cuts of an earlier snapshot they hold for
    the time they cover, and what is newer becomes a stretch of its own: its newest records go to the test part, the next
    to the validation part, as many as bring both back to their shares, and the rest is trained on.
    """
    sides = np.zeros(len(moments), np.int8)
    times = np.sort(moments[usable])
    if not len(times):
        return sides, list(cuts)
    if not cuts:
        newest, newer = np.quantile(times, [1 - shares.test, 1 - shares.test - shares.validation])
        cuts = [Cut(float(newer), float(newest), float(times[-1]))]
    elif times[-1] > cuts[-1].end:
        old = _cut_sides(times, cuts)
        fresh = times[times > cuts[-1].end]
        settled = old[: len(times) - len(fresh)]
        for_test = round(shares.test * len(times)) - int(np.sum(settled == TEST))
        for_validation = round(shares.validation * len(times)) - int(np.sum(settled == VALIDATION))
        start = cuts[-1].end
        test = _newest(fresh, for_test, start)
        validation = _newest(fresh[fresh <= test], for_validation, start)
        cuts = [*cuts, Cut(min(validation, test), test, float(fresh[-1]))]
    sides[usable] = _cut_sides(moments[usable], cuts)
    return sides, list(cuts)


def _newest(times: npt.NDArray[np.float64], wanted: int, start: float) -> float:
    """The time after which lie at most ``wanted`` of these (ascending); records of one time are never parted."""
    if wanted <= 0 or not len(times):
        return float(times[-1]) if len(times) else start
    return start if wanted >= len(times) else float(times[len(times) - wanted - 1])


def _cut_sides(moments: npt.NDArray[np.float64], cuts: Sequence[Cut]) -> Sides:
    stretch = np.minimum(np.searchsorted([one.end for one in cuts], moments), len(cuts) - 1)
    validation, test = (np.array([getattr(one, name) for one in cuts])[stretch] for name in ("validation", "test"))
    return np.where(moments > test, TEST, np.where(moments > validation, VALIDATION, TRAIN)).astype(np.int8)


def tie_numbers(ids: Sequence[str], ties: dict[str, str]) -> npt.NDArray[np.int64]:
    """For each record the number of its group of near copies, -1 where it has none."""
    if not ties:
        return np.full(len(ids), -1, np.int64)
    names: dict[str, int] = {}
    for group in ties.values():
        names.setdefault(group, len(names))
    return np.array([names[ties[one]] if one in ties else -1 for one in ids], np.int64)


def written(cuts: Sequence[Cut]) -> list[list[float]]:
    """Cuts as they stand in about.json."""
    return [[one.validation, one.test, one.end] for one in cuts]
