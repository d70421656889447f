"""A file as it lies encrypted on the disk: a header and chunks of AES-256-GCM (NIST SP 800-38D), read in any order.

Each chunk's nonce is its number and whether it is the last, and the header (which object, how long, how it is cut) is
authenticated with every chunk; so a chunk that was changed, moved, left out or taken from another object is refused,
and so is a file that was cut or lengthened. A key belongs to one object, hence no nonce is ever used for two texts.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mofang.core.errors import MofangError

MAGIC = b"MOFANGe1"
HEADER = struct.Struct(">8s32sIQ")  # magic, SHA-256 of the plain bytes, bytes in a chunk, plain bytes in all
TAG_BYTES = 16
CHUNK_BYTES = 256 * 1024
CHUNK_MOST = 16 * 2**20
READ_BYTES = 4 * 2**20
KEY_BYTES = 32


def is_encrypted(path: Path, digest: str) -> bool:
    """True if the file is this object in encrypted form. A plain file cannot hold its own digest, so none passes for one."""
    try:
        with path.open("rb") as file:
            return file.read(40) == MAGIC + bytes.fromhex(digest)
    except FileNotFoundError:
        return False


def stored_bytes(plain_bytes: int) -> int:
    """How many bytes so many plain bytes take on the disk."""
    return HEADER.size + plain_bytes + TAG_BYTES * _chunks(plain_bytes, CHUNK_BYTES)


def encrypt(source: Path, target: Path, digest: str, key: bytes) -> str:
    """Write a file in encrypted form, durably; the SHA-256 of what then lies on the disk."""
    size_bytes = source.stat().st_size
    header = HEADER.pack(MAGIC, bytes.fromhex(digest), CHUNK_BYTES, size_bytes)
    cipher, last = _cipher(key), _chunks(size_bytes, CHUNK_BYTES) - 1
    stored = hashlib.sha256(header)
    with source.open("rb") as plain, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(header)
        for number in range(last + 1):
            sealed = cipher.encrypt(_nonce(number, number == last), plain.read(CHUNK_BYTES), header)
            file.write(sealed)
            stored.update(sealed)
        file.flush()
        os.fsync(file.fileno())
    return stored.hexdigest()


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack(">QI", number, last)


def _chunks(size_bytes: int, chunk_bytes: int) -> int:
    return max(1, -(-size_bytes // chunk_bytes))


class EncryptedFile(io.RawIOBase):
    """The plain bytes of an encrypted object, decrypted piece by piece as they are read."""

    def __init__(self, path: Path, digest: str, key: bytes) -> None:
        self._digest = digest
        self._at = 0
        self._held: tuple[int, bytes] = (-1, b"")
        self._file = path.open("rb", buffering=0)
        self._header = self._file.read(HEADER.size)
        if len(self._header) != HEADER.size or self._header[:40] != MAGIC + bytes.fromhex(digest):
            raise self._changed()
        _, _, self._chunk, self.size_bytes = HEADER.unpack(self._header)
        if not 0 < self._chunk <= CHUNK_MOST:
            raise self._changed()
        self._count = _chunks(self.size_bytes, self._chunk)
        if os.fstat(self._file.fileno()).st_size != HEADER.size + self.size_bytes + TAG_BYTES * self._count:
            raise self._changed()
        self._cipher = _cipher(key)

    def _changed(self) -> MofangError:
        self.close()
        return MofangError("object-changed", digest=self._digest[:12])

    def close(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"no place {start + offset} in a file")
        self._at = start + offset
        return self._at

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        wanted = min(len(view), max(0, self.size_bytes - self._at))
        done = 0
        while done < wanted:
            number, inside = divmod(self._at, self._chunk)
            for plain in self._plain(number, wanted - done + inside):
                taken = min(len(plain) - inside, wanted - done)
                view[done:done + taken] = plain[inside:inside + taken]
                done, self._at, inside = done + taken, self._at + taken, 0
        return done

    def _plain(self, number: int, wanted: int) -> Iterator[bytes]:
        """Chunks from this one on, a few megabytes at a time."""
        from cryptography.exceptions import InvalidTag

        if self._held[0] == number:
            yield self._held[1]
            return
        stride = self._chunk + TAG_BYTES
        count = min(-(-wanted // self._chunk), max(1, READ_BYTES // self._chunk), self._count - number)
        sealed = memoryview(os.pread(self._file.fileno(), count * stride, HEADER.size + number * stride))
        for place in range(count):
            last = number + place == self._count - 1
            try:
                plain: bytes = self._cipher.decrypt(_nonce(number + place, last), sealed[place * stride:(place + 1) * stride],
                                                    self._header)
            except InvalidTag:
                raise self._changed() from None
            if not plain and self.size_bytes:
                raise self._changed()
            self._held = (number + place, plain)
            yield plain


def open_encrypted(path: Path, digest: str, key: bytes) -> BinaryIO:
    """The plain bytes of an encrypted object, to be read and sought in; raises ``object-changed``."""
    return io.BufferedReader(EncryptedFile(path, digest, key), CHUNK_BYTES)
