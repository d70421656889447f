"""Bits and small counts of 1,024 tasks at a time, as text that any database holds."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 1024
Bits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.uint8]


def place(task: int) -> tuple[int, int]:
    """The block of a task, and its place within it."""
    return divmod(task, BLOCK)


def no_bits() -> Bits:
    """Nobody's."""
    return np.zeros(BLOCK, np.bool_)


def bits_text(bits: Bits) -> str:
    """172 characters for a block."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def bits_from(text: str | None) -> Bits:
    """The bits again; none stored is none set."""
    if not text:
        return no_bits()
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)).astype(np.bool_)


def counts_text(counts: Counts) -> str:
    """A count of 0 to 255 for each task of a block; all zero is the empty text."""
    return base64.b64encode(counts.tobytes()).decode() if counts.any() else ""


def counts_from(text: str) -> Counts:
    """The counts again."""
    if not text:
        return np.zeros(BLOCK, np.uint8)
    return np.frombuffer(base64.b64decode(text), np.uint8).copy()


def packed(bits: npt.NDArray[np.bool_]) -> str:
    """The bits of many blocks, squeezed: all set or none set costs next to nothing."""
    return base64.b64encode(zlib.compress(np.packbits(bits).tobytes(), 6)).decode()


def unpacked(text: str) -> Any:
    """The bits of many blocks again, one row a block."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(raw).astype(np.bool_).reshape(-1, BLOCK)
