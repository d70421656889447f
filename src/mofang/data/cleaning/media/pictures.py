"""Pictures: size, sharpness, contrast and brightness, measured on a small grey copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mofang.data.pixels import SIDEWAYS, UnusableImageError, decoded, open_header, orientation

LOOKED_SIDE = 512  # facts are measured on a copy whose longer side is no larger
PIXELS_MOST = 50_000_000


@dataclass(frozen=True)
class PictureFacts:
    """What a look at a picture found, or the reason why it cannot be used (all numbers are then 0).

    ``blur`` is the variance of the Laplacian (Pech-Pacheco 2000): small where nothing is sharp. ``contrast`` is the
    standard deviation of the brightness and ``brightness`` its mean (0 to 255), ``entropy`` is in bits (0 to 8).
    """

    width: int = 0
    height: int = 0
    mode: str = ""
    blur: float = 0.0
    contrast: float = 0.0
    entropy: float = 0.0
    brightness: float = 0.0
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class PictureRules:
    """From when on a picture is not used; 0 switches a rule off."""

    side_least: int = 4
    blur_least: float = 0.0
    contrast_least: float = 0.0


def picture_facts(data: bytes, *, pixels_most: int = PIXELS_MOST) -> PictureFacts:
    """Decode a picture at the smallest scale that still tells, and measure it; the header is checked first."""
    width = height = 0
    try:
        with open_header(data, pixels_most) as image:
            width, height = image.size
            mode = image.mode
            if orientation(image) in SIDEWAYS:
                width, height = height, width
            image.draft("RGB", (LOOKED_SIDE, LOOKED_SIDE))
            grey = decoded(image).convert("L")
    except UnusableImageError as error:
        return PictureFacts(width, height, reason=error.reason, detail=error.detail)
    if max(grey.size) > LOOKED_SIDE:
        grey.thumbnail((LOOKED_SIDE, LOOKED_SIDE))
    values = np.asarray(grey, np.float32)
    counts = np.bincount(np.asarray(grey, np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / values.size
    return PictureFacts(
        width,
        height,
        mode,
        blur=round(_laplacian(values), 4),
        contrast=round(float(values.std(dtype=np.float64)), 4),
        entropy=round(float(-(shares * np.log2(shares)).sum()) + 0.0, 4),
        brightness=round(float(values.mean(dtype=np.float64)), 4),
    )


def _laplacian(values: np.ndarray) -> float:
    """The variance of the 4-neighbour Laplacian; 0 for pictures of fewer than three rows or columns."""
    if min(values.shape) < 3:
        return 0.0
    middle = values[1:-1, 1:-1]
    edges = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * middle
    return float(edges.var(dtype=np.float64))


def picture_reason(facts: PictureFacts, rules: PictureRules) -> str:
    """Why a picture is not used, or nothing."""
    if facts.reason:
        return facts.reason
    if min(facts.width, facts.height) < rules.side_least:
        return "image-too-small"
    if facts.blur < rules.blur_least:
        return "image-blurred"
    return "image-flat" if facts.contrast < rules.contrast_least else ""
