"""The same photo saved twice: at another size, quality or format it has other bytes and still the same look.

Every image is sketched (32 × 32 of brightness, 8 × 8 of colour, and its proportions). Signs of random projections of
the brightness propose pairs, banded as for texts (Charikar 2002; Leskovec, Rajaraman and Ullman, ch. 3); a pair counts
when the two sketches differ by less than saving again makes them differ. Photos of one scene from a fixed camera can
be that close and yet be different things: a group that is too large to be copies is left alone and counted.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, COLOUR_SIDE = 32, 8
VALUES = SIDE * SIDE + 2 * COLOUR_SIDE * COLOUR_SIDE
SKETCH_BYTES = VALUES + 4  # and the proportions as a 32-bit float
BANDS, BITS = 8, 16
NEIGHBOURS = 8
RMS_MOST = 2.5  # of 255; re-saved photos differ by 0.3 to 1.7, two of the closest digits by 7
RELATIVE_MOST = 0.08  # of the image's own contrast
CONTRAST_LEAST = 16.0  # in paler ones (forms, scans) what is written differs by less than saving again does
SPOT_LEAST, SPOT_MOST, SPOT_SHARE = 6.0, 16.0, 0.4  # no place may differ by more: a scratch is small, and it is the news
PROPORTION_MOST = 0.05
SAMENESS_LEAST, SAMENESS_SHARE = 30, 0.05
PAIRS_AT_ONCE = 4096

Sketches = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def sketch_of(image: Image) -> bytes:
    """A sketch of a decoded image: its brightness, its colours coarsely, its proportions."""
    from PIL import Image as images

    small = image.convert("RGB").resize((SIDE, SIDE), images.Resampling.BILINEAR).convert("YCbCr")
    light, blue, red = small.split()
    colours = [one.resize((COLOUR_SIDE, COLOUR_SIDE), images.Resampling.BOX).tobytes() for one in (blue, red)]
    return light.tobytes() + b"".join(colours) + np.float32(np.log(image.width / image.height)).tobytes()


@cache
def _directions() -> npt.NDArray[np.float32]:
    """128 directions of signs, the same on every machine."""
    count, size = BANDS * BITS, SIDE * SIDE // 4
    bits = b"".join(hashlib.blake2b(b"mofang sketch %d" % i, digest_size=32).digest() for i in range(count * size // 256))
    signs = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(count, size)
    return signs.astype(np.float32) * 2 - 1


def band_keys(sketches: Sketches) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """Of each sketch one key a band [N, 8], and a number that is nearly the same for copies [N]."""
    light = sketches[:, : SIDE * SIDE].reshape(-1, SIDE // 2, 2, SIDE // 2, 2).astype(np.float32).mean((2, 4))
    flat = light.reshape(len(sketches), -1)
    flat = flat - flat.mean(1, keepdims=True)
    projected = flat @ _directions().T
    bits = np.packbits(projected > 0, axis=1).reshape(len(sketches), BANDS, BITS // 8)
    keys = bits[:, :, 0].astype(np.uint64) << np.uint64(8) | bits[:, :, 1].astype(np.uint64)
    return keys, projected[:, 0].astype(np.float32)


class PhotoCopies:
    """Collects sketches batch by batch and then finds the pairs of rows that show the same photo."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch = scratch
        self._files = {name: (scratch / f"{name}.bin").open("wb") for name in ("rows", "sketches", "keys", "order")}

    def add(self, first_row: int, sketches: Sequence[bytes]) -> None:
        """The sketches of a batch whose row numbers begin at ``first_row``; an empty one is no usable image."""
        rows = np.array([first_row + place for place, one in enumerate(sketches) if one], np.int64)
        if not len(rows):
            return
        whole = np.frombuffer(b"".join(one for one in sketches if one), np.uint8).reshape(-1, SKETCH_BYTES)
        keys, order = band_keys(whole)
        for name, data in (("rows", rows), ("sketches", whole), ("keys", keys), ("order", order)):
            self._files[name].write(np.ascontiguousarray(data).tobytes())

    def _read(self, name: str, kind: Any, width: int = 0) -> np.ndarray[Any, Any]:
        path = self._scratch / f"{name}.bin"
        found = np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)
        return found.reshape(-1, width) if width else found

    def pairs(self, live: npt.NDArray[np.bool_]) -> tuple[Places, int]:
        """Pairs of rows [N, 2] among the live ones, and how many rows look alike in groups too large for copies."""
        for file in self._files.values():
            file.close()
        rows = self._read("rows", np.int64)
        chosen = np.nonzero(live[rows])[0] if len(rows) else np.zeros(0, np.int64)
        if len(chosen) < 2:
            return np.zeros((0, 2), np.int64), 0
        keys, order = self._read("keys", np.uint64, BANDS), self._read("order", np.float32)[chosen]
        sketches = self._read("sketches", np.uint8, SKETCH_BYTES)
        proposed = [_proposed(keys[chosen, band], order) for band in range(BANDS)]
        pairs = np.unique(np.sort(np.concatenate(proposed), axis=1), axis=0)
        good = [_alike(sketches, chosen[pairs[start : start + PAIRS_AT_ONCE]]) for start in range(0, len(pairs), PAIRS_AT_ONCE)]
        pairs = pairs[np.concatenate(good)] if good else pairs
        group = groups(len(chosen), pairs)
        sizes = np.bincount(group, minlength=len(chosen))
        too_large = sizes > max(SAMENESS_LEAST, SAMENESS_SHARE * len(chosen))
        kept = pairs[~too_large[group[pairs[:, 0]]]] if len(pairs) else pairs
        return rows[chosen[kept]], int(sizes[too_large].sum())


