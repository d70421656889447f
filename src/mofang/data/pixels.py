"""Image bytes: one careful way to open them for cleaning, training and serving alike, and grey PNGs from values."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
HEIF = "HEIF"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16L", "I;16B", "I;16N")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112
SKETCH_SIDE = 256  # a look decodes no smaller than this, so that copies of other sizes still look alike

# What Pillow's decoders raise on damaged files; anything else is a mistake of ours and must be seen.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    struct.error,
    zlib.error,
    MemoryError,
)


class UnusableImageError(Exception):
    """Why bytes are no image that can be used: ``not-an-image``, ``image-too-large`` or ``image-mode``."""

    def __init__(self, reason: str, detail: str = "", size: tuple[int, int] = (0, 0)) -> None:
        self.reason, self.detail, self.size = reason, detail, size
        super().__init__(f"{reason} {detail}".strip())


@dataclass(frozen=True)
class ImageFacts:
    """What a look at an image found: its size upright, or the reason why it cannot be used, and a sketch of it."""

    width: int = 0
    height: int = 0
    reason: str = ""
    detail: str = ""
    sketch: bytes = b""


@cache
def _register_heif() -> None:
    """HEIC photos need a decoder of their own, which is loaded when the first one comes."""
    from pi_heif import register_heif_opener

    register_heif_opener(thumbnails=False)


def formats_of(data: bytes) -> tuple[str, ...]:
    """The formats that these bytes may have."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        _register_heif()
        return (HEIF,)
    return FORMATS


def open_header(data: bytes, pixels_most: int) -> Image:
    """The image with nothing decoded but its header, or ``UnusableImageError``; the caller closes it.

    A file of 20 kB can ask for a gigabyte, so the size is looked at before a pixel is made.
    """
    from PIL import Image as images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own cap is lower than Pillow's
            image = images.open(BytesIO(data), formats=formats_of(data))
    except images.DecompressionBombError as error:
        raise UnusableImageError("image-too-large", str(error)) from error
    except DAMAGED as error:
        raise UnusableImageError("not-an-image", f"{type(error).__name__}: {error}"[:200]) from error
    if image.width * image.height > pixels_most:
        raise UnusableImageError("image-too-large", f"{image.width} × {image.height}", image.size)
    if image.mode not in MODES:
        raise UnusableImageError("image-mode", image.mode, image.size)
    return image


def decoded(image: Image) -> Image:
    """An opened image upright (EXIF), opaque (over white) and of 8 bits; of an animation the first picture."""
    from PIL import Image as images
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel: the upper eight
                eight = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                upright = images.fromarray(eight)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                white = images.new("RGBA", upright.size, "white")
                upright = images.alpha_composite(white, upright).convert("RGB")
    except images.DecompressionBombError as error:
        raise UnusableImageError("image-too-large", str(error)) from error
    except DAMAGED as error:
        raise UnusableImageError("not-an-image", f"{type(error).__name__}: {error}"[:200]) from error
    return upright


def look_at(data: bytes, *, min_side: int, max_pixels: int) -> ImageFacts:
    """Decode an image at the smallest scale that its format offers and that still shows what is on it."""
    from mofang.data.cleaning.photocopies import sketch_of

    width = height = 0
    try:
        with open_header(data, max_pixels) as image:
            width, height = image.size
            if min(width, height) < min_side:
                return ImageFacts(width, height, "image-too-small", f"{width} × {height}")
            if orientation(image) in SIDEWAYS:
                width, height = height, width
            image.draft("RGB", (max(image.width // 8, SKETCH_SIDE), max(image.height // 8, SKETCH_SIDE)))
            return ImageFacts(width, height, sketch=sketch_of(decoded(image)))
    except UnusableImageError as error:
        return ImageFacts(width, height, error.reason, error.detail)


def orientation(image: Image) -> int:
    """The EXIF orientation, 1 where a picture says none."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except DAMAGED:
        return 1


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
