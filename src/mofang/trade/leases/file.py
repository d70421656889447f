"""The file of a lease: the signed licence in front, behind it the package in chunks of AES-256-GCM (NIST SP 800-38D).

A chunk is 1 MiB of one part. Its nonce is its place in the file; the lease, the part's name and length, and the chunk's place
in the part are authenticated with it: a chunk that was changed, moved, left out, repeated or taken from another lease is
refused, and so is a file that was cut or lengthened. Each lease has a data key of its own, so no nonce is ever used for two
texts.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mofang.core.canonical import canonical, sync_folder
from mofang.core.errors import MofangError
from mofang.trade.leases.licence import Licence, Signed, read_signed

ENDING = ".lease"
MAGIC = b"MOFANGL1"
HEAD = struct.Struct(">8sI")
CHUNK = 1 << 20
TAG = 16
LICENCE_MOST = 4 * 2**20
Tick = Callable[[float], None]


def no_tick(_bytes: float) -> None:
    """Where nobody watches."""


@dataclass(frozen=True)
class LeaseFile:
    """A lease's file whose licence was checked; its package is still closed."""

    path: Path
    known: Signed
    begins: int

    def unpack(self, key: bytes, folder: Path, tick: Tick = no_tick) -> None:
        """Decrypt the package into a folder. Raises ``lease-damaged`` at the first chunk that is not as it was written."""
        for name, pieces in self._parts(key, tick):
            place = folder / name
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                for plain in pieces:
                    target.write(plain)

    def require_whole(self, key: bytes, tick: Tick = no_tick) -> None:
        """Read every byte, and keep none. Raises ``lease-damaged``."""
        for _, pieces in self._parts(key, tick):
            for _plain in pieces:
                pass

    def _parts(self, key: bytes, tick: Tick) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The parts in their order, each to be read to its end before the next."""
        licence = self.known.licence
        if self.path.stat().st_size != self.begins + length(licence):
            raise MofangError("lease-damaged", path=str(self.path), part="-")
        nonces = iter(range(1 << 32))
        with self.path.open("rb") as file:
            file.seek(self.begins)
            for name, size, wanted in licence.parts:
                yield name, self._part(file, key, name, size, wanted, nonces, tick)

    def _part(self, file: IO[bytes], key: bytes, name: str, size: int, wanted: str, nonces: Iterator[int],
              tick: Tick) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for plain in self._chunks(file, key, name, size, nonces):
            digest.update(plain)
            tick(len(plain))
            yield plain
        if digest.hexdigest() != wanted:
            raise MofangError("lease-damaged", path=str(self.path), part=name)

    def _chunks(self, file: IO[bytes], key: bytes, name: str, size: int, nonces: Iterator[int]) -> Iterator[bytes]:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(key)
        for number, begin in enumerate(range(0, max(size, 1), CHUNK)):
            sealed = file.read(min(CHUNK, size - begin) + TAG)
            try:
                yield cipher.decrypt(_nonce(next(nonces)), sealed, _bound(self.known.licence, name, size, number))
            except (InvalidTag, ValueError):
                raise MofangError("lease-damaged", path=str(self.path), part=name) from None


def open_lease(path: Path) -> LeaseFile:
    """Read the licence of a lease's file. Raises ``lease-missing``, ``lease-unreadable``, ``lease-edited``."""
    if not path.is_file():
        raise MofangError("lease-missing", path=str(path))
    with path.open("rb") as file:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or head[:8] != MAGIC:
            raise MofangError("lease-unreadable", reason=str(path))
        size = HEAD.unpack(head)[1]
        if size > LICENCE_MOST:
            raise MofangError("lease-unreadable", reason=str(path))
        return LeaseFile(path, read_signed(file.read(size)), HEAD.size + size)


def write_lease(place: Path, signed: bytes, licence: Licence, key: bytes, parts: Mapping[str, Path], tick: Tick = no_tick) -> str:
    """Write the file durably; its SHA-256. ``parts`` are where the licence's parts lie in plain."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher, nonces, digest = AESGCM(key), iter(range(1 << 32)), hashlib.sha256()
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:

        def put(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        put(HEAD.pack(MAGIC, len(signed)) + signed)
        for name, size, _ in licence.parts:
            with parts[name].open("rb") as source:
                for number, begin in enumerate(range(0, max(size, 1), CHUNK)):
                    plain = source.read(min(CHUNK, size - begin))
                    put(cipher.encrypt(_nonce(next(nonces)), plain, _bound(licence, name, size, number)))
                    tick(len(plain))
        file.flush()
        os.fsync(file.fileno())
    sync_folder(place.resolve().parent)
    return digest.hexdigest()


def length(licence: Licence) -> int:
    """Bytes of the encrypted package behind the licence."""
    return sum(size + TAG * len(range(0, max(size, 1), CHUNK)) for _, size, _ in licence.parts)


def _nonce(place: int) -> bytes:
    return place.to_bytes(12, "big")


def _bound(licence: Licence, name: str, size: int, number: int) -> bytes:
    told: list[Any] = [licence.id, licence.digest, name, size, number]
    return canonical(told)
