"""Image bytes: a grey PNG from pixel values, and a careful look at whether bytes decode to an image of a
sane size."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# What Pillow's decoders raise on damaged files; anything else is a mistake of ours and must be seen.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    OverflowError,
    struct.error,
    zlib.error,
    MemoryError,
)


@dataclass(frozen=True)
class ImageFacts:
    """What a look at an image found: its size in pixels, or the reason why it cannot be used."""

    width: int = 0
    height: int = 0
    reason: str = ""
    detail: str = ""


def png_of(values: Sequence[str], side: int) -> bytes:
    """A grey PNG of side × side pixels, or no bytes if a value is no number from 0 to 255."""
    try:
        pixels = np.array(values, dtype=np.float64)
    except ValueError:
        return b""
    if not np.all((pixels >= 0) & (pixels <= 255)):
        return b""
    rows = np.zeros((side, side + 1), np.uint8)  # each PNG row begins with its filter type, 0
    rows[:, 1:] = np.rint(pixels).astype(np.uint8).reshape(side, side)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + _png_chunk(b"IEND", b"")
    )


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def look_at(data: bytes, *, min_side: int, max_pixels: int) -> ImageFacts:
    """Decode an image at the smallest scale its format offers.

    The header's size is checked before any pixel is made.
    """
    from io import BytesIO

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    return ImageFacts(width, height, "image-too-large", f"{width} × {height}")
                if min(width, height) < min_side:
                    return ImageFacts(width, height, "image-too-small", f"{width} × {height}")
                image.draft("RGB", (max(width // 8, 1), max(height // 8, 1)))
                image.load()
    except Image.DecompressionBombError as error:
        return ImageFacts(reason="image-too-large", detail=str(error))
    except DAMAGED as error:
        return ImageFacts(reason="not-an-image", detail=f"{type(error).__name__}: {error}"[:200])
    return ImageFacts(width, height)
