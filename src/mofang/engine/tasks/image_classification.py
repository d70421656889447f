"""Image classification: one label for each image."""

from __future__ import annotations

import io
from typing import ClassVar

from mofang.core.errors import MofangError
from mofang.engine.decode.classes import Classification
from mofang.engine.encode import Record
from mofang.engine.encode.image import header_pixels
from mofang.engine.task import Signature

REQUEST_PIXELS_MAX = 200_000_000     # of all images of one request: a second or two of decoding

class ImageClassification(Classification):
    """One label for each image; an image is one unit."""

    name: ClassVar[str] = "image_classification"
    unit: ClassVar[str] = "image"
    input_roles: ClassVar[frozenset[str]] = frozenset({"image"})

    def parse(self, signature: Signature, body: object) -> tuple[list[Record], bool]:
        """The records of a body; their images together are capped by what their headers announce, because
        a body of a few megabytes can hold hundreds of images that decode to gigabytes."""
        records, many = super().parse(signature, body)
        if many:
            pixels = sum(header_pixels(value) for record in records for value in record.values())
            if pixels > REQUEST_PIXELS_MAX:
                raise MofangError("images-too-large", pixels=pixels, most=REQUEST_PIXELS_MAX)
        return records, many

    def edges(self, signature: Signature) -> list[Record]:
        """One pixel, a thin line, grey, with transparency, with a palette, with 16 bits a pixel."""
        from PIL import Image

        ramp = Image.linear_gradient("L").resize((24, 16))
        shapes = [Image.new("L", (1, 1), 255), Image.new("RGB", (200, 2), (200, 10, 10)), ramp,
                  Image.merge("RGBA", (ramp, ramp.rotate(180), ramp, ramp)),
                  ramp.quantize(16), Image.new("I;16", (8, 8), 40_000)]
        column = signature["inputs"][0]["name"]
        return [{column: _png(shape)} for shape in shapes]


def _png(image: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")  # type: ignore[attr-defined]
    return stream.getvalue()


TASK = ImageClassification()
