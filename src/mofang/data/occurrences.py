"""Counting how often a key came before, in memory that stays small however many keys there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]

MEMORY_KEYS = 1 << 20
RUN_KEYS = 1 << 24


class Occurrences:
    """Counts 64-bit keys as they stream past.

    Keys seen are kept as sorted runs that are merged as they grow; a run of more than a million keys moves to
    a file and is searched there. Only keys that were seen twice or more stand in a dictionary.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._runs: list[Keys] = []
        self._repeats: dict[int, int] = {}
        self._files = 0

    def count(self, keys: Keys) -> npt.NDArray[np.int64]:
        """For each key the number of equal keys before it, in this batch and all earlier ones."""
        if not len(keys):
            return np.zeros(0, np.int64)
        unique, inverse, totals = np.unique(keys, return_inverse=True, return_counts=True)
        before = np.array(
            [
                self._repeats.get(int(key), 1) if known else 0
                for key, known in zip(unique, self._known(unique), strict=True)
            ],
            np.int64,
        )
        order = np.argsort(inverse, kind="stable")
        starts = np.cumsum(totals) - totals
        within = np.empty(len(keys), np.int64)
        within[order] = np.arange(len(keys)) - np.repeat(starts, totals)
        after = before + totals
        for place in np.nonzero(after > 1)[0]:
            self._repeats[int(unique[place])] = int(after[place])
        self._add(unique[before == 0])
        return before[inverse] + within

    def _known(self, keys: Keys) -> npt.NDArray[np.bool_]:
        known = np.zeros(len(keys), np.bool_)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            known |= run[places] == keys
        return known

    def _add(self, keys: Keys) -> None:
        if not len(keys):
            return
        self._runs.append(keys)
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]) < RUN_KEYS:
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(np.sort(np.concatenate([before, last])))
        if len(self._runs[-1]) > MEMORY_KEYS:
            self._runs[-1] = self._to_file(self._runs[-1])

    def _to_file(self, run: Keys) -> Keys:
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / f"keys-{self._files}.npy"
        self._files += 1
        np.save(path, run)
        loaded: Keys = np.load(path, mmap_mode="r")
        return loaded
