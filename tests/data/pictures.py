"""Small pictures for the tests."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def png(width: int, height: int, seed: int) -> bytes:
    """A grey PNG of noise."""
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = np.random.default_rng(seed).integers(0, 256, (height, width))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def write_pictures(folder: Path, classes: dict[str, int]) -> Path:
    """A folder of class folders of 12 × 12 pictures, all different."""
    seed = 0
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for place in range(count):
            seed += 1
            (folder / name / f"{place}.png").write_bytes(png(12, 12, seed))
    return folder
