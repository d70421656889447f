"""Tar archives, plain or packed with gzip, bzip2, xz or zstandard, read in place and never unpacked to the disk.

A plain one is read at any place. A packed one can only be read from its beginning, so its files keep the order in which they
lie, and reading them in that order passes over the archive once.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

from mofang.core.errors import MofangError
from mofang.data.sources.archives import (
    BOMB_BYTES,
    BOMB_RATIO,
    DAMAGED,
    TOTAL_BYTES_MOST,
    Archive,
    Entry,
    checked,
    encoding_of_names,
    why_refused,
)

ENTRIES_MOST = 2_000_000
HEADER_BYTES_MOST = 2**20
KEPT_BYTES = 64 * 2**20
LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
BROKEN = (*DAMAGED, tarfile.TarError, lzma.LZMAError, zlib.error)


class _Header(tarfile.TarInfo):
    """An entry's header; one that asks for a name of megabytes is refused before it is read."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in LONG and self.size > HEADER_BYTES_MOST:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


class TarArchive(Archive):
    """A tar archive, listed once; the same promises as a zip archive's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[tuple[str, str]] = []
        with path.open("rb") as opened:
            self.one_way = packing_of(opened.read(6)) != ""
        self._tar: tarfile.TarFile | None = None
        self._next = 0
        self._kept: tuple[int, bytes] = (-1, b"")
        try:
            self.entries = self._listed()
        except BROKEN as error:
            raise MofangError("archive-broken", file=path.name, reason=str(error)) from error
        if not self.one_way:
            self.entries.sort(key=lambda entry: entry.name)

    def _listed(self) -> list[Entry]:
        names: list[bytes] = []
        found: list[tuple[int, tarfile.TarInfo]] = []
        with self._opened() as tar:
            for place, info in enumerate(iter(tar.next, None)):
                if place >= ENTRIES_MOST or info.size > TOTAL_BYTES_MOST:
                    raise bomb(self.path, info.size)
                names.append(info.name.encode("utf-8", "surrogateescape"))
                found.append((place, info))
                _forget(tar)
        encoding = encoding_of_names(b"\n".join(names))
        entries: dict[str, Entry] = {}
        for raw, (place, info) in zip(names, found, strict=True):
            name = raw.decode(encoding, "replace").replace("\\", "/")
            if info.isdir():
                continue
            reason = why_refused(name, 0) or ("entry-link" if info.type in LINKS else "")
            if not reason and not info.isreg():
                reason = "entry-link"
            if not reason and info.issparse():
                reason = "entry-sparse"
            name = name.removeprefix("./")
            if reason:
                self.refused.append((name, reason))
                continue
            if name in entries:  # the later one is what unpacking would leave
                self.refused.append((name, "entry-doubled"))
                del entries[name]
            entries[name] = Entry(name, place, info.size)
        return list(entries.values())

    def _opened(self) -> tarfile.TarFile:
        """The archive from its beginning, unpacked as it is read, and never further than a bomb would go."""
        packed = self.path.stat().st_size
        stream = _Bounded(unpacked(self.path), self.path, max(BOMB_BYTES, BOMB_RATIO * packed))
        mode: Any = "r|" if self.one_way else "r:"
        return tarfile.open(fileobj=cast(IO[bytes], stream), mode=mode, tarinfo=_Header, encoding="utf-8",
                            errors="surrogateescape")

    def open(self, place: int) -> io.BufferedReader:
        """The bytes of one entry; damage ends in ``archive-broken``."""
        if place == self._kept[0]:
            return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(self._kept[1])))
        try:
            info = self._at(place)
            assert self._tar is not None
            stream = self._tar.extractfile(info)
            assert stream is not None, "only plain files are listed"
            if info.size <= KEPT_BYTES:  # it is opened more than once: for its encoding, its heading, its rows
                data = stream.read()
                if len(data) != info.size:
                    raise EOFError("it ends within a file")
                self._kept = (place, data)
                return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(data)))
            return checked(f"{self.path.name}/{info.name}", stream)
        except BROKEN as error:
            raise MofangError("archive-broken", file=self.path.name, reason=str(error)) from error

    def _at(self, place: int) -> tarfile.TarInfo:
        if self._tar is None or place < self._next:
            if self._tar is not None:
                self._tar.close()
            self._tar, self._next = self._opened(), 0
        while True:
            info = self._tar.next()
            if info is None:
                raise EOFError("it has become shorter")
            _forget(self._tar)
            self._next += 1
            if self._next == place + 1:
                return info


def _forget(tar: Any) -> None:
    """Drop the headers read so far: the library would keep every one."""
    tar.members = []


def packing_of(first: bytes) -> str:
    """How a file is packed, by its first bytes; nothing for a plain one."""
    marks = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    return next((name for mark, name in marks.items() if first.startswith(mark)), "")


def unpacked(path: Path) -> IO[bytes]:
    """A file as it reads when unpacked."""
    with path.open("rb") as opened:
        packing = packing_of(opened.read(6))
    if packing == "gzip":
        import gzip

        return cast(IO[bytes], gzip.open(path))
    if packing == "bz2":
        import bz2

        return cast(IO[bytes], bz2.open(path))
    if packing == "xz":
        return cast(IO[bytes], lzma.open(path))
    if packing == "zstd":
        import pyarrow as pa

        return cast(IO[bytes], pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


class _Bounded(io.RawIOBase):
    """A stream that ends in ``archive-bomb`` behind so many bytes."""

    def __init__(self, stream: IO[bytes], path: Path, most: int) -> None:
        self._stream, self._path, self._most = stream, path, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return isinstance(self._stream, io.BufferedReader)

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        if not isinstance(self._stream, io.BufferedReader):
            self._most -= len(data)
            if self._most < 0:
                raise bomb(self._path, 0)
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        return self._stream.seek(place, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def bomb(path: Path, size_bytes: int) -> MofangError:
    """The refusal of an archive that unpacks to absurdly much."""
    packed = path.stat().st_size
    shown = f"{size_bytes / 2**20:,.0f}" if size_bytes else f"> {max(BOMB_BYTES, BOMB_RATIO * packed) / 2**20:,.0f}"
    return MofangError("archive-bomb", file=path.name, mb=f"{packed / 2**20:,.1f}", unpacked_mb=shown)
