"""Small files of many formats, made here: PDF pages, sounds, TFRecord frames."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np


def pdf(pages: list[str], title: str = "") -> bytes:
    """A PDF with a line of text on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET".encode() if text else b""
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
                       % len(objects))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    objects.append(f"<< /Title ({title}) >>".encode())
    return _assembled(objects, info=len(objects))


def picture_pdf() -> bytes:
    """A PDF of one scanned page: a picture and no text."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (60, 80), (250, 250, 250)).save(data, "PDF")
    return data.getvalue()


def _assembled(objects: list[bytes], info: int = 0) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer << /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, info, start)
    return bytes(out)


def sound(hertz: float, ending: str, seconds: float = 0.25, rate: int = 8000) -> bytes:
    """A tone in the format of this ending."""
    import soundfile

    data = io.BytesIO()
    times = np.arange(int(rate * seconds)) / rate
    soundfile.write(data, 0.4 * np.sin(2 * np.pi * hertz * times), rate, format=ending.strip(".").upper())
    return data.getvalue()


def tf_example(features: dict[str, Any]) -> bytes:
    """A ``tf.train.Example``."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = _field(1, _field(1, value))
        elif isinstance(value, float):
            feature = _field(2, _field(1, struct.pack("<f", value)))
        else:
            feature = _field(3, _field(1, bytes([value])))
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 16384
    size = bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
    return bytes([number << 3 | 2]) + size + content


def tf_framed(data: bytes) -> bytes:
    """One record of a TFRecord file."""
    import google_crc32c

    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)