def _proposed(keys: npt.NDArray[np.uint64], order: npt.NDArray[np.float32]) -> Places:
    """Pairs of one band: within a bucket each place with the next eight in an order that puts copies side by side."""
    places = np.lexsort((order, keys))
    keys = keys[places]
    found = [np.zeros((0, 2), np.int64)]
    for distance in range(1, NEIGHBOURS + 1):
        same = np.nonzero(keys[distance:] == keys[:-distance])[0]
        if not len(same):
            break
        found.append(np.stack([places[same], places[same + distance]], axis=1))
    return np.concatenate(found)


def _alike(sketches: Sketches, pairs: Places) -> npt.NDArray[np.bool_]:
    """Which pairs differ by no more than saving again makes them differ."""
    a, b = sketches[pairs[:, 0]], sketches[pairs[:, 1]]
    first, second = a[:, :VALUES].astype(np.float32), b[:, :VALUES].astype(np.float32)
    apart = np.abs(first - second)
    rms = np.sqrt((apart**2).mean(1))
    contrast = np.minimum(first[:, : SIDE * SIDE].std(1), second[:, : SIDE * SIDE].std(1))
    proportions = np.abs(_proportions(a) - _proportions(b)) <= PROPORTION_MOST
    near = (rms <= RMS_MOST) & (apart.max(1) <= np.clip(SPOT_SHARE * contrast, SPOT_LEAST, SPOT_MOST)) & proportions
    telling = (contrast >= CONTRAST_LEAST) & (rms <= RELATIVE_MOST * contrast)
    return np.asarray(near & (telling | (rms == 0)))


def _proportions(sketches: Sketches) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(sketches[:, VALUES:]).view(np.float32)[:, 0]


def groups(count: int, pairs: Places) -> Places:
    """For each of ``count`` places the smallest place that pairs connect it with."""
    parent = list(range(count))

    def top(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in pairs.tolist():
        first, second = sorted((top(one), top(other)))
        parent[second] = first
    return np.array([top(place) for place in range(count)], np.int64)


def neighbours(pairs: Places) -> dict[int, set[int]]:
    """For each row that has copies all rows that it is a copy of."""
    found: dict[int, set[int]] = defaultdict(set)
    for one, other in pairs.tolist():
        found[one].add(other)
        found[other].add(one)
    return found
