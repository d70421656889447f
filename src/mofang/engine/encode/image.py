"""Images: decoded under a cap on pixels, turned upright, scaled to one size, standardised by channel."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from mofang.core.errors import MofangError
from mofang.data.pixels import FORMATS, UnusableImageError, decoded, open_header
from mofang.engine.arrays import Array, Arrays
from mofang.engine.encode import Files, Record

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS_MAX = 50_000_000      # of one image, as many as cleaning lets pass: 150 MB once decoded
SIDE_MAX = 64                # a fitted size is no larger, unless the caller names one
SAMPLE = 2000                # images looked at to choose size, channels and standardisation


@dataclass(frozen=True, eq=False)
class ImageEncoder:
    """Image bytes in, {"pixels": float32 [B, C, H, W]} out, standardised by channel; C is 1 (grey) or 3
    (RGB)."""

    name: ClassVar[str] = "image"
    version: ClassVar[int] = 1

    column: str
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]      # of pixel values 0..255, one per channel
    scale: tuple[float, ...]     # their standard deviation, one per channel

    @classmethod
    def fit(cls, records: Sequence[Record], column: str = "image", *, size: tuple[int, int] | None = None,
            channels: int | None = None) -> Self:
        """Choose (height, width) from the median of the training images, grey where all are grey, and the
        mean and standard deviation of each channel."""
        sample = records[:: max(1, len(records) // SAMPLE)]
        images = [open_image(record[column], at=column) for record in sample]
        if channels is None:
            channels = 3 if any(_colourful(image) for image in images) else 1
        if size is None:
            size = _typical_size(images)
        plain = cls(column, *size, channels, (0.0,) * channels, (1.0,) * channels)
        pixels = np.stack([plain._pixels(image) for image in images])
        mean, deviation = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
        scale = np.where(deviation < 1, 1, deviation)      # an even colour is not blown up
        return cls(column, *size, channels, tuple(mean.tolist()), tuple(scale.tolist()))

    def encode(self, records: Sequence[Record]) -> Arrays:
        """{"pixels": float32 [B, C, H, W]}; raises MofangError image-unreadable or image-too-large."""
        pixels = np.empty((len(records), self.height, self.width, self.channels), np.uint8)
        for number, record in enumerate(records):
            at = f"records[{number}].{self.column}" if len(records) > 1 else self.column
            pixels[number] = self._pixels(open_image(record[self.column], at=at))
        standard = (pixels - np.array(self.mean)) / np.array(self.scale)     # float64, rounded at the end
        return {"pixels": np.ascontiguousarray(standard.transpose(0, 3, 1, 2), np.float32)}

    def draw(self, rng: np.random.Generator, count: int) -> list[Record]:
        """PNG images of coarse random patches, a little larger or smaller than the model's size."""
        return [{self.column: self._drawn(rng)} for _ in range(count)]

    def save(self) -> Files:
        """image.json."""
        return {"image.json": json.dumps(asdict(self), ensure_ascii=False).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """The encoder that `save` wrote."""
        settings = json.loads(files["image.json"])
        return cls(str(settings["column"]), int(settings["height"]), int(settings["width"]),
                   int(settings["channels"]), tuple(settings["mean"]), tuple(settings["scale"]))

    def _pixels(self, image: Image) -> Array:
        """uint8 [H, W, C]."""
        from PIL import Image as images

        image = image.convert("L" if self.channels == 1 else "RGB")
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), images.Resampling.BILINEAR)
        return np.asarray(image, np.uint8).reshape(self.height, self.width, self.channels)

    def _drawn(self, rng: np.random.Generator) -> bytes:
        from PIL import Image as images

        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        size = int(self.width + rng.integers(0, 3)), int(self.height + rng.integers(0, 3))
        image = images.fromarray(coarse).resize(size, images.Resampling.BILINEAR)
        stream = io.BytesIO()
        image.convert("L" if self.channels == 1 else "RGB").save(stream, "PNG")
        return stream.getvalue()


def header_pixels(data: bytes) -> int:
    """Pixels that an image's header announces, without decoding it; 0 for what is no image."""
    try:
        with open_header(data, PIXELS_MAX) as image:
            return image.width * image.height
    except UnusableImageError as error:
        return PIXELS_MAX + 1 if error.reason == "image-too-large" else 0


def open_image(data: bytes, *, at: str = "image") -> Image:
    """Decode an image, upright (EXIF) and opaque (over white), or refuse it in words.

    The same code opens images when they are cleaned. `at` names the place in the request for the error.
    """
    try:
        return decoded(open_header(data, PIXELS_MAX))
    except UnusableImageError as error:
        if error.reason == "image-too-large":
            width, height = error.size if error.size[0] else ("?", "?")
            raise MofangError("image-too-large", at=at, width=width, height=height, most=PIXELS_MAX) from error
        raise MofangError("image-unreadable", at=at, size=len(data), formats=", ".join((*FORMATS, "HEIC"))) from error


def _colourful(image: Image) -> bool:
    if image.mode in ("L", "1", "LA"):
        return False
    pixels = np.asarray(image.convert("RGB").resize((32, 32)), np.int16)
    return bool((pixels.max(-1) - pixels.min(-1)).max() > 8)


def _typical_size(images: Sequence[Image]) -> tuple[int, int]:
    height = float(np.median([image.height for image in images]))
    width = float(np.median([image.width for image in images]))
    shrink = min(1.0, SIDE_MAX / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))
