"""TFRecord: each record a ``tf.train.Example``, framed with its length and masked CRC-32C check sums.

Format: TensorFlow, "TFRecord and tf.train.Example". Texts and media are byte features, numbers float features. TensorFlow's
floats have 32 bits, so a column of which a value needs more has also ``NAME.float64``, eight little-endian bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mofang.core.errors import MofangError
from mofang.data.records import Batch
from mofang.data.roles import ID

EXACT = ".float64"
PATH = ".path"


def check_sum(data: bytes) -> int:
    """The masked CRC-32C (RFC 3720) of TFRecord."""
    try:
        import google_crc32c
    except ModuleNotFoundError:
        raise MofangError("extra-missing", extra="data", package="google-crc32c") from None
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """One entry of the file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", check_sum(length)), data, struct.pack("<I", check_sum(data))))


def example(features: Mapping[str, bytes | float]) -> bytes:
    """A ``tf.train.Example`` with one value for each feature (Protocol Buffers wire format)."""
    entries = []
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = _field(1, _field(1, value))
        else:
            feature = _field(2, _field(1, struct.pack("<f", value)))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def is_single(value: float) -> bool:
    """True if 32 bits hold the number exactly."""
    try:
        return bool(struct.unpack("<f", struct.pack("<f", value))[0] == value)
    except OverflowError:
        return False


class TfrecordWriter:
    """One file for each part."""

    def __init__(self, place: Path, part: str, roles: Mapping[str, str], media: list[str]) -> None:
        self._roles, self._media = roles, media
        self.files = [f"{part}.tfrecord"]
        self._file = (place / self.files[0]).open("wb")

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        names = [ID, *self._roles]
        columns = {name: batch.column(name) for name in names}
        for place in range(len(batch)):
            features: dict[str, bytes | float] = {}
            for name in names:
                self._add(features, name, columns[name][place])
            for name in self._media:
                if content := batch.media[name][place]:
                    features[name] = content
            self._file.write(framed(example(features)))

    def _add(self, features: dict[str, bytes | float], name: str, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, str):
            features[name + PATH if name in self._media else name] = value.encode()
            return
        single = is_single(value)
        if not single:
            features[name + EXACT] = struct.pack("<d", value)
        try:
            struct.pack("<f", value)
            features[name] = float(value)
        except OverflowError:
            features[name] = float("inf") if value > 0 else float("-inf")

    def close(self) -> None:
        """Complete the file."""
        self._file.close()
