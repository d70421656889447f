from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mofang.core.errors import MofangError
from mofang.engine.encode.image import ImageEncoder, open_image
from tests.engine.made import png


def saved(image: Image.Image, form: str = "PNG", **more: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **more)
    return stream.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header asks for side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def test_fit_finds_size_channels_and_standardises() -> None:
    grey = [{"image": png(seed)} for seed in range(30)]
    encoder = ImageEncoder.fit(grey)
    assert (encoder.height, encoder.width, encoder.channels) == (8, 8, 1)
    pixels = encoder.encode(grey)["pixels"]
    assert pixels.shape == (30, 1, 8, 8) and pixels.dtype == np.float32
    assert abs(pixels.mean()) < 1e-4 and abs(pixels.std() - 1) < 1e-4
    colour = ImageEncoder.fit([{"image": png(seed, (200, 100), "RGB")} for seed in range(3)])
    assert (colour.height, colour.width, colour.channels) == (32, 64, 3)
    assert ImageEncoder.fit([{"image": png(1, mode="RGB")}], size=(5, 7)).encode([{"image": png(2)}])[
        "pixels"
    ].shape == (1, 3, 5, 7)


@given(st.integers(0, 1000), st.sampled_from(["L", "RGB"]), st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_saved_and_loaded_gives_the_same_bits(seed: int, mode: str, height: int, width: int) -> None:
    encoder = ImageEncoder.fit([{"image": png(seed, mode=mode)}], size=(height, width))
    loaded = ImageEncoder.load(encoder.save())
    record = [{"image": png(seed + 1, (9, 5), "RGB")}]
    assert encoder.encode(record)["pixels"].tobytes() == loaded.encode(record)["pixels"].tobytes()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_formats_that_are_read(form: str) -> None:
    assert open_image(saved(Image.new("RGB", (5, 4), "red"), form)).size == (5, 4)


def test_an_image_is_turned_upright_and_made_opaque() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_image(saved(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).size == (4, 8)
    clear = open_image(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0))))
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    deep = open_image(saved(Image.new("I;16", (2, 2), 40_000)))
    assert deep.getpixel((0, 0)) == 40_000 >> 8


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image-unreadable"),
        (b"GIF89a", "image-unreadable"),
        (b"<svg/>", "image-unreadable"),
        (png(0)[:60], "image-unreadable"),
        (saved(Image.new("F", (5, 4)), "TIFF"), "image-unreadable"),
        (b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n", "image-unreadable"),
        (bomb(30_000), "image-too-large"),
        (bomb(7_100), "image-too-large"),
        (bomb(1_000), "image-unreadable"),
    ],
)
def test_hostile_images_are_refused(data: bytes, code: str) -> None:
    encoder = ImageEncoder("image", 8, 8, 1, (0.0,), (1.0,))
    with pytest.raises(MofangError) as error:
        encoder.encode([{"image": png(0)}, {"image": data}])
    assert error.value.code == code and error.value.values["at"] == "records[1].image"
    assert 400 <= error.value.status < 500


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF", b"BM"]),
)
@settings(max_examples=200, deadline=None)
def test_random_bytes_never_raise_anything_else(data: bytes, head: bytes) -> None:
    try:
        open_image(head + data)
    except MofangError as error:
        assert error.code in ("image-unreadable", "image-too-large")


@given(st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_never_raise_anything_else(place: int, value: int) -> None:
    data = bytearray(saved(Image.linear_gradient("L").resize((20, 20)), "PNG"))
    data[place % len(data)] = value % 256
    try:
        open_image(bytes(data))
    except MofangError as error:
        assert error.code in ("image-unreadable", "image-too-large")


def test_drawn_images_decode() -> None:
    encoder = ImageEncoder.fit([{"image": png(0)}])
    assert encoder.encode(encoder.draw(np.random.default_rng(0), 4))["pixels"].shape == (4, 1, 8, 8)
