"""The decoder's graph on ONNX Runtime: rows with a cache of their own, which go through a step together.

Row n of the cache belongs to whoever is given slot n; rows in use must stand at the front, so a row that ends is filled with the
last one (``move``). Keys and values are read and written in place. Nothing here may be called from two threads at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array
from mofang.engine.generation.shape import DecoderShape

PIECE = 256  # tokens of a prompt that are read at once, so that others need not wait long
FILE = "decoder.onnx"
SPIN_US = 20  # between two matrices there is less to do than that; longer spinning takes the cores from everybody else


class Decoder:
    """A decoder with ``slots`` rows of ``context`` tokens each, on a number of threads."""

    def __init__(self, path: Path, shape: DecoderShape, context: int, *, slots: int = 1, threads: int = 1) -> None:
        from mofang.engine.runtimes.onnx import OnnxRuntime

        assert slots > 0 and context > 0 and threads > 0
        self.shape, self.context, self.slots = shape, context, slots
        self._session: Any = OnnxRuntime(path, threads, spin_us=SPIN_US)._session
        self._placed = any(one.name == "position_ids" for one in self._session.get_inputs())
        each = (slots, shape.kv_heads, context, shape.cache_width)
        self._caches = [(f"{kind}_{layer}", np.zeros(each, np.float32))
                        for layer in range(shape.layers) for kind in ("key", "value")]
        self._steps: dict[int, _Bound] = {}

    def read(self, slot: int, ids: Sequence[int], begin: int, *, every: bool = False) -> Array:
        """Read tokens into a slot that holds ``begin`` already: logits float32 [V] of what follows, or ([L, V]) of what
        follows each."""
        count = len(ids)
        self._check(begin + count)
        places = np.arange(count) if every else np.array([count - 1])
        bound = _Bound(self, slot, slot + 1, count, len(places))
        bound.ids[0], bound.where[:, 1] = ids, places
        bound.last[0] = bound.total[...] = begin + count
        bound.last[0] -= 1
        bound.places[0] = np.arange(begin, begin + count)
        bound.run()
        return bound.logits if every else bound.logits[0]

    def step(self, tokens: Sequence[int], lengths: Sequence[int]) -> Array:
        """One more token in each of the first slots, which hold ``lengths`` before it: logits float32 [B, V], good until the
        next step."""
        rows = len(tokens)
        self._check(max(lengths) + 1)
        bound = self._steps.get(rows)
        if bound is None:
            bound = self._steps[rows] = _Bound(self, 0, rows, 1, rows)
            bound.where[:, 0] = np.arange(rows)
        bound.ids[:, 0] = tokens
        bound.last[:] = lengths
        bound.places[:, 0] = lengths
        bound.total[...] = max(lengths) + 1
        bound.run()
        return bound.logits

    def move(self, source: int, target: int, length: int) -> None:
        """Copy what a slot holds to another one."""
        for _, cache in self._caches:
            cache[target, :, :length] = cache[source, :, :length]

    def score(self, ids: Sequence[int], slot: int = 0) -> Array:
        """Logits float32 [L, V] of what follows each token of a text, read from its beginning; the slot is overwritten."""
        parts = [self.read(slot, ids[begin : begin + PIECE], begin, every=True).copy() for begin in range(0, len(ids), PIECE)]
        return np.concatenate(parts)

    def _check(self, length: int) -> None:
        assert length <= self.context, f"{length} tokens in a cache of {self.context}"


class _Bound:
    """The graph bound to some slots' memory and to arrays that are filled before each run."""

    def __init__(self, decoder: Decoder, begin: int, end: int, length: int, wanted: int) -> None:
        rows = end - begin
        self.ids, self.places = np.zeros((rows, length), np.int64), np.zeros((rows, length), np.int64)
        self.where, self.last = np.zeros((wanted, 2), np.int64), np.zeros(rows, np.int32)
        self.total = np.zeros((), np.int32)
        self.logits = np.empty((wanted, decoder.shape.vocabulary), np.float32)
        self._session = decoder._session
        self._binding = binding = self._session.io_binding()
        given: dict[str, Array] = {"input_ids": self.ids, "where": self.where, "seqlens_k": self.last,
                                   "total_sequence_length": self.total}
        if decoder._placed:
            given["position_ids"] = self.places
        for name, array in given.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        binding.bind_output("logits", "cpu", 0, np.float32, self.logits.shape, self.logits.ctypes.data)
        for name, cache in decoder._caches:
            view = cache[begin:end]
            binding.bind_input(f"past_{name}", "cpu", 0, np.float32, view.shape, view.ctypes.data)
            binding.bind_output(f"present_{name}", "cpu", 0, np.float32, view.shape, view.ctypes.data)

    def run(self) -> None:
        """Run once."""
        try:
            self._session.run_with_iobinding(self._binding)
        except RuntimeError as error:
            raise MofangError("engine-failed", detail=str(error)[:200]) from error
