"""Tags out of pictures and sounds: where a photo was taken, with what, by whom. The picture and the sound stay as they are.

JPEG, PNG, WebP, WAV, FLAC and MP3 are cut at their own seams, nothing is encoded again. How a photo is to be turned is
kept. A file of another form, or one whose seams cannot be read, is handed back unchanged.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PNG_TAGS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"})
RIFF_TAGS = frozenset({b"EXIF", b"XMP ", b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"_PMX"})
VP8X_EXIF, VP8X_XMP = 0x08, 0x04
JPEG_APPS = frozenset({0xE1, 0xED, 0xFE, *range(0xE3, 0xED)})  # Exif and XMP, IPTC, comments, makers' own; colours stay
ORIENTATION = 0x0112


def without_tags(data: bytes) -> bytes:
    """The file without its tags; the same bytes where there are none."""
    for start, cut in FORMS:
        if data.startswith(start):
            try:
                return cut(data)
            except (IndexError, ValueError, struct.error):
                return data
    return data


def _jpeg(data: bytes) -> bytes:
    kept, at, turned = [data[:2]], 2, 1
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        if data[at + 1] == 0xFF:
            at += 1
            continue
        size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        piece = data[at : at + size]
        if len(piece) < size or size < 4:
            return data
        if data[at + 1] == 0xE1 and piece[4:10] == b"Exif\0\0":
            turned = _orientation(piece[10:])
        if data[at + 1] not in JPEG_APPS:
            kept.append(piece)
        at += size
    if data[at] != 0xFF:
        return data
    return b"".join([*kept[:1], *([_turned(turned)] if turned != 1 else []), *kept[1:], data[at:]])


def _orientation(exif: bytes) -> int:
    """How the photo is to be turned (1: not at all)."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    first = struct.unpack(order + "I", exif[4:8])[0]
    for place in range(struct.unpack(order + "H", exif[first : first + 2])[0]):
        entry = exif[first + 2 + 12 * place : first + 14 + 12 * place]
        tag, _, _, value = struct.unpack(order + "HHIH", entry[:10])
        if tag == ORIENTATION:
            return value if 1 <= value <= 8 else 1
    return 1


def _turned(orientation: int) -> bytes:
    body = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, ORIENTATION, 3, 1, orientation, 0, 0)
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def _png(data: bytes) -> bytes:
    kept, at = [data[:8]], 8
    while at < len(data):
        size = 12 + int.from_bytes(data[at : at + 4], "big")
        piece = data[at : at + size]
        if len(piece) < size:
            return data
        if piece[4:8] not in PNG_TAGS:
            kept.append(piece)
        at += size
    return b"".join(kept)


def _riff(data: bytes) -> bytes:
    """WebP and WAV: chunks with a length each, and the length of all at the head."""
    kept = []
    for name, piece in _chunks(data):
        if name in RIFF_TAGS and not (name == b"LIST" and piece[8:12] == b"wavl"):
            continue
        if name == b"VP8X":
            piece = piece[:8] + bytes([piece[8] & ~(VP8X_EXIF | VP8X_XMP)]) + piece[9:]
        kept.append(piece)
    body = data[8:12] + b"".join(kept)
    return data[:4] + len(body).to_bytes(4, "little") + body


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + (size & 1)
        yield data[at : at + 4], data[at : min(end, len(data))]
        at = end


def _flac(data: bytes) -> bytes:
    blocks, at, last = [], 4, False
    while not last:
        last, kind = bool(data[at] & 0x80), data[at] & 0x7F
        size = 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if kind not in (1, 2, 4, 6):  # padding, applications, comments, pictures
            blocks.append(data[at : at + size])
        at += size
    if at > len(data) or not blocks:
        return data
    heads = [bytes([one[0] & 0x7F | (0x80 if one is blocks[-1] else 0)]) + one[1:] for one in blocks]
    return data[:4] + b"".join(heads) + data[at:]


def _mp3(data: bytes) -> bytes:
    size = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    size += 10 if data[5] & 0x10 else 0
    body = data[size:]
    return body[:-128] if body[-128:-125] == b"TAG" else body


FORMS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\xff\xd8\xff", _jpeg), (PNG, _png), (b"RIFF", _riff), (b"fLaC", _flac), (b"ID3", _mp3),
)  # fmt: skip
