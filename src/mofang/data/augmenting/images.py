"""Variants of images: uint8 pixels [height, width, channels] in, the same shape out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pixels = Any
CROP, ANGLE, COLOUR, HOLE = 0.4, 30.0, 0.6, 0.6  # at strength 1


def crop(pixels: Pixels, chance: Any, strength: float) -> Pixels:
    """A part of the image, brought back to its size (Szegedy et al. 2015)."""
    height, width = pixels.shape[:2]
    share = 1 - CROP * strength * chance.random()
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    top, left = chance.integers(0, height - tall + 1), chance.integers(0, width - wide + 1)
    return _resized(pixels[top: top + tall, left: left + wide], height, width)


def flip(pixels: Pixels, chance: Any, strength: float) -> Pixels:
    """The mirror image, every other time. It changes what digits and writing mean."""
    return np.ascontiguousarray(pixels[:, ::-1]) if chance.random() < 0.5 else pixels


def rotate(pixels: Pixels, chance: Any, strength: float) -> Pixels:
    """Turned a little; the corners take the colour of the border."""
    from PIL import Image

    angle = float(chance.uniform(-ANGLE, ANGLE) * strength)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(one) for one in np.median(border, axis=0))
    turned = _image(pixels).rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill if len(fill) > 1 else fill[0])
    return np.asarray(turned, np.uint8).reshape(pixels.shape)


def colour(pixels: Pixels, chance: Any, strength: float) -> Pixels:
    """Other brightness, contrast and (of colour images) saturation."""
    light, contrast, colourful = (1 + COLOUR * strength * chance.uniform(-1, 1) for _ in range(3))
    found = pixels.astype(np.float64) * light
    found = (found - found.mean()) * contrast + found.mean()
    if pixels.shape[2] == 3:
        grey = found @ np.array([0.299, 0.587, 0.114])
        found = (found - grey[:, :, None]) * colourful + grey[:, :, None]
    return found.round().clip(0, 255).astype(np.uint8)


def cutout(pixels: Pixels, chance: Any, strength: float) -> Pixels:
    """A square of the mean colour somewhere on it (DeVries and Taylor 2017)."""
    height, width = pixels.shape[:2]
    side = max(1, round(HOLE * strength * min(height, width)))
    top, left = chance.integers(0, height - side + 1), chance.integers(0, width - side + 1)
    found = pixels.copy()
    found[top: top + side, left: left + side] = pixels.mean((0, 1)).round().astype(np.uint8)
    return found


def mixup(pixels: Pixels, other: Pixels, chance: Any, strength: float) -> Pixels:
    """Mixed with another image of the same class (after Zhang et al. 2018; within a class, so that the label stays true)."""
    height, width, channels = pixels.shape
    if other.shape[2] != channels:
        other = np.repeat(other.mean(2, keepdims=True), channels, 2).round().astype(np.uint8)
    share = 0.5 * strength * chance.random()
    mixed = pixels * (1 - share) + _resized(other, height, width) * share
    return mixed.round().astype(np.uint8)


SINGLE: dict[str, Callable[[Pixels, Any, float], Pixels]] = {
    "crop": crop, "flip": flip, "rotate": rotate, "colour": colour, "cutout": cutout}


def varied(pixels: Pixels, kinds: Sequence[str], chance: Any, strength: float, partner: Callable[[Any], Pixels | None]) -> Pixels:
    """All named kinds, one after the other; ``partner`` gives another image of the class, or None."""
    for kind in kinds:
        if kind != "mixup":
            pixels = SINGLE[kind](pixels, chance, strength)
        elif (other := partner(chance)) is not None:
            pixels = mixup(pixels, other, chance, strength)
    return pixels


def _image(pixels: Pixels) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(_image(pixels).resize((width, height), Image.Resampling.BILINEAR), np.uint8).reshape(height, width, -1)


def pixels_of(data: bytes, pixels_most: int = 50_000_000) -> Pixels:
    """uint8 [height, width, 1 or 3] of image bytes; raises ``UnusableImageError``."""
    from mofang.data.pixels import decoded, open_header

    with open_header(data, pixels_most) as opened:
        image = decoded(opened)
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return np.asarray(image, np.uint8).reshape(image.height, image.width, -1)


def png_bytes(pixels: Pixels) -> bytes:
    """The pixels as PNG."""
    from io import BytesIO

    stream = BytesIO()
    _image(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
